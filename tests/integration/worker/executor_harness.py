"""A supervisor's end of the frames, synchronous: a real zygote, real executors, guests built by the run."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

from wasmtime import component as wasm

from schemas.guest_http import GuestRequest
from tests.guests import build
from worker import frames
from worker.executor import engine
from worker.executor.channel import Channel

ROOT: Final = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS: Final = 20.0
F_ADD_SEALS, ALL_SEALS = 1033, 15
DEFAULT_GRANTS: Final = frozenset({"cap:context.read", "cap:log.emit", "cap:user.read"})
CONTEXT: Final = {
    "request_id": "request-1",
    "tenant_id": "tenant-1",
    "extension_id": "extension-1",
    "install_id": "install-1",
    "version_id": None,
}
CONTEXT_V2: Final = {
    "request_id": "request-1",
    "invocation_id": "invocation-1",
    "tenant_id": "tenant-1",
    "extension_id": "extension-1",
    "install_id": "install-1",
    "version_id": "version-1",
    "extension_name": "com.example.test",
    "version": "1.2.3",
    "content_hash": "sha256:00",
    "trigger": "http",
    "attempt": 1,
    "capabilities": sorted(DEFAULT_GRANTS),
    "egress_hosts": [],
    "limits": {"timeout_ms": 5000, "memory_mb": 128, "max_body_bytes": 2097152},
    "config": [["key", "value"]],
}
USER: Final = {
    "tenant_id": "tenant-1",
    "client_name": "Example",
    "user_id": "user-1",
    "user_email": "user@example.com",
    "user_name": "User",
    "user_type": "internal",
    "client_id": None,
    "additional_fields": [["locale", "en"]],
}


@cache
def cwasm_of(path: Path) -> bytes:
    """What the compile jail would make of a component, without the jail."""
    built = engine.build_engine()
    return bytes(wasm.Component(built, path.read_bytes()).serialize())


def cwasm(guest: str) -> bytes:
    return cwasm_of(build.component(guest))


def sealed(data: bytes) -> int:
    """A descriptor of sealed memory, the caller's to close."""
    descriptor = os.memfd_create("cwasm", os.MFD_ALLOW_SEALING | os.MFD_CLOEXEC)
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    fcntl.fcntl(descriptor, F_ADD_SEALS, ALL_SEALS)
    return descriptor


class Executor:
    """One executor process. What the guest said while it ran is in `calls` and `notes`."""

    def __init__(self, sock: socket.socket, pidfd: int, pid: int) -> None:
        self.channel, self.pidfd, self.pid = Channel(sock, frames.FromExecutor), pidfd, pid
        self.sock = sock
        self.calls: list[frames.Call] = []
        self.notes: list[frames.Note] = []
        ready = self.receive()
        assert isinstance(ready, frames.Ready)
        self.ready = ready

    def receive(self) -> Any:
        return self.channel.receive(until=time.monotonic() + PATIENCE_SECONDS)

    def load(self, name: str, data: bytes | None = None) -> frames.Loaded | frames.LoadFailed:
        """Load a guest of the catalogue, or any bytes under this name."""
        descriptor = sealed(cwasm(name) if data is None else data)
        try:
            self.channel.send(frames.Load(content_hash=name), descriptors=(descriptor,))
        finally:
            os.close(descriptor)
        answer: frames.Loaded | frames.LoadFailed = self.receive()
        return answer

    def run(
        self,
        name: str,
        url: str = "/",
        *,
        body: bytes | None = None,
        timeout: float = 5.0,
        answer: Callable[[frames.Call], Any] | None = None,
        **changes: Any,
    ) -> frames.Done:
        """One call, answered by `answer`; without it host calls wait for ever."""
        self.calls.clear()
        self.notes.clear()
        self.channel.send(a_run(name, url, body=body, timeout=timeout, **changes))
        while True:
            message = self.receive()
            if isinstance(message, frames.Done):
                return message
            if isinstance(message, frames.Note):
                self.notes.append(message)
            elif isinstance(message, frames.Call):
                self.calls.append(message)
                if answer is not None:
                    self.channel.send(frames.Answer(ordinal=message.ordinal, value=answer(message)))
            else:
                raise AssertionError(f"neither Done, Note nor Call: {message!r}")

    def log_lines(self) -> list[str]:
        return [note.arguments[0] for note in self.notes if note.interface != "metrics"]

    def is_gone(self, *, within: float) -> bool:
        """Whether the process ends within so many seconds."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return bool(poll.poll(within * 1000))

    def memory_kib(self, key: str = "VmRSS") -> int:
        line = next(line for line in Path(f"/proc/{self.pid}/status").read_text().splitlines() if line.startswith(key))
        return int(line.split()[1])

    def close(self) -> None:
        self.sock.close()
        os.close(self.pidfd)


class Zygote:
    """A zygote process and the executors it was asked for."""

    def __init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "worker.executor", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env={},
                stdin=subprocess.DEVNULL,
            )
        self.channel = Channel(self.sock, frames.FromZygote)
        self.executors: list[Executor] = []
        self.exited: list[frames.Exited] = []

    def spawn(self) -> Executor:
        self.channel.send(frames.Spawn(executor=len(self.executors) + 1))
        while isinstance(message := self.receive(), frames.Exited):
            self.exited.append(message)
        assert isinstance(message, frames.Spawned)
        sock = socket.socket(fileno=self.channel.take_descriptor())
        executor = Executor(sock, self.channel.take_descriptor(), message.pid)
        self.executors.append(executor)
        return executor

    def receive(self) -> Any:
        return self.channel.receive(until=time.monotonic() + PATIENCE_SECONDS)

    def close(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        for executor in self.executors:
            executor.close()
        self.sock.close()


@contextmanager
def zygote() -> Iterator[Zygote]:
    running = Zygote()
    try:
        yield running
    finally:
        running.close()


def a_run(name: str, url: str = "/", *, body: bytes | None = None, timeout: float = 5.0, **changes: Any) -> frames.Run:
    """A Run frame with the platform's defaults."""
    fields: dict[str, Any] = {
        "invocation": "invocation-1",
        "content_hash": name,
        "request": GuestRequest(method="POST", url=url, headers=(("content-type", "text/plain"),), body=body),
        "deadline": time.monotonic() + timeout,
        "timeout_ms": int(timeout * 1000),
        "memory_mb": 128,
        "fuel": int(10_000_000_000 * timeout),
        "max_body_bytes": 2 * 1024 * 1024,
        "grants": DEFAULT_GRANTS,
        "context": CONTEXT,
        "context_v2": CONTEXT_V2,
        "config": {"key": "value"},
    }
    return frames.Run(**fields | changes)
