"""How a process starts, is told to stop, drains and ends; and who owns each task.

A task that is started has an owner, a name and an end: the owner cancels and awaits what still runs. A task that
dies of an exception is a fault of the process, not of one request: it is logged and the process ends.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

import structlog
import uvloop

from schemas.errors import FleetError

log = structlog.get_logger()
T = TypeVar("T")


GC_THRESHOLDS = (20_000, 20, 50)
"""A call makes hundreds of short-lived objects, freed by reference counting; the default looks at them too often."""


class Stopping(asyncio.Event):
    """Set when the process has to drain: asked to by a signal, or because a part of it failed."""

    failed = False

    def fail(self) -> None:
        """Drain, and end with an exit code that says it was not asked for."""
        self.failed = True
        self.set()


Main = Callable[[Stopping], Awaitable[None]]
CANCEL_AGAIN_SECONDS = 1.0


class TaskOwner:
    """Owns background tasks from entry to exit.

    `on_failure` is called when a task died; a process hands in its `Stopping.fail`.
    """

    def __init__(self, on_failure: Callable[[], object] | None = None) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._on_failure = on_failure
        self._closing = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, T], *, name: str) -> asyncio.Task[T]:
        if self._closing:
            work.close()
            raise RuntimeError(f"task {name} was started after its owner closed")
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    async def join(self, *, timeout_seconds: float) -> bool:
        """Wait for what runs now, without cancelling; False when some of it still runs."""
        if not self._tasks:
            return True
        _, pending = await asyncio.wait(set(self._tasks), timeout=timeout_seconds)
        return not pending

    async def close(self) -> None:
        """Cancel what still runs and await its end."""
        self._closing = True
        pending = set(self._tasks)
        while pending:
            for task in pending:
                task.cancel()
            # Python 3.11's wait_for loses a cancellation that meets its result, so one request may not be enough.
            _, pending = await asyncio.wait(pending, timeout=CANCEL_AGAIN_SECONDS)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or task.exception() is None:
            return
        log.error("a background task failed", task=task.get_name(), exc_info=task.exception())
        if self._on_failure is not None:
            self._on_failure()


def run(main: Main) -> int:
    """Run `main` until it returns; SIGTERM and SIGINT set its event, which asks it to drain. The exit code.

    0: drained as asked. 1: a fault of ours. 2: it refuses to start with these settings.
    """
    gc.set_threshold(*GC_THRESHOLDS)
    try:
        return uvloop.run(_with_signals(main))
    except FleetError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        if error.detail:
            print(error.detail, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


async def _with_signals(main: Main) -> int:
    stopping = Stopping()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    await main(stopping)
    return 1 if stopping.failed else 0
