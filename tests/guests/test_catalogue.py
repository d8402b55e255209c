"""The tiny guests are what they claim to be: each told apart by how it ends on bare wasmtime."""

import re

import pytest
from wasmtime import WasmtimeError

from tests.guests import build
from tests.guests.bare_host import BareHost, GuestCall

LITTLE_FUEL = 10**8
SPENT = "all fuel consumed by WebAssembly"

TRAPS = {
    "loop": SPENT,
    "loop-start": SPENT,
    "loop-realloc": SPENT,
    "loop-post-return": SPENT,
    "loop-destructor": SPENT,
    "fill-copy": SPENT,
    "recurse": "call stack exhausted",
    "recurse-indirect": "call stack exhausted",
    "trap-unreachable": "wasm `unreachable` instruction executed",
    "trap-divide": "integer divide by zero",
    "trap-overflow": "integer overflow",
    "trap-conversion": "invalid conversion to integer",
    "trap-bounds": "out of bounds memory access",
    "trap-table": "undefined element: out of bounds table access",
    "trap-element": "uninitialized element",
    "bad-pointer": "pointer out of bounds",
    "bad-list": "list pointer/length out of bounds",
    "bad-option": "discriminant 7 out of range",
    "bad-utf8-header": "invalid utf-8",
    "body-claim": "list pointer/length out of bounds",
    "body-100mb": "fuel allocated for hostcalls has been exhausted",
    "headers-million": "fuel allocated for hostcalls has been exhausted",
    "core-module": "parse a wasm module with a component parser",
    "unknown-interface": "implementation is missing",
}


@pytest.fixture(scope="module")
def host() -> BareHost:
    return BareHost()


@pytest.mark.parametrize(("name", "words"), TRAPS.items(), ids=TRAPS)
def test_a_hostile_guest_ends_in_the_words_of_its_fault(host: BareHost, name: str, words: str) -> None:
    """A test that meant to trap and did something else would prove nothing."""
    with pytest.raises(WasmtimeError) as caught:
        host.call(build.component(name), GuestCall("/x"), fuel=LITTLE_FUEL)
    assert words in str(caught.value)


def test_echo_answers_what_it_was_asked(host: BareHost) -> None:
    """The smallest honest guest: url, method and body come back."""
    answer = host.call(build.component("echo"), GuestCall("/a?b=c", method="PUT", body=b"\x00body"))
    assert (answer.status, answer.body) == (200, b"\x00body")
    assert answer.headers == (("x-echo-url", "/a?b=c"), ("x-ext-echo-url", "/a?b=c"), ("x-ext-echo-method", "PUT"))


def test_echo_without_a_body_answers_without_one(host: BareHost) -> None:
    """None and empty are two things."""
    assert host.call(build.component("echo"), GuestCall("/")).body is None
    assert host.call(build.component("echo"), GuestCall("/", body=b"")).body == b""


@pytest.mark.parametrize("status", [0, 99, 200, 599, 1000, 65535])
def test_status_answers_the_number_in_the_url(host: BareHost, status: int) -> None:
    """Out-of-range statuses are the executor's to refuse; the guest really sends them."""
    assert host.call(build.component("status"), GuestCall(f"/status?{status}")).status == status


def test_body_size_answers_as_many_bytes_as_asked(host: BareHost) -> None:
    """For the limits on bodies, to the byte."""
    assert len(host.call(build.component("body-size"), GuestCall("/x?70001")).body or b"") == 70001


@pytest.mark.parametrize("name", sorted(name for name in build.catalogue() if name.startswith("feature-")))
def test_a_feature_guest_needs_a_feature_that_is_off_in_the_oldest_web_assembly(name: str) -> None:
    """Each is valid with every feature on, and refused with those of WebAssembly 2.0 only."""
    path = build.component(name)
    build.validate(path, features="all")
    with pytest.raises(build.GuestBuildFailed):
        build.validate(path, features="wasm2,component-model")


@pytest.mark.parametrize("name", sorted(name for name in build.catalogue() if name.startswith("bomb-")))
def test_a_bomb_is_a_valid_component(name: str) -> None:
    """What validation refuses would never reach the compiler."""
    build.validate(build.component(name), features="wasm2,component-model")


def test_the_original_world_is_the_start_of_ours(host: BareHost) -> None:
    """Every import of the older world is an import of this one."""
    older, ours = host.imports(build.component("world-original")), host.imports(build.component("world-whole"))
    assert set(older) < set(ours)
    assert set(host.imports(build.component("world-first"))) < set(older)


def _interfaces(wit: str) -> dict[str, str]:
    """Each interface's text without its documentation, by name."""
    bare = re.sub(r"^ *///.*\n", "", wit, flags=re.MULTILINE)
    return dict(re.findall(r"^interface ([a-z0-9-]+) \{\n(.*?)^\}", bare, re.MULTILINE | re.DOTALL))


def test_no_released_interface_has_changed() -> None:
    """One added field stops every deployed component from loading: a change is a new interface beside the old one."""
    released = _interfaces(build.wit_text(build.ORIGINAL_WORLD))
    ours = _interfaces(build.wit_text(build.WORLD))
    assert len(released) == 13
    assert {name: ours.get(name) for name in released} == released


def test_a_name_that_is_not_in_the_catalogue_is_refused() -> None:
    """A misspelt guest must not look like a failing one."""
    with pytest.raises(KeyError):
        build.component("no-such-guest")
