"""The compile jail, seen from the registry process: a component goes in, a cwasm or a refusal comes out.

Owns the child's budget, how many compile at once, and what its end means. A child that crashes, is killed or says
nothing has refused its component: compilers are not trusted to survive what strangers feed them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from registry.compile import structure
from registry.compile.verdict import ADDRESS_SPACE_BYTES, MIB, Verdict
from schemas.errors import Internal, Unavailable

ROOT: Final = Path(__file__).resolve().parents[2]
COMMAND: Final = (sys.executable, "-m", "registry.compile.child")
FIRST_SECONDS: Final = 10
SECONDS_PER_MIB: Final = 4
MAX_SECONDS: Final = 90
WAIT_SECONDS: Final = 100
"""For a child that gets too little of a busy machine: that is nobody's fault, so it refuses nothing."""
DEFAULT_MEMORY_MB: Final = 128
MAX_VERDICT_BYTES: Final = 1024 * 1024
MAX_DETAIL_BYTES: Final = 2048


@dataclass(frozen=True)
class CompileResult:
    """`cwasm`: what executors of this `fingerprint` load. `imports`: the component's imports as it spells them."""

    cwasm: bytes
    imports: tuple[str, ...]
    fingerprint: str


def budget_seconds(size: int) -> int:
    """Seconds of CPU for a component of `size` bytes."""
    return min(MAX_SECONDS, FIRST_SECONDS + SECONDS_PER_MIB * -(-size // MIB))


class Jail:
    """Compiles at most `at_once` components at a time; by default all cores but one."""

    def __init__(self, *, at_once: int | None = None) -> None:
        self._room = asyncio.Semaphore(at_once or max(1, (os.cpu_count() or 1) - 1))

    async def compile(self, component: bytes, *, memory_mb: int = DEFAULT_MEMORY_MB) -> CompileResult:
        """Check and compile; waits for room first.

        `memory_mb`: with how much memory a module of it may start. Raises Unprocessable (bundle_invalid) naming what
        is wrong; Unavailable when the machine is too busy, Internal when no child could be started.
        """
        async with self._room:
            return await _compile(component, memory_mb)


async def _compile(component: bytes, memory_mb: int) -> CompileResult:
    seconds = budget_seconds(len(component))
    with _Memory("component", component) as source, _Memory("cwasm") as target, _Memory("errors") as errors:
        process = await _start((source, target), seconds, memory_mb, errors)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                said = await _read_verdict(process)
                status = await process.wait()
        except TimeoutError:
            raise Unavailable("this machine is too busy to compile a component now", retry_after_seconds=30) from None
        finally:
            await _end(process)
        verdict = _verdict(said, status, seconds, detail=_tail(errors))
        cwasm = await asyncio.to_thread(_content, target)
    return CompileResult(cwasm, verdict.imports, verdict.fingerprint)


async def _start(descriptors: tuple[int, int], seconds: int, memory_mb: int, errors: int) -> asyncio.subprocess.Process:
    try:
        return await asyncio.create_subprocess_exec(
            *COMMAND,
            *map(str, (*descriptors, seconds, memory_mb, os.getpid())),
            pass_fds=descriptors,
            env={},
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
        )
    except OSError as error:
        raise Internal("the compile jail could not be started", detail=str(error)) from error


async def _read_verdict(process: asyncio.subprocess.Process) -> bytes:
    assert process.stdout is not None
    said = bytearray()
    while data := await process.stdout.read(MAX_VERDICT_BYTES):
        said += data
        if len(said) > MAX_VERDICT_BYTES:
            raise structure.refused("the component's imports are too many to name")
    return bytes(said)


def _verdict(said: bytes, status: int, seconds: int, *, detail: str) -> Verdict:
    """A child that ends by a signal was killed by its limits or by the component; one that fails is our bug."""
    if status in (-signal.SIGXCPU, -signal.SIGKILL):
        raise structure.refused(f"the component does not compile within {seconds} s of CPU time")
    if status < 0:
        raise structure.refused(
            f"the component does not compile within {ADDRESS_SPACE_BYTES // MIB} MiB of memory, or not at all"
        )
    try:
        verdict = msgspec.json.decode(said, type=Verdict)
    except msgspec.MsgspecError as error:
        raise Internal("the compile jail gave no verdict", detail=detail) from error
    if verdict.error is not None:
        raise structure.refused(verdict.error)
    return verdict


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
    await asyncio.shield(process.wait())


class _Memory:
    """A memfd for the length of one compilation."""

    def __init__(self, name: str, content: bytes = b"") -> None:
        self._descriptor = os.memfd_create(name, os.MFD_CLOEXEC)
        view = memoryview(content)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _tail(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, MAX_DETAIL_BYTES, max(0, size - MAX_DETAIL_BYTES)).decode("utf-8", "replace")


def _content(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)
