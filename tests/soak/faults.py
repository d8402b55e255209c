"""The faults of a soak, one after the other: worker kills all along, one restart each of NATS and of Postgres.

Owns when they happen and when each counts as over. The faults themselves are made through the servers' own handles.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deploy.embedded.server import Server
from tests.fleet import TestFleet

KILL_EVERY_SECONDS = 30.0
FIRST_KILL_SECONDS = 15.0
NATS_SHARE, POSTGRES_SHARE = 0.4, 0.65
"""Of the run, when these are restarted."""
RECOVERY_SECONDS = 10.0
"""How long after a fault is over a failed call may still be put down to it."""


@dataclass(frozen=True)
class Fault:
    """Instants of `time.monotonic`; `until`: the process that failed was ready again."""

    what: str
    at: float
    until: float


class Faults:
    """Makes them and remembers when."""

    def __init__(self, fleet: TestFleet) -> None:
        self._fleet = fleet
        self.done: list[Fault] = []

    async def run(self, *, seconds: float) -> None:
        """Returns after `seconds`, with everything running again."""
        began = time.monotonic()
        for after, what, make in self._plan(seconds):
            await asyncio.sleep(max(0.0, began + after - time.monotonic()))
            at = time.monotonic()
            await make()
            self.done.append(Fault(what, at, time.monotonic()))
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))

    def explains(self, began: float, ended: float) -> bool:
        """Whether something was broken, or had just been, while a call was under way."""
        return any(fault.at <= ended and began <= fault.until + RECOVERY_SECONDS for fault in self.done)

    def _plan(self, seconds: float) -> list[tuple[float, str, Callable[[], Awaitable[None]]]]:
        stack, workers = self._fleet.fleet.stack, self._fleet.fleet.workers
        plan: list[tuple[float, str, Callable[[], Awaitable[None]]]] = [
            (seconds * NATS_SHARE, "NATS restarted", stack.nats.server.restart),
            (seconds * POSTGRES_SHARE, "Postgres restarted", stack.postgres.server.restart),
        ]
        at, number = FIRST_KILL_SECONDS, 0
        while at < seconds - RECOVERY_SECONDS:
            worker = workers[number % len(workers)]
            plan.append((at, f"{worker.name} killed", _kill_and_start(worker.server)))
            at, number = at + KILL_EVERY_SECONDS, number + 1
        return sorted(plan, key=lambda one: one[0])


def _kill_and_start(server: Server) -> Callable[[], Awaitable[None]]:
    async def kill_and_start() -> None:
        await server.kill()
        await server.start()

    return kill_and_start
