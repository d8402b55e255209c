"""One executor as the supervisor holds it: its channel, what it has loaded, the call it runs, its end.

Owns the order of frames with one executor process and its kill. An executor is not trusted once it has seen a
guest: a frame out of turn ends it, and CPU time is read from the kernel, never from what it says.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeGuard

from schemas.errors import ErrorCode, Unavailable
from schemas.ids import ContentHash, TenantId
from schemas.invocation import KILL_GRACE_SECONDS
from worker.frames import Answer, Call, Done, FromExecutor, Load, Loaded, LoadFailed, Note, Ready, Run
from worker.supervisor.channel import Channel
from worker.supervisor.zygote import Forked

READY_TIMEOUT_SECONDS = 5.0
LOAD_TIMEOUT_SECONDS = 10.0
LONG_SECONDS, LONG_NICENESS = 0.025, 10
"""A call that runs longer than nearly all do steps behind those that do not: beside them it has a tenth of their
weight on a core, alone all of it. So loops on every slot cost a neighbour little."""
_CPU_CLOCK = 2
"""CPUCLOCK_SCHED of a whole process, in the kernel's encoding of a clock id."""


class End(StrEnum):
    """Why a call ended without a Done."""

    OVERRAN = "overran its deadline and was killed"
    CANCELLED = "was cancelled by its caller and killed"
    DIED = "took its executor process down"
    RETIRED = "was not running: the executor was recycled or made room"


class ExecutorLost(Exception):
    """The executor is gone and with it the call. Never leaves the supervisor: `handler.py` makes an outcome of it."""

    def __init__(self, end: End, *, detail: str) -> None:
        super().__init__(end)
        self.end, self.detail = end, detail


class LoadRefused(Exception):
    """The executor would not load a module. Never leaves the supervisor: `handler.py` has it fetched anew."""


@dataclass(frozen=True)
class Ears:
    """Who hears what a guest says during one call. Both are called on the loop's thread and must not block."""

    on_call: Callable[[Call], None]
    on_note: Callable[[Note], None]


class Executor:
    """One process. `tenant` is None until its first call and never changes after."""

    def __init__(self, forked: Forked, *, on_end: Callable[[Executor], None]) -> None:
        self.number, self.pid = forked.number, forked.pid
        self.tenant: TenantId | None = None
        self.born = time.monotonic()
        self.calls = 0
        self.must_go = False
        self.walls: tuple[str, ...] = ()
        self.fingerprint = ""
        self._pidfd = forked.pidfd
        self._loaded: set[ContentHash] = set()
        self._on_end = on_end
        self._ears: Ears | None = None
        self._waiting: asyncio.Future[Ready | Loaded | LoadFailed | Done] | None = None
        self._expected: tuple[type, ...] = ()
        self.end = End.DIED
        """Why it ended, once it has."""
        self._cpu_at_end: float | None = None
        self._is_behind = False
        self._channel = Channel(forked.sock, FromExecutor, on_message=self._heard, on_closed=self._channel_closed)

    @property
    def is_alive(self) -> bool:
        return self._channel.is_open

    def cpu_seconds(self) -> float:
        """CPU time of the process, as the kernel counts it: so far, or at its end as far as that could be read."""
        if self._cpu_at_end is not None:
            return self._cpu_at_end
        try:
            return time.clock_gettime(~self.pid << 3 | _CPU_CLOCK)
        except OSError:
            return 0.0

    async def ready(self) -> None:
        """Wait until it is confined. Raises Unavailable (overloaded) when that does not come."""
        try:
            async with asyncio.timeout(READY_TIMEOUT_SECONDS):
                message = await self._wait_for(Ready)
        except (TimeoutError, ExecutorLost) as error:
            self.kill()
            raise Unavailable(
                "no executor could be started", code=ErrorCode.OVERLOADED, detail=str(error), retry_after_seconds=1.0
            ) from error
        assert isinstance(message, Ready)
        self.fingerprint, self.walls = message.engine_fingerprint, message.walls

    def has_loaded(self, content_hash: ContentHash) -> bool:
        return content_hash in self._loaded

    async def load(self, content_hash: ContentHash, descriptor: int) -> None:
        """Give it a verified module. Raises LoadRefused when the engine will not have it, ExecutorLost when it died."""
        self._channel.send(Load(content_hash=content_hash), descriptor=descriptor)
        try:
            async with asyncio.timeout(LOAD_TIMEOUT_SECONDS):
                message = await self._wait_for(Loaded, LoadFailed)
        except TimeoutError:
            self.kill()
            raise ExecutorLost(End.DIED, detail="loading took too long") from None
        if isinstance(message, LoadFailed):
            raise LoadRefused(message.detail)
        self._loaded.add(content_hash)

    async def run(self, run: Run, ears: Ears) -> Done:
        """One call. Raises ExecutorLost when the process ends before it answers, by the watchdog or by itself."""
        self.calls += 1
        self._ears = ears
        loop = asyncio.get_running_loop()
        step_back = loop.call_later(LONG_SECONDS, self._step_back)
        watchdog = loop.call_later(
            max(0.0, run.deadline - time.monotonic()) + KILL_GRACE_SECONDS, self.kill, End.OVERRAN
        )
        self._channel.send(run)
        try:
            done = await self._wait_for(Done)
        except asyncio.CancelledError:
            self.kill(End.CANCELLED)
            raise
        finally:
            watchdog.cancel()
            step_back.cancel()
            self._step_forward()
            self._ears = None
        assert isinstance(done, Done)
        if done.invocation != run.invocation:
            self.kill()
            raise ExecutorLost(End.DIED, detail="answered another invocation")
        self.must_go |= done.recycle
        return done

    def answer(self, ordinal: int, value: object) -> None:
        """The host value for the call of this ordinal."""
        self._channel.send(Answer(ordinal=ordinal, value=value))

    def kill(self, end: End = End.DIED) -> None:
        """SIGKILL by pidfd, which no reuse of a pid can misdirect. Killing twice is fine."""
        if self._channel.is_open:
            self._channel.close()
            self._gone("killed", end)

    async def _wait_for(self, *expected: type) -> Ready | Loaded | LoadFailed | Done:
        if not self._channel.is_open:
            raise ExecutorLost(self.end, detail="it had ended before")
        self._expected = expected
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            return await self._waiting
        finally:
            self._waiting, self._expected = None, ()

    def _step_back(self) -> None:
        """The guest's thread only: the ticker that interrupts it keeps its rank."""
        if self.is_alive:
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, self.pid, LONG_NICENESS)
                self._is_behind = True

    def _step_forward(self) -> None:
        """Only a privileged worker may raise a rank again; elsewhere the executor is replaced."""
        if not self._is_behind or not self.is_alive:
            return
        self._is_behind = False
        try:
            os.setpriority(os.PRIO_PROCESS, self.pid, 0)
        except OSError:
            self.must_go = True

    def _heard(self, message: FromExecutor) -> None:
        if isinstance(message, Call) and self._ears is not None:
            self._ears.on_call(message)
        elif isinstance(message, Note) and self._ears is not None:
            self._ears.on_note(message)
        elif self._is_expected(message):
            assert self._waiting is not None
            self._waiting.set_result(message)
        else:
            self._channel.close()
            self._gone(f"it sent {type(message).__name__} out of turn", End.DIED)

    def _is_expected(self, message: FromExecutor) -> TypeGuard[Ready | Loaded | LoadFailed | Done]:
        return self._waiting is not None and not self._waiting.done() and isinstance(message, self._expected)

    def _channel_closed(self, reason: str) -> None:
        self._gone(reason, End.DIED)

    def _gone(self, reason: str, end: End) -> None:
        """Once, after the channel closed: nobody can speak to the process any more, so it is made sure of."""
        self.end, self._cpu_at_end = end, self.cpu_seconds()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)
        os.close(self._pidfd)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ExecutorLost(end, detail=reason))
        self._on_end(self)
