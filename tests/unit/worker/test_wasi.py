"""The small WASI of an executor: what it answers, and that everything else is no."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.capability import Err, Ok
from schemas.guest_http import GuestRequest
from schemas.wit_types import Enum, FunctionType, Handle, ListOf, Option, Primitive, Result, Variant
from worker import frames
from worker.executor import traps
from worker.executor.channel import Channel
from worker.executor.running import Running
from worker.executor.wasi import resources, table

TEXT = Primitive("string")
NO_TYPE = FunctionType((), None)
FILE_ERROR = Enum(("access", "would-block", "not-permitted"))
SOCKET_ERROR = Enum(("unknown", "access-denied", "not-supported"))
SOCKET = Result(Handle(owned=True), SOCKET_ERROR)
HTTP_ERROR = Variant((("DNS-timeout", None), ("HTTP-request-denied", None), ("internal-error", Option(TEXT))))

HTTP = Result(Handle(owned=True), HTTP_ERROR)


@pytest.fixture
def running() -> Iterator[Running]:
    """An invocation with a second to go; what it notes stays in the socket."""
    ours, theirs = socket.socketpair()
    run = frames.Run(
        invocation="0",
        content_hash="sha256:0",
        request=GuestRequest(method="GET", url="/"),
        deadline=time.monotonic() + 1.0,
        timeout_ms=1000,
        memory_mb=1,
        fuel=1,
        max_body_bytes=1,
        grants=frozenset(),
        context={},
        context_v2={},
    )
    with ours, theirs:
        yield Running(run, Channel(ours, frames.ToExecutor), {})


def call(running: Running, function: str, *arguments: Any, type_: FunctionType = NO_TYPE) -> Any:
    interface, _, member = function.partition(" ")
    return table.find(interface, member)(running, type_, list(arguments))


@pytest.mark.parametrize(
    ("function", "result", "expected"),
    [
        ("wasi:filesystem/types [method]descriptor.open-at", Result(Handle(owned=True), FILE_ERROR), Err("access")),
        (
            "wasi:sockets/tcp-create-socket create-tcp-socket",
            Result(Handle(owned=True), SOCKET_ERROR),
            Err("access-denied"),
        ),
        (
            "wasi:sockets/ip-name-lookup resolve-addresses",
            Result(Handle(owned=True), SOCKET_ERROR),
            Err("access-denied"),
        ),
        (
            "wasi:http/outgoing-handler handle",
            Result(Handle(owned=True), HTTP_ERROR),
            Err(("HTTP-request-denied", None)),
        ),
        ("wasi:filesystem/preopens get-directories", ListOf(TEXT), []),
        ("wasi:cli/environment get-environment", ListOf(TEXT), []),
        ("wasi:cli/environment initial-cwd", Option(TEXT), None),
        ("wasi:cli/terminal-stdin get-terminal-stdin", Option(Handle(owned=True)), None),
        ("wasi:http/types not-even-a-function", Primitive("u64"), 0),
    ],
)
def test_what_is_not_provided_is_refused_by_its_own_type(
    running: Running, function: str, result: Any, expected: Any
) -> None:
    """S12: the guest's library hears "denied" in its own words; nothing is opened to find out."""
    assert call(running, function, type_=FunctionType((), result)) == expected


def test_a_handle_that_cannot_be_given_ends_the_guest(running: Running) -> None:
    """There is no empty handle."""
    with pytest.raises(traps.GuestEnded):
        call(running, "wasi:http/types nothing", type_=FunctionType((), Handle(owned=True)))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("wasi:io/poll poll", [[]]),
        ("wasi:io/poll poll", [[99]]),
        ("wasi:io/poll poll", ["nonsense"]),
        ("wasi:io/poll [method]pollable.block", []),
        ("wasi:random/random get-random-bytes", [2**63]),
        ("wasi:random/random get-random-bytes", ["x"]),
        ("wasi:http/types [constructor]outgoing-request", [1]),
        ("wasi:cli/exit exit", [0]),
    ],
)
def test_misuse_ends_the_guest_and_nothing_else(running: Running, function: str, arguments: list[Any]) -> None:
    """A guest may declare any types under these names, so every argument may be anything."""
    with pytest.raises(traps.GuestEnded):
        call(running, function, *arguments)


def test_handles_have_an_end(running: Running) -> None:
    """A flood of handles is the guest's own failure, by the name of its limit."""
    for _ in range(resources.MAX_HANDLES):
        call(running, "wasi:cli/stdout get-stdout")
    with pytest.raises(traps.GuestEnded) as ended:
        call(running, "wasi:cli/stdout get-stdout")

    assert ended.value.line == traps.TOO_MANY_HANDLES


def test_a_handle_given_away_or_dropped_is_gone(running: Running) -> None:
    """A number is good for one kind and one life."""
    fields = call(running, "wasi:http/types [constructor]fields").rep
    request = call(running, "wasi:http/types [constructor]outgoing-request", fields).rep

    with pytest.raises(traps.GuestEnded):
        call(running, "wasi:http/types [method]fields.entries", fields)
    with pytest.raises(traps.GuestEnded):
        call(running, "wasi:http/types [method]fields.entries", request)
    resources.drop(running, 0, request)
    with pytest.raises(traps.GuestEnded):
        call(running, "wasi:http/types [method]outgoing-request.authority", request)


def test_a_request_can_be_put_together_and_read_back(running: Running) -> None:
    """Guests of every toolchain load and build requests; what they cannot do is send one."""
    made = call(running, "wasi:http/types [static]fields.from-list", [["X-A", b"1"], ["x-b", b"2"]])
    fields = made.value.rep
    assert call(running, "wasi:http/types [method]fields.append", fields, "x-a", b"3") == Ok()
    assert call(running, "wasi:http/types [method]fields.get", fields, "X-a") == [b"1", b"3"]
    assert call(running, "wasi:http/types [method]fields.set", fields, "x-a", [b"4"]) == Ok()
    assert call(running, "wasi:http/types [method]fields.entries", fields) == [["x-b", b"2"], ["x-a", b"4"]]
    assert call(running, "wasi:http/types [method]fields.delete", fields, "x-b") == Ok()
    assert not call(running, "wasi:http/types [method]fields.has", fields, "x-b")

    request = call(running, "wasi:http/types [constructor]outgoing-request", fields).rep
    assert call(running, "wasi:http/types [method]outgoing-request.method", request) == ("get", None)
    assert call(running, "wasi:http/types [method]outgoing-request.set-authority", request, "example.com") == Ok()
    assert call(running, "wasi:http/types [method]outgoing-request.authority", request) == "example.com"


def test_clocks_move_in_steps_of_a_millisecond(running: Running) -> None:
    """S21: no finer clock than that."""
    seen = {call(running, "wasi:clocks/monotonic-clock now") for _ in range(1000)}
    wall = call(running, "wasi:clocks/wall-clock now")

    assert all(instant % 1_000_000 == 0 for instant in seen)
    assert wall["nanoseconds"] % 1_000_000 == 0
    assert abs(wall["seconds"] - time.time()) < 2


def test_randomness_is_fresh_behind_every_name(running: Running) -> None:
    """Also behind the names that promise nothing."""
    for function in ("random/random get-random-u64", "random/insecure get-insecure-random-u64"):
        assert len({call(running, f"wasi:{function}") for _ in range(50)}) == 50
    assert len(call(running, "wasi:random/random get-random-bytes", 33)) == 33


def test_a_poll_sleeps_until_the_first_is_ready(running: Running) -> None:
    """And answers with its index."""
    late = call(running, "wasi:clocks/monotonic-clock subscribe-duration", 60_000_000_000).rep
    soon = call(running, "wasi:clocks/monotonic-clock subscribe-duration", 20_000_000).rep
    began = time.monotonic()

    assert call(running, "wasi:io/poll poll", [late, soon]) == [1]
    assert 0.02 <= time.monotonic() - began < 0.5


def test_a_poll_past_the_deadline_ends_the_guest_at_the_deadline(running: Running) -> None:
    """F12."""
    late = call(running, "wasi:clocks/monotonic-clock subscribe-duration", 60_000_000_000).rep
    with pytest.raises(traps.GuestEnded) as ended:
        call(running, "wasi:io/poll [method]pollable.block", late)

    assert ended.value.line == traps.INTERRUPTED
    assert running.seconds_left() <= 0


def test_stdin_is_at_its_end_and_stdout_takes_what_comes(running: Running) -> None:
    """Closed, and never full."""
    stdin = call(running, "wasi:cli/stdin get-stdin").rep
    stdout = call(running, "wasi:cli/stdout get-stdout").rep

    assert call(running, "wasi:io/streams [method]input-stream.blocking-read", stdin, 10) == Err(("closed", None))
    assert call(running, "wasi:io/streams [method]output-stream.check-write", stdout).value > 0
    assert call(running, "wasi:io/streams [method]output-stream.write", stdout, b"x") == Ok()


@pytest.mark.parametrize(("name", "kind"), [("headers", "fields"), ("trailers", "fields"), ("io-error", "error")])
def test_second_names_of_a_resource_are_the_same_resource(name: str, kind: str) -> None:
    """wasmtime refuses to link an interface whose two names for one resource differ."""
    assert resources.kind_of(name) == resources.kind_of(kind) != 0
