"""The app without a platform: a fake host, plain CPython."""

from alga_guest.testing import FakeHost, TestClient
from app import app


def test_hello_greets_by_name() -> None:
    assert TestClient(app, FakeHost()).get("/hello?name=Ada").json() == {"message": "Hello, Ada"}


def test_a_note_that_was_added_is_listed() -> None:
    client = TestClient(app, FakeHost())
    note_id = client.post("/notes", json={"text": "remember"}).json()["id"]
    assert client.get("/notes").json() == [{"id": note_id, "text": "remember"}]
