"""The handlers. Each is called with the request, the host's APIs, and the path's parameters."""

from alga_guest import App, Host, HttpError, Request

app = App()


@app.get("/hello")
def hello(request: Request, host: Host) -> dict[str, str]:
    return {"message": f"Hello, {request.query.get('name', 'world')}"}


@app.get("/notes")
def list_notes(request: Request, host: Host) -> list[dict[str, object]]:
    return [{"id": record.key, "text": record.text} for record in host.storage.each("notes")]


@app.post("/notes")
def add_note(request: Request, host: Host) -> dict[str, str]:
    note = request.json()
    if not isinstance(note, dict) or not isinstance(note.get("text"), str):
        raise HttpError(400, "text is missing")
    note_id = host.clock.random_hex(8)
    host.storage.put("notes", note_id, note["text"])
    return {"id": note_id}
