"""Waiting for one's turn: the fair queue, with a clock and with waiters.

Owns the waiting. Who is next is `fair_queue.py`'s to say, and what runs in a turn is `handler.py`'s.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from schemas import errors
from schemas.errors import DeadlineExceeded, ErrorCode, FleetError, Unavailable
from service.clock import Clock
from worker.supervisor.fair_queue import Entry, FairQueue, Refusal
from worker.supervisor.flights import Flight

SWEEP_SECONDS = 0.05
LONGEST_WAIT_SECONDS = 30.0


@dataclass(slots=True)
class Turn:
    """One slot's worth of running. Whoever runs in it says what that took; `seconds` None: nothing ran."""

    entry: Entry
    cpu_ms: float = 0.0
    seconds: float | None = None


class Turns:
    """Turns for `slots` calls at once, and room for a bounded number that wait."""

    def __init__(self, *, slots: int, clock: Clock) -> None:
        self.slots = slots
        self._clock = clock
        self._queue = FairQueue(slots=slots)
        self._sweeping = False

    @property
    def running(self) -> int:
        return self._queue.running

    @property
    def waiting(self) -> int:
        return self._queue.waiting

    async def take(self, flight: Flight) -> Turn:
        """A turn for this call, until `give_back`. Raises Unavailable or Exhausted when there will be none in time."""
        entry = self._entry(flight)
        await self._wait(entry, flight)
        return Turn(entry)

    def give_back(self, turn: Turn) -> None:
        """The turn is over, whatever became of it."""
        self._queue.finish(turn.entry, cpu_ms=turn.cpu_ms, seconds=turn.seconds)
        self._give_turns()

    def drain(self) -> None:
        """Refuse everything that waits: another worker can take it now."""
        for entry in self._queue.drain():
            _fail(entry, Unavailable("the worker is stopping", code=ErrorCode.DRAINING, retry_after_seconds=1.0))

    def _entry(self, flight: Flight) -> Entry:
        invocation, now = flight.invocation, self._clock.monotonic()
        # Half of what is left: the other half is for running, or for asking another worker.
        wait_seconds = min(LONGEST_WAIT_SECONDS, (invocation.deadline - now) / 2)
        return Entry(
            tenant=invocation.tenant,
            install=invocation.ticket.install,
            concurrency=invocation.limits.concurrency or max(1, self.slots // 2),
            wait_until=now + wait_seconds,
            payload=asyncio.get_running_loop().create_future(),
        )

    async def _wait(self, entry: Entry, flight: Flight) -> None:
        refusal = self._queue.offer(entry, now=self._clock.monotonic())
        if refusal is not None:
            raise _error(refusal)
        self._give_turns()
        if entry.payload.done():
            return
        self._sweep_later()
        flight.on_cancel = lambda: self._cancel(entry)
        try:
            await entry.payload
        except BaseException:
            if not self._queue.withdraw(entry) and _was_given(entry):
                self._queue.finish(entry, cpu_ms=0.0, seconds=None)
                self._give_turns()
            raise
        finally:
            flight.on_cancel = None

    def _give_turns(self) -> None:
        while (entry := self._queue.take(now=self._clock.monotonic())) is not None:
            if entry.payload.done():
                self._queue.finish(entry, cpu_ms=0.0, seconds=None)
            else:
                entry.payload.set_result(None)

    def _cancel(self, entry: Entry) -> None:
        if self._queue.withdraw(entry):
            _fail(entry, DeadlineExceeded("the caller has gone"))

    def _sweep_later(self) -> None:
        if not self._sweeping:
            self._sweeping = True
            asyncio.get_running_loop().call_later(SWEEP_SECONDS, self._sweep)

    def _sweep(self) -> None:
        self._sweeping = False
        for entry, refusal in self._queue.expire(now=self._clock.monotonic()):
            _fail(entry, _error(refusal))
        if self._queue.waiting:
            self._sweep_later()


def _error(refusal: Refusal) -> FleetError:
    return errors.from_code(refusal.code, refusal.message, retry_after_seconds=refusal.retry_after_seconds)


def _fail(entry: Entry, error: FleetError) -> None:
    if not entry.payload.done():
        entry.payload.set_exception(error)


def _was_given(entry: Entry) -> bool:
    payload: asyncio.Future[None] = entry.payload
    return payload.done() and not payload.cancelled() and payload.exception() is None
