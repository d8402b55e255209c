"""Records on their way to the RECORDS stream, by group commit.

A record goes out at once when nothing of its shard is in flight; what gathers meanwhile goes in the next message.
Fronts write the started record, workers the finished one; the ledger (`registry/ledger.py`) reads both.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from typing import NamedTuple

from schemas import codec, subjects
from schemas.errors import FleetError, Unavailable
from schemas.record import Record, RecordBatch
from service import streams
from service.clock import Clock
from service.lifecycle import TaskOwner
from service.messaging import Messaging

APPEND_TIMEOUT_SECONDS = 2.0
DOWN_SECONDS = 1.0
"""After a failed append nothing is dispatched for this long; then one call tries again."""
MAX_BATCH = 200

_Waiting = tuple[tuple[Record, ...], "asyncio.Future[None]"]


class _Sent(NamedTuple):
    """One message on its way, and who waits for it."""

    waiting: list[_Waiting]
    append: streams.Append
    error: FleetError | None


class RecordWriter:
    """Group commit, one message in flight per shard."""

    def __init__(self, messaging: Messaging, tasks: TaskOwner, clock: Clock) -> None:
        self._messaging, self._tasks, self._clock = messaging, tasks, clock
        # Random bits are a system call each; one name and a count are as unique.
        self._name, self._numbers = secrets.token_hex(11), itertools.count(1)
        self._waiting: dict[int, list[_Waiting]] = {}
        self._in_flight: set[int] = set()
        self._down_until = 0.0

    def check(self) -> None:
        """Unavailable while the stream is known to be down: then nothing may be dispatched."""
        if self._clock.monotonic() < self._down_until or not self._messaging.is_connected:
            raise Unavailable("the execution log cannot be written", retry_after_seconds=DOWN_SECONDS)

    async def write(self, shard: int, *records: Record) -> None:
        """Returns when the stream has the records, at most `MAX_BATCH`; Unavailable when that is not sure."""
        await (await self.submit(shard, *records))

    async def submit(self, shard: int, *records: Record) -> asyncio.Future[None]:
        """Send the records off, or let them join those that wait; the future ends as `write` does.

        It is on its way when this returns, so that what the caller sends next can leave in the same packet.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(shard, []).append((records, done))
        if shard not in self._in_flight:
            self._in_flight.add(shard)
            first = await self._send(shard, self._waiting.pop(shard))
            self._tasks.start(self._follow(shard, first), name="write records")
        return done

    async def _follow(self, shard: int, first: _Sent) -> None:
        """See the first message through, then whatever gathered meanwhile."""
        try:
            await self._settle(first)
            while waiting := self._waiting.pop(shard, []):
                now, later = _cut(waiting)
                if later:
                    self._waiting[shard] = later
                await self._settle(await self._send(shard, now))
        finally:
            self._in_flight.discard(shard)

    async def _send(self, shard: int, waiting: list[_Waiting]) -> _Sent:
        batch = codec.encode(RecordBatch(records=tuple(record for records, _ in waiting for record in records)))
        append = streams.Append(
            self._messaging, subjects.record(shard), batch, message_id=f"{self._name}.{next(self._numbers)}"
        )
        try:
            await append.send()
        except FleetError as error:
            return _Sent(waiting, append, error)
        return _Sent(waiting, append, None)

    async def _settle(self, sent: _Sent) -> None:
        error = sent.error
        if error is None:
            try:
                await sent.append.stored(timeout_seconds=APPEND_TIMEOUT_SECONDS)
            except FleetError as failure:
                error = failure
        sent.append.close()
        if error is None:
            self._down_until = 0.0
            _tell(sent.waiting, None)
            return
        self._down_until = self._clock.monotonic() + DOWN_SECONDS
        down = Unavailable("the execution log cannot be written", detail=error.detail, retry_after_seconds=1)
        _tell(sent.waiting, down)


def _cut(waiting: list[_Waiting]) -> tuple[list[_Waiting], list[_Waiting]]:
    """What goes in the next message, at most `MAX_BATCH` records, and the rest."""
    count = 0
    for position, (records, _) in enumerate(waiting):
        count += len(records)
        if position and count > MAX_BATCH:
            return waiting[:position], waiting[position:]
    return waiting, []


def _tell(waiting: list[_Waiting], error: FleetError | None) -> None:
    for _, done in waiting:
        if done.done():
            continue
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)
            # A caller that is gone does not ask any more.
            done.exception()
