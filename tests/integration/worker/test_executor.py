"""A real zygote and its executors, spoken to in frames: what a guest gets, and how its call ends."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.capability import INTERFACES, Err, Ok
from schemas.errors import ErrorCode
from schemas.guest_http import GuestRequest
from schemas.invocation import MAX_HOST_CALLS, OutcomeKind
from tests.integration.worker import executor_harness as harness
from tests.integration.worker.executor_harness import Executor, Zygote
from worker import frames
from worker.executor import engine, limits

ASK = "ask-qjs"
ALL_GRANTS = frozenset(interface.capability for interface in INTERFACES.values())


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    """One zygote for the file."""
    with harness.zygote() as running:
        yield running


@pytest.fixture
def executor(zygote: Zygote) -> Executor:
    """A fresh executor for each test."""
    return zygote.spawn()


def test_an_executor_says_what_it_can_load_and_what_holds_it(executor: Executor) -> None:
    """The supervisor refuses to use one whose walls or engine are not what it expects."""
    assert executor.ready.engine_fingerprint == engine.fingerprint()
    assert {"seccomp", "no new privileges", "not dumpable", "limits"} <= set(executor.ready.walls)


def test_an_echo_comes_back_with_its_headers_and_body(executor: Executor) -> None:
    """The main line: load, run, done."""
    executor.load("echo")
    done = executor.run("echo", "/a?b=c", body=b"hello")

    assert done.kind is OutcomeKind.COMPLETED
    assert done.response is not None
    assert (done.response.status, done.response.body) == (200, b"hello")
    assert ("x-echo-url", "/a?b=c") in done.response.headers
    assert done.fuel > 0


@pytest.mark.parametrize("size", [0, 1, 65_536, 2 * 1024 * 1024])
def test_bodies_of_every_size_cross_unchanged(executor: Executor, size: int) -> None:
    """Up to 2 MiB, both ways, to the byte."""
    executor.load("echo")
    body = os.urandom(size)
    done = executor.run("echo", body=body)

    assert done.response is not None
    assert done.response.body == body


def test_a_call_sees_nothing_of_the_call_before(executor: Executor) -> None:
    """A fresh store for each invocation; only `reuse` keeps one, and only for the same install."""
    executor.load(ASK)
    script = b'[{"grow": true}]'
    assert executor.run(ASK, "/script", body=script).kind is not OutcomeKind.COMPLETED
    assert executor.run(ASK).kind is OutcomeKind.COMPLETED


@pytest.mark.parametrize(
    ("guest", "kind", "code"),
    [
        ("trap-unreachable", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP),
        ("trap-bounds", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP),
        ("trap-divide", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP),
        ("trap-overflow", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP),
        ("trap-conversion", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP),
        ("trap-element", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP),
        ("trap-table", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP),
        ("recurse", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP),
        ("recurse-indirect", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP),
        ("grow-fill", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP),
        ("minimum-memory", OutcomeKind.LIMIT_EXCEEDED, ErrorCode.GUEST_MEMORY),
        ("bad-list", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_BAD_RESPONSE),
        ("bad-option", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_BAD_RESPONSE),
        ("bad-pointer", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_BAD_RESPONSE),
        ("bad-utf8-header", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_BAD_RESPONSE),
        ("bad-header-name", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_BAD_RESPONSE),
        ("crlf-header", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_BAD_RESPONSE),
        ("body-100mb", OutcomeKind.LIMIT_EXCEEDED, ErrorCode.GUEST_BAD_RESPONSE),
        ("headers-million", OutcomeKind.LIMIT_EXCEEDED, ErrorCode.GUEST_BAD_RESPONSE),
        ("wasi-exit", OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP),
    ],
)
def test_a_failing_guest_ends_as_its_failure_and_the_executor_serves_on(
    executor: Executor, guest: str, kind: OutcomeKind, code: ErrorCode
) -> None:
    """S3, S4, S5, S25: an outcome that names what happened, no recycling, and the next call works."""
    executor.load(guest)
    executor.load("echo")
    done = executor.run(guest, timeout=20.0)

    assert (done.kind, done.code, done.recycle) == (kind, code, False)
    assert executor.run("echo").kind is OutcomeKind.COMPLETED


@pytest.mark.parametrize("status", [0, 99, 199, 600, 1000])
def test_a_status_outside_http_is_a_bad_response(executor: Executor, status: int) -> None:
    """S25."""
    executor.load("status")

    assert executor.run("status", f"/{status}").code is ErrorCode.GUEST_BAD_RESPONSE


@pytest.mark.parametrize("size", [2 * 1024 * 1024, 2 * 1024 * 1024 + 1])
def test_a_body_one_byte_over_its_limit_is_a_bad_response(executor: Executor, size: int) -> None:
    """Q6: up to the limit it passes, beyond it the message names limit and value."""
    executor.load("body-size")
    done = executor.run("body-size", f"/{size}")

    if size > 2 * 1024 * 1024:
        assert done.code is ErrorCode.GUEST_BAD_RESPONSE
        assert str(size) in done.message
    else:
        assert done.response is not None
        assert len(done.response.body or b"") == size


@pytest.mark.parametrize("guest", ["loop", "loop-start", "loop-realloc", "loop-post-return"])
def test_a_loop_anywhere_ends_with_the_deadline(executor: Executor, guest: str) -> None:
    """S1, S2: epochs are set before instantiation, so that `start`, `realloc` and `post-return` are bound too."""
    executor.load(guest)
    began = time.monotonic()
    done = executor.run(guest, timeout=0.1)

    assert (done.kind, done.code) == (OutcomeKind.LIMIT_EXCEEDED, ErrorCode.DEADLINE_EXCEEDED)
    assert 0.1 <= time.monotonic() - began < 0.3
    assert "100 ms" in done.message


def test_bulk_instructions_end_with_the_deadline_too(executor: Executor) -> None:
    """S8: they do not look at the epoch while they run, so this one may overrun by the length of one of them."""
    executor.load("fill-copy")
    done = executor.run("fill-copy", timeout=0.1)

    assert (done.kind, done.code) == (OutcomeKind.LIMIT_EXCEEDED, ErrorCode.DEADLINE_EXCEEDED)


def test_fuel_stops_a_guest_before_its_clock_does(executor: Executor) -> None:
    """A lower fuel limit is a limit of its own, and says so."""
    executor.load("burn")
    done = executor.run("burn", "/1000000", fuel=10_000)

    assert (done.kind, done.code, done.fuel) == (OutcomeKind.LIMIT_EXCEEDED, ErrorCode.DEADLINE_EXCEEDED, 10_000)
    assert "10000" in done.message


def test_a_call_whose_deadline_has_passed_is_not_run(executor: Executor) -> None:
    """A late request is never executed."""
    executor.load("echo")
    done = executor.run("echo", timeout=-0.1)

    assert (done.code, done.fuel) == (ErrorCode.DEADLINE_EXCEEDED, 0)


def test_memory_stays_at_its_limit(executor: Executor) -> None:
    """S4: a refused growth is -1, and the process holds little more than the limit."""
    executor.load("grow")
    executor.load("grow-fill")
    idle = executor.memory_kib()
    done = executor.run("grow")

    assert done.response is not None
    assert done.response.body == b"refused"
    executor.run("grow-fill", timeout=20.0)
    assert executor.memory_kib("VmHWM") - idle < (128 + 40) * 1024


def test_a_host_call_carries_its_arguments_up_and_the_answer_down(executor: Executor) -> None:
    """Records, options, byte lists and results cross in both directions as host values."""
    executor.load(ASK)
    entry = {"namespace": "n", "key": "k", "value": b"\x00\xff", "revision": 7}
    done = executor.run(ASK, "/ask/storage/get", body=b'["n","k"]', grants=ALL_GRANTS, answer=lambda call: Ok(entry))

    assert [(c.ordinal, c.interface, c.function, c.arguments) for c in executor.calls] == [
        (1, "storage", "get", ["n", "k"])
    ]
    assert answered(done)["ok"]["revision"] == 7
    assert done.host_calls == 1


@pytest.mark.parametrize(
    ("interface", "function"),
    [(interface.name, function.name) for interface in INTERFACES.values() for function in interface.functions],
)
def test_whatever_is_not_granted_is_refused_inside_the_guest(executor: Executor, interface: str, function: str) -> None:
    """S12: the interface's own denied value, no trap, and nothing leaves the executor but the reason."""
    executor.load(ASK)
    arguments = json.dumps(ARGUMENTS[interface, function]).encode()
    done = executor.run(ASK, f"/ask/{interface}/{function}", body=arguments, grants=frozenset())

    assert done.kind is OutcomeKind.COMPLETED, done
    assert executor.calls == []
    denied = INTERFACES[interface].function(function).denied
    if isinstance(denied, Err) and isinstance(denied.value, str):
        assert answered(done)["error"] == denied.value


def test_an_answer_of_another_shape_is_a_failed_call_and_no_trap(executor: Executor) -> None:
    """A host application that answers nonsense fails its own call only."""
    executor.load(ASK)
    for nonsense in (None, 5, "x", ["ok", {"key": 1}], {"value": []}):
        done = executor.run(
            ASK, "/ask/storage/get", body=b'["n","k"]', grants=ALL_GRANTS, answer=lambda _, value=nonsense: value
        )
        assert answered(done)["error"] == "internal"


def test_a_service_that_never_answers_ends_with_the_deadline(executor: Executor) -> None:
    """S23: the guest gets the failed value at its own deadline, and the call is over."""
    executor.load(ASK)
    began = time.monotonic()
    done = executor.run(ASK, "/ask/storage/get", body=b'["n","k"]', grants=ALL_GRANTS, timeout=0.3)

    assert done.code is ErrorCode.DEADLINE_EXCEEDED
    assert 0.3 <= time.monotonic() - began < 0.5
    assert executor.run(ASK).kind is OutcomeKind.COMPLETED


def test_a_late_answer_to_a_call_that_is_over_is_not_taken_for_a_new_one(executor: Executor) -> None:
    """The supervisor may have sent it just before it heard that the call was over."""
    executor.load(ASK)
    executor.run(ASK, "/ask/secrets/get", body=b'["a"]', grants=ALL_GRANTS, timeout=0.2)
    executor.channel.send(frames.Answer(ordinal=1, value=Ok("old")))
    done = executor.run(ASK, "/ask/secrets/get", body=b'["b"]', grants=ALL_GRANTS, answer=lambda _: Ok("new"))

    assert answered(done) == {"ok": "new"}


def test_host_calls_are_counted_and_end_at_their_limit(executor: Executor) -> None:
    """At most 1,000 per invocation; what comes after is dropped and the guest goes on."""
    executor.load("host-calls")
    done = executor.run("host-calls", f"/{MAX_HOST_CALLS + 500}")

    assert done.kind is OutcomeKind.COMPLETED
    assert done.host_calls == MAX_HOST_CALLS + 500
    assert len([line for line in executor.log_lines() if line == "line"]) == MAX_HOST_CALLS


@pytest.mark.parametrize("guest", ["host-bytes", "host-string", "host-empty-strings"])
def test_arguments_over_their_budget_are_refused(executor: Executor, guest: str) -> None:
    """S10: nothing goes up, the guest goes on or ends, and the executor's memory stays bounded.

    What overruns the deadline here is killed by the supervisor, whose tests show that.
    """
    executor.load(guest)
    done = executor.run(guest, "/3", timeout=2.0, grants=ALL_GRANTS)

    assert not done.recycle
    assert executor.calls == []
    assert executor.memory_kib("VmHWM") < 400 * 1024


def test_context_and_user_are_answered_without_asking_anybody(executor: Executor) -> None:
    """They come with the Run frame; clock and randomness are live."""
    executor.load(ASK)
    run: dict[str, Any] = {"user": harness.USER}

    assert ask(executor, "context-v2", "get-context", **run)["ok"]["extensionName"] == "com.example.test"
    assert ask(executor, "context-v2", "get-config", '["key"]', **run) == {"ok": "value"}
    assert ask(executor, "context-v2", "get-config", '["none"]', **run) == {"ok": None}
    assert ask(executor, "user", "get-user", **run)["ok"]["userId"] == "user-1"
    assert ask(executor, "user-v2", "get-user", **run)["ok"]["additionalFields"] == [["locale", "en"]]
    assert ask(executor, "user", "get-user") == {"error": "not-available"}
    first, second = (ask(executor, "context-v2", "random-hex", "[16]")["ok"] for _ in range(2))
    assert len(first) == 32
    assert first != second
    assert executor.calls == []


def test_log_lines_are_cut_on_a_character_and_end_at_their_total(executor: Executor) -> None:
    """A line over 8 KiB keeps one character more, so that the supervisor sees it was cut; the total is bounded."""
    executor.load(ASK)
    executor.run(ASK, "/script", body=json.dumps([{"log": "é" * 8000}]).encode())
    (line,) = executor.log_lines()

    assert len(line.encode()) == limits.LOG_LINE_BYTES + 2
    executor.run(ASK, "/script", body=json.dumps([{"repeat": 100, "steps": [{"log": "x" * 8000}]}]).encode())
    assert limits.LOG_BYTES < sum(map(len, executor.log_lines())) <= limits.LOG_BYTES + 8000


def test_stdout_goes_to_the_live_log_line_by_line(executor: Executor) -> None:
    """What a guest prints is captured for its own invocation, with or without a last newline."""
    executor.load("wasi-stdout")
    executor.run("wasi-stdout")

    assert executor.notes
    assert {note.interface for note in executor.notes} <= {"stdout", "stderr"}
    assert not any("\n" in line for line in executor.log_lines())


@pytest.mark.parametrize("guest", ["wasi-tcp", "wasi-udp", "wasi-dns", "wasi-preopens", "wasi-environment"])
def test_wasi_denies_what_it_offers(executor: Executor, guest: str) -> None:
    """S12: sockets, names, files and the environment are there to link with and hold nothing."""
    executor.load(guest)
    done = executor.run(guest)

    assert done.kind is OutcomeKind.COMPLETED, done
    assert done.response is not None
    assert done.response.status == 200


@pytest.mark.parametrize(
    "attempt",
    ["tcp", "udp", "dns", "listen", "read-file", "write-file", "list-files", "environment", "arguments", "stdin"],
)
def test_a_python_guest_reaches_nothing_by_its_library(python_guest: Executor, attempt: str) -> None:
    """S12, F10: a componentize-py build imports sockets and files, links, runs, and is told no by its own library."""
    request = GuestRequest(method="GET", url=f"/try/{attempt}")
    done = python_guest.run("wasi-python", request=request)

    assert set(answered(done)) == {"refused"}


def test_a_python_guest_has_a_clock_and_randomness(python_guest: Executor) -> None:
    """Live, and fresh for each invocation."""
    tries = [
        answered(python_guest.run("wasi-python", request=GuestRequest(method="GET", url=f"/try/{attempt}")))["reached"]
        for attempt in ("clock", "random", "random")
    ]

    assert abs(tries[0] - time.time()) < 5
    assert tries[1] != tries[2]


@pytest.fixture(scope="module")
def python_guest(zygote: Zygote) -> Executor:
    """One executor with the Python guest: compiling it takes a while."""
    executor = zygote.spawn()
    assert isinstance(executor.load("wasi-python"), frames.Loaded)
    return executor


def test_a_poll_of_two_waits_for_the_sooner(executor: Executor) -> None:
    """Two borrowed handles in one host call, which wasmtime 50.0.1 gets wrong under its default settings."""
    executor.load("wasi-poll")
    began = time.monotonic()

    assert executor.run("wasi-poll", "/50").kind is OutcomeKind.COMPLETED
    assert 0.05 <= time.monotonic() - began < 1.0


def test_a_sleeping_guest_ends_with_its_deadline(executor: Executor) -> None:
    """F12: a poll of WASI is no way past the clock."""
    executor.load("wasi-sleep")
    began = time.monotonic()
    done = executor.run("wasi-sleep", "/3000", timeout=0.2)

    assert done.code is ErrorCode.DEADLINE_EXCEEDED
    assert time.monotonic() - began < 0.4


def test_types_that_are_not_ours_are_refused_at_loading(executor: Executor) -> None:
    """S11: a worker that is given such bytes directly refuses them too."""
    for guest in ("wrong-import", "wrong-handler", "wrong-record", "unknown-interface", "unknown-function"):
        assert isinstance(executor.load(guest), frames.LoadFailed)


@pytest.mark.parametrize("data", [b"", b"\x7fELF", os.urandom(4096)])
def test_bytes_that_are_no_cwasm_are_refused(executor: Executor, data: bytes) -> None:
    """A refusal, never a crash: another engine's file, half a file, noise."""
    assert isinstance(executor.load("noise", data), frames.LoadFailed)
    assert isinstance(executor.load("echo"), frames.Loaded)


def test_a_kept_store_serves_its_install_and_no_other(executor: Executor) -> None:
    """`reuse` keeps a store between calls of one install, for as many calls as granted: seen by what a call costs."""
    executor.load(ASK)

    def fuel(**run: Any) -> int:
        done = executor.run(ASK, **run)
        assert done.kind is OutcomeKind.COMPLETED
        return done.fuel

    fresh = fuel()
    first, second, third, fourth = (fuel(reuse=3) for _ in range(4))
    other = {**harness.CONTEXT, "install_id": "install-2"}

    assert first == fourth == fresh
    assert second != fresh
    assert third != fresh
    assert fuel(reuse=3) != fresh
    assert fuel(reuse=3, context=other) == fresh
    assert fuel() == fresh


def test_a_run_that_does_not_fit_the_world_fails_as_ours(executor: Executor) -> None:
    """A frame without a tenant is our bug: the guest is not called, the executor lives."""
    executor.load("echo")
    done = executor.run("echo", context={"tenant_id": None})

    assert (done.kind, done.code, done.fuel) == (OutcomeKind.PLATFORM_FAILED, ErrorCode.INTERNAL, 0)
    assert executor.run("echo").kind is OutcomeKind.COMPLETED


def test_an_executor_ends_with_its_socket(zygote: Zygote) -> None:
    """Nothing of a worker outlives it."""
    executor = zygote.spawn()
    executor.sock.close()

    assert executor.is_gone(within=5.0)


def test_executors_end_with_their_zygote() -> None:
    """Killed, not closed: the parent-death signal does it."""
    with harness.zygote() as running:
        executor = running.spawn()
        running.process.send_signal(signal.SIGKILL)

        assert executor.is_gone(within=5.0)


def test_the_zygote_reports_how_an_executor_ended(zygote: Zygote) -> None:
    """The supervisor learns of a crash from the one who reaps it."""
    executor = zygote.spawn()
    signal.pidfd_send_signal(executor.pidfd, signal.SIGKILL)
    exited = zygote.receive()
    while exited.pid != executor.pid:
        exited = zygote.receive()

    assert exited.status == -signal.SIGKILL


def test_a_thousand_failures_leave_nothing_behind(executor: Executor) -> None:
    """S24 at a tenth: traps, timeouts and good calls; memory, descriptors and threads stay as they were."""
    executor.load("echo")
    executor.load("trap-unreachable")
    executor.load("loop")
    for _ in range(100):
        executor.run("echo")
        executor.run("trap-unreachable")
    memory, descriptors = executor.memory_kib(), len(os.listdir(f"/proc/{executor.pid}/fd"))
    for turn in range(1000):
        executor.run("echo", body=b"x" * 1000)
        executor.run("trap-unreachable")
        if turn % 20 == 0:
            executor.run("loop", timeout=0.005)

    assert executor.memory_kib() < memory * 1.05
    assert len(os.listdir(f"/proc/{executor.pid}/fd")) == descriptors
    assert len(os.listdir(f"/proc/{executor.pid}/task")) == 2


def ask(executor: Executor, interface: str, function: str, arguments: str = "[]", **run: Any) -> dict[str, Any]:
    return answered(executor.run(ASK, f"/ask/{interface}/{function}", body=arguments.encode(), **run))


def answered(done: frames.Done) -> dict[str, Any]:
    assert done.response is not None, done
    answer: dict[str, Any] = json.loads(done.response.body or b"null")
    return answer


_TIMES = {"endpoint": "POST /x", "cron": "0 0 * * *"}
_INVOICE = {"clientId": "c", "items": []}
_ITEM = {"key": "k", "value": "v", "encoding": "text", "createOnly": False}
ARGUMENTS: dict[tuple[str, str], list[Any]] = {
    **{(i.name, f.name): [] for i in INTERFACES.values() for f in i.functions},
    ("context-v2", "get-config"): ["key"],
    ("context-v2", "random-hex"): [4],
    ("secrets", "get"): ["a"],
    ("http", "fetch"): [{"method": "GET", "url": "https://example.com/", "headers": []}],
    ("storage", "get"): ["n", "k"],
    ("storage", "put"): [{"namespace": "n", "key": "k", "value": {"base64": "AA=="}}],
    ("storage", "delete"): ["n", "k"],
    ("storage", "list-entries"): ["n", None],
    ("storage-v2", "get"): ["n", "k"],
    ("storage-v2", "get-many"): ["n", ["k"]],
    ("storage-v2", "put"): ["n", _ITEM],
    ("storage-v2", "put-many"): ["n", [_ITEM]],
    ("storage-v2", "delete"): ["n", "k", None],
    ("storage-v2", "delete-many"): ["n", ["k"]],
    ("storage-v2", "list-entries"): ["n", {"includeValues": True}],
    ("logging", "log-info"): ["x"],
    ("logging", "log-warn"): ["x"],
    ("logging", "log-error"): ["x"],
    ("ui-proxy", "call-route"): ["/ping", None],
    ("scheduler", "get-schedule"): ["s"],
    ("scheduler", "create-schedule"): [_TIMES],
    ("scheduler", "update-schedule"): ["s", {}],
    ("scheduler", "delete-schedule"): ["s"],
    ("invoicing", "create-manual-invoice"): [_INVOICE],
    ("clients", "list-clients"): [{}],
    ("clients", "get-client"): ["c"],
    ("services", "list-services"): [{}],
    ("services", "get-service"): ["s"],
    ("metrics", "add-counter"): ["a", 1, []],
    ("metrics", "set-gauge"): ["a", 1, []],
    ("metrics", "record-histogram"): ["a", 1, []],
    ("events", "emit"): [{"topic": "t", "payload": "{}"}],
}
