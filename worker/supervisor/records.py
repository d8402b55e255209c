"""The finished record of each invocation that ran here: made at once, written soon, flushed at drain.

Owns its shape and the tries to write it. The reply to the caller does not wait for it: the started record, written in
front, makes the row alone if this one is lost.
"""

from __future__ import annotations

import asyncio

import structlog

from schemas.errors import Unavailable
from schemas.invocation import Outcome
from schemas.record import Record, status_of
from service.clock import Clock
from service.lifecycle import TaskOwner
from service.records import MAX_BATCH, RecordWriter
from worker.supervisor.invocation import Invocation

log = structlog.get_logger()

GATHER_SECONDS = 0.02
"""No caller waits for a finished record, and one message with many costs little more than one with one."""
TRIES = 8
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 10.0
MAX_PENDING = 10_000
FLUSH_SECONDS = 10.0


class Records:
    """Finished records on their way. `flush` before the connection closes."""

    def __init__(self, writer: RecordWriter, clock: Clock) -> None:
        self._writer, self._clock = writer, clock
        self._tasks = TaskOwner()
        self._gathered: list[tuple[int, Record]] = []
        self._pending = 0
        self._timer: asyncio.TimerHandle | None = None

    def finished(self, invocation: Invocation, outcome: Outcome) -> None:
        """Write down how an invocation ended that began in an executor, soon: what ends together goes together."""
        record = record_of(invocation, outcome, finished_unix_ms=int(self._clock.now() * 1000))
        if self._pending >= MAX_PENDING:
            log.error("a finished record was dropped: too many wait", invocation=record.invocation)
            return
        if not self._gathered:
            self._timer = asyncio.get_running_loop().call_later(GATHER_SECONDS, self._write_gathered)
        self._pending += 1
        self._gathered.append((invocation.ticket.shard, record))

    async def flush(self) -> None:
        """Write what was gathered and wait for what is under way, at most `FLUSH_SECONDS`."""
        self._write_gathered()
        if not await self._tasks.join(timeout_seconds=FLUSH_SECONDS):
            log.error("finished records were not written", count=self._pending)

    async def close(self) -> None:
        """What is under way is given up: `flush` first."""
        if self._timer is not None:
            self._timer.cancel()
        await self._tasks.close()

    def _write_gathered(self) -> None:
        of_shard: dict[int, list[Record]] = {}
        for shard, record in self._gathered:
            of_shard.setdefault(shard, []).append(record)
        self._gathered = []
        for shard, records in of_shard.items():
            for start in range(0, len(records), MAX_BATCH):
                self._tasks.start(self._write(shard, records[start : start + MAX_BATCH]), name="finished records")

    async def _write(self, shard: int, records: list[Record]) -> None:
        """All of them or, where that is not sure, all of them again: the ledger takes each once."""
        try:
            await self._write_stubbornly(shard, records)
        finally:
            self._pending -= len(records)

    async def _write_stubbornly(self, shard: int, records: list[Record]) -> None:
        pause = FIRST_PAUSE_SECONDS
        for _ in range(TRIES):
            try:
                await self._writer.write(shard, *records)
                return
            except Unavailable:
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
        log.error("finished records were not written", invocations=[one.invocation for one in records], tries=TRIES)


def record_of(invocation: Invocation, outcome: Outcome, *, finished_unix_ms: int) -> Record:
    """The finished record. Billed: it began in an executor."""
    request = invocation.request
    return Record(
        invocation=request.invocation,
        ticket=request.ticket,
        origin=request.origin,
        started_unix_ms=request.started_unix_ms,
        deadline_unix_ms=invocation.deadline_unix_ms,
        status=status_of(outcome),
        finished_unix_ms=finished_unix_ms,
        http_status=None if outcome.response is None else outcome.response.status,
        error=outcome.code,
        usage=outcome.usage,
        billed=outcome.executed,
    )
