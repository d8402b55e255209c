"""What is in flight in this worker: signs of life to those who wait, and cancellation.

Owns the cadence of `Accepted` and `Alive`. One task looks at everything in flight a few times a second, so that a
call which is over by then, as nearly all are, costs nothing here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from schemas import codec
from schemas.errors import FleetError
from schemas.ids import WorkerId
from schemas.invocation import ALIVE_AFTER_SECONDS, ALIVE_EVERY_SECONDS, Accepted, Alive
from service.clock import Clock
from service.messaging import Message
from worker.supervisor.invocation import Invocation

LOOK_SECONDS = 0.1


class Flight:
    """One call on its way through this worker."""

    __slots__ = ("_message", "accepted", "cancelled", "due", "invocation", "on_cancel", "started")

    def __init__(self, invocation: Invocation, message: Message) -> None:
        self.invocation = invocation
        self._message = message
        self.started = False
        """It runs, or ran, in an executor."""
        self.accepted = False
        self.cancelled = False
        self.due = invocation.received + ALIVE_AFTER_SECONDS
        self.on_cancel: Callable[[], object] | None = None
        """How to stop what the call does now; None where it will look at `cancelled` itself."""

    async def reply(self, data: bytes) -> None:
        await self._message.reply(data)

    def cancel(self) -> None:
        self.cancelled = True
        if self.on_cancel is not None:
            self.on_cancel()


class Flights:
    """All of them, by invocation id."""

    def __init__(self, worker: WorkerId, clock: Clock) -> None:
        self._worker, self._clock = worker, clock
        self._flights: dict[str, Flight] = {}

    def __len__(self) -> int:
        return len(self._flights)

    @contextlib.contextmanager
    def track(self, flight: Flight) -> Iterator[None]:
        name = flight.invocation.request.invocation
        self._flights[name] = flight
        try:
            yield
        finally:
            # A repeat of the same invocation may have taken the place.
            if self._flights.get(name) is flight:
                del self._flights[name]

    def cancel(self, invocation: str) -> bool:
        """Stop it if it is here."""
        flight = self._flights.get(invocation)
        if flight is None:
            return False
        flight.cancel()
        return True

    async def run(self) -> None:
        """Send signs of life until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = self._clock.monotonic()
            for flight in [flight for flight in self._flights.values() if flight.due <= now]:
                flight.due = now + ALIVE_EVERY_SECONDS
                # The connection is away: the next sign of life, or the outcome, will do.
                with contextlib.suppress(FleetError):
                    await self._say(flight)

    async def _say(self, flight: Flight) -> None:
        sign: Accepted | Alive
        if flight.accepted:
            sign = Alive(worker=self._worker, started=flight.started)
        else:
            sign = Accepted(worker=self._worker, started=flight.started)
        flight.accepted = True
        await flight.reply(codec.encode(sign))
