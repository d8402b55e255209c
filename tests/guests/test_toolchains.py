"""Components as each toolchain makes them, on bare wasmtime: what they import, and that they do their work."""

import json
import re

import pytest

from tests.guests import build
from tests.guests.bare_host import Answer, BareHost, GuestCall, record

WIT_IMPORT = re.compile(r"^    import ([a-z0-9-]+);", re.MULTILINE | re.ASCII)
OURS = "alga:extension/"


@pytest.fixture(scope="module")
def host() -> BareHost:
    return BareHost()


def _whole_world() -> set[str]:
    text = (build.WORLD / "runner.wit").read_text()
    return {f"{OURS}{name}" for name in [*WIT_IMPORT.findall(text), "types"]}


@pytest.mark.parametrize("name", ["ask-qjs", "ask-qjs-bare", "ask-spidermonkey", "wasi-python"])
def test_script_toolchains_import_the_whole_world_whatever_they_use(host: BareHost, name: str) -> None:
    """Imports beyond the manifest's capabilities are normal: publish must not refuse them."""
    imports = {name for name in host.imports(build.component(name)) if name.startswith(OURS)}
    assert imports == _whole_world()


def test_a_bare_guest_imports_nothing_of_wasi(host: BareHost) -> None:
    """Bare guests run on a host that offers our world only."""
    foreign = [name for name in host.imports(build.component("ask-qjs-bare")) if not name.startswith(OURS)]
    assert foreign == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ask-qjs", {"wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random"}),
        ("ask-spidermonkey", {"wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:http", "wasi:io", "wasi:random"}),
        ("wasi-python", {"wasi:cli", "wasi:clocks", "wasi:filesystem", "wasi:io", "wasi:random", "wasi:sockets"}),
    ],
)
def test_honest_guests_import_more_of_wasi_than_they_use(host: BareHost, name: str, expected: set[str]) -> None:
    """Refusing these imports would refuse every real guest."""
    imports = host.imports(build.component(name))
    assert {name.split("/")[0] for name in imports if name.startswith("wasi:")} == expected


@pytest.mark.parametrize("name", ["ask-qjs", "ask-qjs-bare", "ask-spidermonkey"])
def test_javascript_hands_values_over_unchanged(host: BareHost, name: str) -> None:
    """Bytes, 64-bit revisions, options and text survive both crossings, in either engine."""
    stored = []

    def put(entry: object) -> object:
        stored.append(vars(entry))
        return record(**{**vars(entry), "revision": 2**40})

    argument = {
        "namespace": "n",
        "key": "gr\u00fc\u00dfe \U0001f600",
        "value": {"base64": "/wAB"},
        "revision": 2**40 - 1,
    }
    body = json.dumps([argument]).encode()
    call = GuestCall("/ask/storage/put", method="POST", body=body)
    answer = host.call(build.component(name), call, answers={("storage", "put"): put})
    assert stored == [{**argument, "value": b"\xff\x00\x01"}]
    assert json.loads(answer.body or b"")["ok"]["revision"] == 2**40


@pytest.mark.parametrize("name", ["ask-qjs", "ask-qjs-bare", "ask-spidermonkey"])
def test_javascript_sees_a_refusal_as_the_interfaces_own_word(host: BareHost, name: str) -> None:
    """An ungranted call is a typed error inside the guest, not a crash."""
    answers = {
        interface: json.loads(host.call(build.component(name), GuestCall(f"/ask/{interface}")).body or b"")
        for interface in ("http", "storage", "secrets", "user-v2", "clients", "events", "ui-proxy", "scheduler")
    }
    assert answers == {
        "http": {"error": "not-allowed"},
        "storage": {"error": "denied"},
        "secrets": {"error": "denied"},
        "user-v2": {"error": "not-allowed"},
        "clients": {"error": "not-allowed"},
        "events": {"error": "denied"},
        "ui-proxy": {"error": "denied"},
        "scheduler": {"error": "denied"},
    }


def test_a_bare_guest_takes_clock_and_randomness_from_the_host(host: BareHost) -> None:
    """Its engine's own are frozen in the snapshot, or trap."""
    answers: dict[tuple[str, str], Answer] = {
        ("context-v2", "now-unix-ms"): lambda: 1_700_000_000_000,
        ("context-v2", "random-hex"): lambda count: "c0" * count,
    }
    body = json.dumps([{"now": True}]).encode()
    call = GuestCall("/script", method="POST", body=body)
    answer = host.call(build.component("ask-qjs-bare"), call, answers=answers)
    told = json.loads(answer.body or b"")["results"][0]
    assert told["now"] == 1_700_000_000_000
    assert abs(told["random"] - 0xC0 / 0xFF) < 0.01


@pytest.mark.parametrize("name", ["original-qjs", "first-qjs"])
def test_components_of_older_worlds_still_load_and_run(host: BareHost, name: str) -> None:
    """Nobody recompiles for us: interfaces that came later are simply not imported."""
    path = build.component(name)
    later = {f"{OURS}{interface}" for interface in ("context-v2", "storage-v2", "metrics", "events")}
    assert not later & set(host.imports(path))
    answer = host.call(path, GuestCall("/x"))
    assert json.loads(answer.body or b"") == {"url": "/x", "secret": "denied", "record": "denied"}


def test_python_reaches_neither_network_nor_files(host: BareHost) -> None:
    """WASI without preopens or network: what Python tries, WASI refuses; clock, randomness and output work."""
    path = build.component("wasi-python")
    attempts = json.loads(host.call(path, GuestCall("/try")).body or b"")
    told = {name: json.loads(host.call(path, GuestCall(f"/try/{name}")).body or b"") for name in attempts}
    reached = {name for name, answer in told.items() if "reached" in answer}
    assert reached == {"clock", "random", "stdout", "stderr"}


@pytest.mark.parametrize("name", ["example-ticket-digest", "example-link-checker"])
def test_examples_answer_hello(host: BareHost, name: str) -> None:
    """Each example builds from its sources and runs."""
    answer = host.call(build.component(name), GuestCall("/hello"))
    assert answer.status == 200
    assert "Hello" in json.loads(answer.body or b"")["message"]
