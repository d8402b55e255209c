"""`alga_guest` in plain CPython: routing, answers, and the host's wrappers over raw bindings."""

from types import SimpleNamespace

import pytest
from alga_guest import App, Conflict, Denied, Host, HttpError, Invalid, Missing, Request, Response, Unavailable
from alga_guest.host.errors import CLASS_OF_CODE
from alga_guest.host.platform import InvoiceItem
from alga_guest.host.storage import Put
from alga_guest.testing import FakeHost, TestClient


def app_answering(answer: object) -> App:
    app = App()
    app.get("/x")(lambda request, host: answer)
    return app


@pytest.mark.parametrize(
    ("answer", "status", "content_type", "body"),
    [
        ({"a": [1, None]}, 200, "application/json", b'{"a":[1,null]}'),
        (None, 204, None, b""),
        ("gr\u00fc\u00dfe", 200, "text/plain; charset=utf-8", "gr\u00fc\u00dfe".encode()),
        (b"\x00\xff", 200, "application/octet-stream", b"\x00\xff"),
        (Response(302, headers=(("etag", "x"),)), 302, None, b""),
    ],
)
def test_what_a_handler_returns_becomes_the_answer(
    answer: object, status: int, content_type: str | None, body: bytes
) -> None:
    """Handlers return plain values; the SDK says how each travels."""
    given = TestClient(app_answering(answer), FakeHost()).get("/x")
    assert (given.status, given.body, dict(given.headers).get("content-type")) == (status, body, content_type)


def test_a_literal_route_beats_one_with_a_parameter() -> None:
    """As the gateway matches, whatever the order of registration."""
    app = App()
    app.get("/tickets/{ticket}")(lambda request, host, ticket: f"one {ticket}")
    app.get("/tickets/open")(lambda request, host: "open ones")
    client = TestClient(app, FakeHost())
    assert client.get("/tickets/open").text == "open ones"
    assert client.get("/tickets/a%2Fb").text == "one a/b"


def test_an_unknown_path_or_method_is_404() -> None:
    """One export serves every endpoint: what it does not know it says."""
    client = TestClient(app_answering("ok"), FakeHost())
    assert [client.get("/y").status, client.post("/x").status, client.get("/x/y").status] == [404, 404, 404]


def test_an_http_error_is_the_answer_and_any_other_is_the_platforms() -> None:
    """A bug must end the invocation as guest failed, so that an event is attempted again."""
    app = App()

    @app.get("/teapot")
    def teapot(request: Request, host: Host) -> None:
        raise HttpError(418, "short and stout")

    @app.get("/bug")
    def bug(request: Request, host: Host) -> None:
        raise ZeroDivisionError

    client = TestClient(app, FakeHost())
    answer = client.get("/teapot")
    assert (answer.status, answer.json()) == (418, {"error": "short and stout"})
    with pytest.raises(ZeroDivisionError):
        client.get("/bug")


def test_a_body_that_is_not_json_is_400() -> None:
    """Authors need no guard round `request.json()`."""
    app = App()
    app.post("/x")(lambda request, host: request.json())
    client = TestClient(app, FakeHost())
    assert client.post("/x", body=b"{").status == 400
    assert client.post("/x", json={"deep": [1]}).json() == {"deep": [1]}


def test_query_parameters_keep_repeats_and_blanks() -> None:
    """`query` is for the usual case, `query_list` for the whole truth."""
    request = Request("GET", "/x?a=1&a=2&b=&c=%20d")
    assert request.query_list == [("a", "1"), ("a", "2"), ("b", ""), ("c", " d")]
    assert request.query == {"a": "2", "b": "", "c": " d"}
    assert request.path == "/x"


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        (lambda host: host.secrets.get("absent"), 502, "missing"),
        (lambda host: host.http.fetch("https://not.granted/"), 403, "not-allowed"),
        (lambda host: host.storage.put("n", "k", "v", if_revision=9), 502, "conflict"),
        (lambda host: host.scheduler.list(), 403, "denied"),
    ],
)
def test_a_refusal_nobody_catches_is_an_answer_that_names_it(call: object, status: int, code: str) -> None:
    """What the platform denies is not a crash of the guest."""
    app = App()
    app.get("/x")(lambda request, host: call(host))  # type: ignore[operator]
    answer = TestClient(app, FakeHost()).get("/x")
    assert (answer.status, answer.json()["error"]) == (status, code)


def test_every_refusal_of_the_world_has_its_class() -> None:
    """A case that no class claims would surface as a bare HostError."""
    assert CLASS_OF_CODE["quota-exceeded"] is Denied
    assert CLASS_OF_CODE["route-not-found"] is Missing
    assert CLASS_OF_CODE["conflict"] is Conflict
    assert CLASS_OF_CODE["too-large"] is Invalid
    assert CLASS_OF_CODE["transport"] is Unavailable


def host() -> Host:
    return Host(FakeHost().imports())


def test_storage_keeps_bytes_text_and_json_as_they_were() -> None:
    """Three kinds of value, one record."""
    storage = host().storage
    storage.put("n", "bytes", b"\xff\x00")
    storage.put("n", "text", "gr\u00fc\u00dfe")
    storage.put("n", "json", {"a": 1}, metadata={"kind": "sample"})
    assert storage.get("n", "bytes").value == b"\xff\x00"
    assert storage.get("n", "text").text == "gr\u00fc\u00dfe"
    assert storage.get("n", "json").json() == {"a": 1}
    assert storage.get("n", "json").metadata == {"kind": "sample"}


def test_storage_writes_conflict_by_revision() -> None:
    """Revisions start at 1 and only the one named is overwritten."""
    storage = host().storage
    assert storage.put("n", "k", "1", create_only=True) == 1
    assert storage.put("n", "k", "2", if_revision=1) == 2
    with pytest.raises(Conflict):
        storage.put("n", "k", "3", if_revision=1)
    with pytest.raises(Conflict):
        storage.put("n", "k", "3", create_only=True)
    with pytest.raises(Invalid):
        storage.put("n", "k", "3", create_only=True, if_revision=2)
    assert storage.get("n", "k").text == "2"


def test_put_many_is_all_or_none() -> None:
    """One conflict leaves nothing behind."""
    storage = host().storage
    storage.put("n", "taken", "x")
    with pytest.raises(Conflict):
        storage.put_many("n", [Put("new", "y"), Put("taken", "z", create_only=True)])
    assert storage.find("n", "new") is None


def test_each_walks_every_page_once() -> None:
    """A listing is cut at 100 records; the iterator goes on."""
    storage = host().storage
    keys = [f"{number:04d}" for number in range(230)]
    for key in keys:
        storage.put("n", key, key)
    assert [record.key for record in storage.each("n")] == keys
    assert [record.key for record in storage.each("n", prefix="022")] == [f"022{digit}" for digit in range(10)]


def test_deleting_tells_whether_something_was_there() -> None:
    """Deleting what is not there succeeds."""
    storage = host().storage
    storage.put("n", "k", "v")
    assert (storage.delete("n", "k"), storage.delete("n", "k")) == (True, False)
    with pytest.raises(Missing):
        storage.get("n", "k")


def test_a_write_option_that_does_not_exist_is_refused() -> None:
    """A misspelt option must not be dropped in silence."""
    with pytest.raises(TypeError):
        host().storage.put("n", "k", "v", ttl=60)
    with pytest.raises(TypeError, match="frequency"):
        host().scheduler.update("id", frequency="daily")


def test_a_refused_invoice_is_denied_or_invalid_by_what_was_said() -> None:
    """Results with `success` are turned into exceptions; field errors reach the author."""
    told: dict[str, object] = {}

    def create(request: SimpleNamespace) -> SimpleNamespace:
        told["request"] = request
        return SimpleNamespace(success=False, error="quantity", field_errors='{"items[0].quantity":"must be > 0"}')

    imports = FakeHost().imports()
    imports.types = SimpleNamespace(
        CreateManualInvoiceInput=SimpleNamespace,
        ManualInvoiceItemInput=SimpleNamespace,
        DiscountType=SimpleNamespace(FIXED="fixed"),
    )
    with pytest.raises(Denied):
        Host(imports).invoicing.create_manual_invoice("c", [])
    imports.invoicing = SimpleNamespace(create_manual_invoice=create)
    item = InvoiceItem("s", 0, "work", 100, is_discount=True, discount_type="fixed")
    with pytest.raises(Invalid, match="must be > 0"):
        Host(imports).invoicing.create_manual_invoice("c", [item], po_number="7")
    request = told["request"]
    assert (request.po_number, request.items[0].discount_type) == ("7", "fixed")  # type: ignore[attr-defined]


def test_the_fake_host_remembers_what_it_was_told() -> None:
    """Authors assert on logs, events, metrics and requests."""
    fake = FakeHost(config={"name": "Ada"}, responses={"https://a.example/": Response(201, b"made")})
    spoken = Host(fake.imports())
    spoken.log.warn("careful")
    spoken.metrics.add_counter("calls", path="/x")
    event = spoken.events.emit("thing.done", {"n": 1}, id="e-1")
    answer = spoken.http.post_json("https://a.example/p", {"q": 1})
    assert fake.logs == [("warn", "careful")]
    assert fake.metrics == [("counter", "calls", 1.0)]
    assert (event, fake.events[0].payload) == ("e-1", {"n": 1})
    assert (answer.status, answer.text, fake.requests[0].json()) == (201, "made", {"q": 1})
    assert (spoken.config.find("name"), spoken.config.find("absent")) == ("Ada", None)
