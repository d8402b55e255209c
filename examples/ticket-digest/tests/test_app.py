"""How an author tests an extension: the app, a fake host, plain CPython."""

from alga_guest import Response
from alga_guest.testing import FakeHost, TestClient
from app import app


def test_a_note_that_was_added_is_listed() -> None:
    """Notes survive from one request to the next."""
    client = TestClient(app, FakeHost())
    added = client.post("/notes", json={"text": "call back", "ticket": "T-1"}).json()
    assert client.get("/notes").json() == [{"id": added["id"], "text": "call back", "ticket": "T-1"}]


def test_a_delivery_that_comes_twice_counts_once() -> None:
    """The digest counts events, not deliveries."""
    client = TestClient(app, FakeHost())
    for _ in range(2):
        assert client.deliver("ticket.created", {"title": "Printer", "priority": "high"}).status == 204
    assert client.get("/digest").json() == {"tickets": 1, "by_priority": {"high": 1}, "titles": ["Printer"]}


def test_the_digest_goes_to_the_webhook_with_the_token() -> None:
    """The token comes from the install's secrets and travels in one header only."""
    host = FakeHost(
        secrets={"api_token": "t0ken"},
        config={"webhook_url": "https://hooks.example.com/digest"},
        responses={"https://hooks.example.com/": Response(202)},
    )
    assert TestClient(app, host).post("/digest/send").json() == {"sent": True, "status": 202}
    assert host.requests[0].headers["authorization"] == "Bearer t0ken"


def test_a_host_that_was_not_granted_is_refused_with_its_reason() -> None:
    """What the platform denies reaches the caller as 403, not as a crash."""
    answer = TestClient(app, FakeHost()).get("/fetch?url=https://evil.example/")
    assert (answer.status, answer.json()["error"]) == (403, "not-allowed")
