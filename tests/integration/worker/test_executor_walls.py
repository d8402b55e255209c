"""What an executor could do after an escape from wasm: nothing. And what an exception in our own code does: nothing."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from registry.compile import wit_check
from schemas.invocation import OutcomeKind
from tests.guests import build
from tests.integration.worker import executor_harness as harness
from worker import frames
from worker.executor import engine, link, traps, values
from worker.executor.channel import Channel
from worker.executor.components import Components
from worker.executor.crossing import Unfit
from worker.executor.engine import Ticker
from worker.executor.invoke import Invoker
from worker.executor.running import Scope


def test_python_inside_the_walls_gets_nowhere() -> None:
    """S22: files, TCP, UDP, DNS, exec, fork, ptrace, signals, other processes, the environment: each try fails."""
    canary = Path("/tmp/walled-canary")
    canary.write_text("still here")
    with socket.create_server(("127.0.0.1", 0)) as server:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.integration.worker.walled",
                *map(str, (os.getpid(), server.getsockname()[1], os.getpid())),
            ],
            cwd=harness.ROOT,
            env={"ALGA_CANARY": "secret"},
            capture_output=True,
            timeout=60,
            check=True,
        )
        server.settimeout(0.1)
        with pytest.raises(TimeoutError):
            server.accept()
    said = json.loads(done.stdout)

    assert {"seccomp", "no new privileges", "network namespace"} <= set(said["walls"])
    escaped = {name: became for name, became in said["found"].items() if became.get("got", "None") != "None"}
    assert escaped == {}
    assert canary.read_text() == "still here"
    canary.unlink()


def test_an_executor_process_holds_no_secret() -> None:
    """S22: empty environment, and only the descriptors it needs."""
    with harness.zygote() as running:
        executor = running.spawn()
        descriptors = sorted(os.listdir(f"/proc/{executor.pid}/fd"), key=int)

        assert Path(f"/proc/{executor.pid}/environ").read_bytes() == b""
        links = {os.readlink(f"/proc/{executor.pid}/fd/{number}").partition(":")[0] for number in descriptors[3:]}
        assert links == {"socket", f"/proc/{executor.pid}/statm"}


@pytest.mark.parametrize("raised", [asyncio.CancelledError, KeyboardInterrupt, SystemExit, ValueError, MemoryError])
def test_nothing_raised_in_a_host_function_crosses_into_wasm(
    monkeypatch: pytest.MonkeyPatch, raised: type[BaseException]
) -> None:
    """S13, F6: the stock bindings crash on the first three; here each is one fixed error, the next call is clean."""
    invoker, components, scope = an_invoker()
    load(components, "host-calls")
    load(components, "echo")

    def fail(*_: object) -> None:
        raise raised("postgres://user:password@host/db")

    monkeypatch.setattr(link._WorldFunction, "__call__", fail)
    done = invoker.run(harness.a_run("host-calls", "/3"))

    assert (done.kind, done.recycle) == (OutcomeKind.PLATFORM_FAILED, True)
    assert "password" not in f"{done.message}{done.detail}"
    assert done.detail == raised.__name__
    assert invoker.run(harness.a_run("echo")).kind is OutcomeKind.COMPLETED
    assert scope.running is None


def test_the_guard_answers_ten_thousand_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """S13: failing costs no memory and ends nothing but the call."""
    invoker, components, _ = an_invoker()
    load(components, "host-calls")
    monkeypatch.setattr(values.Codec, "lift_parameters", refuse)
    for _ in range(10):
        done = invoker.run(harness.a_run("host-calls", "/1000"))
        assert (done.kind, done.host_calls) == (OutcomeKind.COMPLETED, 1000)


def refuse(*_: object) -> None:
    raise Unfit("bad arguments")


def test_an_ending_guest_is_told_from_a_failing_host() -> None:
    """The two texts our guard gives are told apart by the table, whatever the guest wrote before."""
    run = harness.a_run("echo")

    assert traps.ending_of(traps.HOST_FAILED, run).recycle
    assert not traps.ending_of(traps.GUEST_EXITED, run).recycle


def an_invoker() -> tuple[Invoker, Components, Scope]:
    """An invoker in this very process, so that its host functions can be made to fail."""
    built, scope = engine.build_engine(), Scope()
    components = Components(built, wit_check.Reference(built), scope, link.compile_codecs(), may_open=True)
    ours, theirs = socket.socketpair()
    drain(theirs)
    ticker = Ticker(built)
    ticker.start()
    invoker = Invoker(
        built,
        components,
        scope,
        values.compile_codec(wit_check.world().exports[wit_check.HANDLER]),
        ticker=ticker,
        channel=Channel(ours, frames.ToExecutor),
        statm=os.open("/proc/self/statm", os.O_RDONLY),
    )
    return invoker, components, scope


def drain(sock: socket.socket) -> None:
    """Somebody must read what a guest says, or its writer waits."""

    def read() -> None:
        while sock.recv(65536):
            pass

    threading.Thread(target=read, daemon=True).start()


def load(components: Components, guest: str) -> None:
    descriptor = harness.sealed(harness.cwasm_of(build.component(guest)))
    try:
        components.load(guest, descriptor)
    finally:
        os.close(descriptor)
