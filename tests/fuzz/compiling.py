"""The compile jail as the components target uses it: fast by forking, and now and then the jail itself to compare."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from registry.compile import jail
from registry.compile.jail import CompileResult
from tests.fuzz.compile_server import ORDER, STATUS

ROOT = Path(__file__).resolve().parents[2]


class Compiler:
    """One compile server. Blocks; one component at a time."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def compile(self, component: bytes, *, memory_mb: int = jail.DEFAULT_MEMORY_MB) -> CompileResult:
        """What the jail would answer or raise: Unprocessable, or Internal where the child itself failed."""
        seconds = jail.budget_seconds(len(component))
        with ExitStack() as stack:
            source, target, verdict = (stack.enter_context(_memory(content)) for content in (component, b"", b""))
            socket.send_fds(self._socket, [ORDER.pack(seconds, memory_mb)], [source, target, verdict])
            (status,) = STATUS.unpack(self._socket.recv(STATUS.size))
            said = _content(verdict)
            found = jail._verdict(said, status, seconds, detail=f"status {status}")
            return CompileResult(_content(target), found.imports, found.fingerprint)


@contextmanager
def start() -> Iterator[Compiler]:
    """The server's process, ended with the block."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.compile_server", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                cwd=ROOT,
                env={},
                stdin=subprocess.DEVNULL,
            )
        try:
            yield Compiler(ours)
        finally:
            ours.close()
            process.wait()


@contextmanager
def _memory(content: bytes) -> Iterator[int]:
    descriptor = os.memfd_create("fuzz", os.MFD_CLOEXEC)
    try:
        view = memoryview(content)
        while view:
            view = view[os.write(descriptor, view) :]
        yield descriptor
    finally:
        os.close(descriptor)


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
