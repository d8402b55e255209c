"""Keeps a note of every new ticket and sends a digest of them to a webhook.

Notes are records in storage, one per note or ticket; the webhook's address is the install's configuration, its token a
secret. What a ticket event stores is keyed by the event, so that delivering it again changes nothing.
"""

from alga_guest import App, Host, HttpError, Missing, Request

NOTES = "notes"
TICKETS = "tickets"
SHOWN_BYTES = 500

app = App()


@app.get("/hello")
def hello(request: Request, host: Host) -> dict[str, str]:
    greeting = host.config.find("greeting") or "Hello"
    return {"message": f"{greeting}, {request.query.get('name', 'world')}", "version": host.context.version}


@app.get("/whoami")
def whoami(request: Request, host: Host) -> dict[str, object]:
    context = host.context
    try:
        name = host.users.get().user_name
    except Missing:
        name = None
    return {"tenant": context.tenant_id, "user": name, "granted": list(context.capabilities)}


@app.get("/notes")
def list_notes(request: Request, host: Host) -> list[dict[str, object]]:
    return [{"id": record.key, **record.json()} for record in host.storage.each(NOTES)]


@app.post("/notes")
def add_note(request: Request, host: Host) -> dict[str, object]:
    note = request.json()
    text = note.get("text") if isinstance(note, dict) else None
    if not isinstance(text, str) or not text:
        raise HttpError(400, "text is missing")
    note_id = f"{host.clock.now_unix_ms():013d}-{host.clock.random_hex(4)}"
    revision = host.storage.put(NOTES, note_id, {"text": text, "ticket": note.get("ticket")})
    host.metrics.add_counter("notes_added")
    host.log.info(f"note {note_id} added")
    return {"id": note_id, "revision": revision}


@app.delete("/notes/{note_id}")
def delete_note(request: Request, host: Host, note_id: str) -> None:
    if not host.storage.delete(NOTES, note_id):
        raise HttpError(404, "no such note")


@app.event("ticket.created")
def ticket_created(request: Request, host: Host) -> None:
    event = request.json()
    ticket = event["payload"]
    summary = {"title": ticket.get("title", ""), "priority": ticket.get("priority", "normal"), "at": event["timestamp"]}
    host.storage.put(TICKETS, event["id"], summary)


@app.get("/digest")
def show_digest(request: Request, host: Host) -> dict[str, object]:
    return _digest(host)


@app.post("/digest/send")
def send_digest(request: Request, host: Host) -> dict[str, object]:
    url = host.config.find("webhook_url")
    if not url:
        raise HttpError(409, "the install has no webhook_url in its configuration")
    token = host.secrets.get("api_token")
    digest = _digest(host)
    answer = host.http.post_json(url, digest, headers={"authorization": f"Bearer {token}"})
    host.metrics.record_histogram("digest_tickets", float(str(digest["tickets"])))
    return {"sent": answer.status < 300, "status": answer.status}


@app.get("/fetch")
def fetch(request: Request, host: Host) -> dict[str, object]:
    url = request.query.get("url")
    if not url:
        raise HttpError(400, "url is missing")
    answer = host.http.fetch(url)
    return {"status": answer.status, "body": answer.body[:SHOWN_BYTES].decode(errors="replace")}


def _digest(host: Host) -> dict[str, object]:
    by_priority: dict[str, int] = {}
    titles = []
    for record in host.storage.each(TICKETS):
        summary = record.json()
        by_priority[summary["priority"]] = by_priority.get(summary["priority"], 0) + 1
        titles.append(summary["title"])
    return {"tickets": len(titles), "by_priority": by_priority, "titles": titles[:20]}
