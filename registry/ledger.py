"""The ledger: every record of the RECORDS stream becomes one row of the execution log, and its cost is booked once.

Records come in any order, more than once, in batches, across restarts and on several replicas at the same time. Two
rules make that harmless. A row is keyed by tenant, invocation and start, and is inserted or found, never assumed. And
what an invocation cost is added in the transaction in which its row takes its ending, which happens once: whoever
comes second finds the ending there, under the row's lock.

A batch is acknowledged after its commit. A record that cannot be read or believed is logged, counted and passed over:
it never stands in the way of the others. What is billed is decided in `registry/ledger_entries.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby

import orjson
import structlog

from registry import ledger_entries, statements
from registry.database import Connection, Database
from registry.ledger_entries import Cost, Ending, Entry, Key
from schemas import codec
from schemas.errors import FleetError, Invalid, Unauthenticated, Unavailable
from schemas.ids import RegistryId, TenantId
from schemas.invocation import Trigger
from schemas.record import LOST_AFTER_DEADLINE_SECONDS, LogStatus, Record, RecordBatch
from service import streams
from service.clock import Clock
from service.messaging import Messaging
from service.metrics import Metrics
from service.tickets import Verifier

log = structlog.get_logger()

DURABLE = "ledger"
BATCH_MESSAGES = 100
"""Each has at most `service.records.MAX_BATCH` records."""
PAUSE_SECONDS = 0.2
"""Started and finished of a short call then make one row in one statement; a log row is at most this much later."""
TICKET_GRACE_SECONDS = 24 * 3600
REAP_ROWS = 500
_SQL = statements.load("ledger")

_Closed = tuple[Key, RegistryId, Trigger, Ending]
"""A row that is there, and the ending it is to take."""
_Booked = tuple[RegistryId, datetime, Cost]


class Ledger:
    """Writes the log and the usage of all tenants."""

    def __init__(self, database: Database, verifier: Verifier, clock: Clock, metrics: Metrics) -> None:
        self._database, self._verifier, self._clock, self._metrics = database, verifier, clock, metrics

    async def consume(self, messaging: Messaging, stopping: asyncio.Event) -> None:
        """Write what the stream has until `stopping`. Several replicas share the work."""
        pull = streams.Pull(streams.RECORDS, DURABLE, BATCH_MESSAGES, pause_seconds=PAUSE_SECONDS)
        await streams.consume(messaging, pull, self.write, stopping=stopping)

    async def write(self, messages: list[bytes]) -> None:
        """Write what these messages carry, each a RecordBatch. Raises Unavailable: then nothing may be acknowledged."""
        entries = ledger_entries.merge(entry for data in messages for entry in self._read(data))
        try:
            await self._write(entries)
        except Unavailable:
            raise
        except FleetError as error:
            log.warning("a batch of records is written one by one", code=error.code, detail=error.detail)
            await self._write_singly(entries)

    async def close_lost(self) -> int:
        """Close invocations whose deadline passed a minute ago without a word; how many were found."""
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        until = now - timedelta(seconds=LOST_AFTER_DEADLINE_SECONDS)
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL.find_left_open, until, REAP_ROWS)
        ended = ledger_entries.lost(now)
        found: list[_Closed] = [
            (
                (TenantId(row["tenant_id"]), row["invocation_id"], row["started_at"]),
                RegistryId(row["registry_id"]),
                Trigger(row["trigger"]),
                ended,
            )
            for row in rows
        ]
        for tenant, closed in groupby(sorted(found, key=lambda one: one[0]), key=lambda one: one[0][0]):
            async with self._database.transaction(tenant) as connection:
                booked = await _close(connection, tenant, list(closed))
                await _book(connection, tenant, booked)
            self._metrics.records_lost.inc(len(booked))
        return len(rows)

    def _read(self, data: bytes) -> Iterator[Entry]:
        try:
            batch: RecordBatch = codec.decode(RecordBatch, data)
        except Invalid as error:
            self._refuse("unreadable", error)
            return
        for record in batch.records:
            entry = self._entry(record)
            if entry is not None:
                yield entry

    def _entry(self, record: Record) -> Entry | None:
        try:
            ticket = self._verifier.verify(record.ticket, grace_seconds=TICKET_GRACE_SECONDS)
            return ledger_entries.entry_of(record, ticket)
        except Unauthenticated as error:
            self._refuse("ticket", error)
        except Invalid as error:
            self._refuse("implausible", error)
        return None

    async def _write(self, entries: Sequence[Entry]) -> None:
        """All of it in one transaction, tenant by tenant in one order, so that two replicas cannot lock each other."""
        if not entries:
            return
        async with self._database.transaction(entries[0].tenant) as connection:
            for tenant, of_tenant in groupby(entries, key=lambda entry: entry.tenant):
                await connection.set_tenant(tenant)
                await _write_tenant(connection, tenant, list(of_tenant))
        for entry in entries:
            status = LogStatus.STARTED if entry.ended is None else entry.ended.status
            self._metrics.records.labels(status.value).inc()

    async def _write_singly(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            try:
                await self._write([entry])
            except Unavailable:
                raise
            except FleetError as error:
                self._refuse("not storable", error)

    def _refuse(self, reason: str, error: FleetError) -> None:
        log.error("a record was passed over", reason=reason, message=error.message, detail=error.detail)
        self._metrics.records_refused.labels(reason).inc()


async def _write_tenant(connection: Connection, tenant: TenantId, entries: list[Entry]) -> None:
    new = {
        (tenant, row["invocation_id"], row["started_at"])
        for row in await connection.fetch(_SQL.insert_rows, tenant, *_insert_columns(entries))
    }
    booked: list[_Booked] = []
    known: list[_Closed] = []
    for entry in entries:
        if entry.ended is None:
            continue
        if entry.key in new:
            cost = ledger_entries.cost_of(entry.ended, entry.origin.trigger, before=LogStatus.STARTED)
            booked.append((entry.registry, entry.started_at, cost))
        else:
            known.append((entry.key, entry.registry, entry.origin.trigger, entry.ended))
    booked += await _close(connection, tenant, known)
    await _book(connection, tenant, booked)


async def _close(connection: Connection, tenant: TenantId, closed: list[_Closed]) -> list[_Booked]:
    """Give rows their endings where these are news; what that costs."""
    if not closed:
        return []
    keys = [key for key, *_ in closed]
    rows = await connection.fetch(_SQL.lock_rows, tenant, [key[1] for key in keys], [key[2] for key in keys])
    before = {(tenant, row["invocation_id"], row["started_at"]): LogStatus(row["status"]) for row in rows}
    news = [one for one in closed if one[0] in before and ledger_entries.replaces(one[3], before[one[0]])]
    if not news:
        return []
    await connection.execute(
        _SQL.finish_rows,
        tenant,
        [key[1] for key, *_ in news],
        [key[2] for key, *_ in news],
        [ended.status.value for *_, ended in news],
        [ended.finished_at for *_, ended in news],
        [ended.error for *_, ended in news],
        [orjson.dumps(ledger_entries.metrics_at_end(ended)).decode() for *_, ended in news],
    )
    return [
        (registry, key[2], ledger_entries.cost_of(ended, trigger, before=before[key]))
        for key, registry, trigger, ended in news
    ]


async def _book(connection: Connection, tenant: TenantId, booked: list[_Booked]) -> None:
    windows: dict[tuple[RegistryId, datetime], Cost] = {}
    for registry, started_at, cost in booked:
        if cost != ledger_entries.NOTHING:
            slot = (registry, ledger_entries.window_of(started_at))
            windows[slot] = windows.get(slot, ledger_entries.NOTHING) + cost
    if not windows:
        return
    slots = sorted(windows)
    costs = [windows[slot] for slot in slots]
    await connection.execute(
        _SQL.add_usage,
        tenant,
        [registry for registry, _ in slots],
        [window for _, window in slots],
        [cost.invocations for cost in costs],
        [cost.cpu_ms for cost in costs],
        [cost.mem_mb_ms for cost in costs],
        [cost.egress_bytes for cost in costs],
        [cost.fuel for cost in costs],
        [cost.event_deliveries for cost in costs],
        [cost.host_calls for cost in costs],
    )


def _insert_columns(entries: list[Entry]) -> tuple[list[object], ...]:
    return (
        [entry.invocation for entry in entries],
        [entry.started_at for entry in entries],
        [entry.registry for entry in entries],
        [entry.version_id for entry in entries],
        [entry.install for entry in entries],
        [entry.origin.request_id for entry in entries],
        [entry.origin.trigger.value for entry in entries],
        [entry.deadline_at for entry in entries],
        [LogStatus.STARTED.value if entry.ended is None else entry.ended.status.value for entry in entries],
        [None if entry.ended is None else entry.ended.finished_at for entry in entries],
        [None if entry.ended is None else entry.ended.error for entry in entries],
        [_metrics(entry) for entry in entries],
    )


def _metrics(entry: Entry) -> str:
    """As the text of a JSON object."""
    ended = {} if entry.ended is None else ledger_entries.metrics_at_end(entry.ended)
    return orjson.dumps({**ledger_entries.metrics_at_start(entry.origin), **ended}).decode()
