"""The ledger on a real Postgres: one row for each invocation and its cost once, in whatever order records come."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.embedded.nats import NatsServer
from registry.database import Database
from registry.ledger import Ledger
from schemas import codec, ids, subjects
from schemas.errors import ErrorCode
from schemas.ids import RegistryId
from schemas.install import Resolved
from schemas.invocation import Origin, Trigger, Usage
from schemas.record import LOST_AFTER_DEADLINE_SECONDS, LogStatus, Record, RecordBatch
from service import streams, tickets
from service.lifecycle import TaskOwner
from service.messaging import Messaging
from service.metrics import Metrics
from service.records import RecordWriter
from service.tickets import Minter, Verifier
from tests import catalogue, registry_stack
from tests.clocks import ManualClock
from tests.fixtures_postgres import TestDatabase

pytest_plugins = ["tests.fixtures_nats"]
USED = Usage(duration_ms=12.5, queue_ms=1.0, cpu_ms=8.25, memory_mb=3.5, fuel=1_000, egress_bytes=77, host_calls=2)
BOOKED = {
    "invocations": 1,
    "cpu_ms": 9,
    "mem_mb_ms": 44,
    "egress_bytes": 77,
    "fuel": 1_000,
    "event_deliveries": 0,
    "host_calls": 2,
}
"""What `USED` costs: milliseconds and megabyte-milliseconds rounded up."""
NO_USAGE = dict.fromkeys(BOOKED, 0)


@dataclass
class Books:
    """A ledger, the install whose invocations it writes, and what is read back."""

    database: Database
    rows: TestDatabase
    resolved: Resolved
    clock: ManualClock = field(default_factory=ManualClock)
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    metrics: Metrics = field(default_factory=Metrics)

    def ledger(self) -> Ledger:
        """A further replica."""
        public = self.key.public_key()
        return Ledger(self.database, Verifier({tickets.key_id(public): public}, self.clock), self.clock, self.metrics)

    def started(self, **fields: Any) -> Record:
        now = int(self.clock.now() * 1000)
        record = Record(
            invocation=ids.new_invocation_id(),
            ticket=Minter(self.key, self.clock).mint(self.resolved, longest_seconds=60, needed_seconds=5),
            origin=Origin(
                request_id="r-1",
                trigger=Trigger.HTTP,
                method="GET",
                path="/hello",
                endpoint_template="/hello",
                principal_kind="service",
            ),
            started_unix_ms=now,
            deadline_unix_ms=now + 5_000,
            status=LogStatus.STARTED,
        )
        return msgspec.structs.replace(record, **fields)

    def finished(self, started: Record, **fields: Any) -> Record:
        record = msgspec.structs.replace(
            started,
            status=LogStatus.OK,
            finished_unix_ms=started.started_unix_ms + 20,
            http_status=200,
            usage=USED,
            billed=True,
        )
        return msgspec.structs.replace(record, **fields)

    async def log(self) -> list[dict[str, Any]]:
        async with self.rows.session() as session:
            found = await session.fetch("SELECT * FROM extension_execution_log ORDER BY started_at, invocation_id")
        return [{**row, "metrics": json.loads(row["metrics"])} for row in found]

    def refused(self) -> float:
        """How many records were passed over."""
        (metric,) = self.metrics.records_refused.collect()
        return sum(sample.value for sample in metric.samples if sample.name.endswith("_total"))

    async def usage(self) -> dict[str, int]:
        """All windows together."""
        sums = ", ".join(f"coalesce(sum({name}), 0)::bigint AS {name}" for name in BOOKED)
        async with self.rows.session() as session:
            row = await session.fetchrow(f"SELECT {sums} FROM extension_quota_usage")
        assert row is not None
        return dict(row)


@pytest.fixture
async def books(database: Database, fresh_database: TestDatabase) -> Books:
    published = await catalogue.publish(fresh_database)
    tenant = await catalogue.tenant(fresh_database)
    install = await catalogue.install_row(fresh_database, tenant, published)
    resolved = registry_stack.resolved_of(tenant, install, published, grants=frozenset())
    return Books(database, fresh_database, resolved)


def message(*records: Record) -> bytes:
    return codec.encode(RecordBatch(records=records))


async def test_started_and_finished_make_one_row_and_one_booking_in_every_order(books: Books) -> None:
    """Either record alone makes the row; repeats and reversals change nothing."""
    ledger = books.ledger()
    orders = [order for length in (2, 3, 4) for order in itertools.product("sf", repeat=length) if "f" in order]
    for order in orders:
        started = books.started()
        kinds = {"s": started, "f": books.finished(started)}
        for kind in order:
            await ledger.write([message(kinds[kind])])

    rows = await books.log()
    assert len(rows) == len(orders)
    assert {row["status"] for row in rows} == {"ok"}
    assert {row["metrics"]["http_status"] for row in rows} == {200}
    assert {row["metrics"]["method"] for row in rows} == {"GET"}
    assert await books.usage() == {name: amount * len(orders) for name, amount in BOOKED.items()}


async def test_several_replicas_that_get_the_same_records_book_them_once(books: Books) -> None:
    """Redelivery to another replica while the first still writes: the row's lock decides who books."""
    started = [books.started() for _ in range(40)]
    records = [*started, *map(books.finished, started)]
    batches = []
    for seed in range(6):
        mixed = records.copy()
        random.Random(seed).shuffle(mixed)
        batches.append([message(*mixed[at : at + 7]) for at in range(0, len(mixed), 7)])

    await asyncio.gather(*(books.ledger().write(batch) for batch in batches))

    assert [row["status"] for row in await books.log()] == ["ok"] * 40
    assert await books.usage() == {name: amount * 40 for name, amount in BOOKED.items()}


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (LogStatus.ERROR, ErrorCode.GUEST_TRAP),
        (LogStatus.TIMEOUT, ErrorCode.DEADLINE_EXCEEDED),
        (LogStatus.OOM, ErrorCode.GUEST_MEMORY),
        (LogStatus.UPSTREAM_ERROR, None),
    ],
)
async def test_what_began_is_billed_whatever_became_of_it(
    books: Books, status: LogStatus, error: ErrorCode | None
) -> None:
    """A trap, a timeout and a guest's own 500 cost what was measured."""
    started = books.started()

    await books.ledger().write([message(started, books.finished(started, status=status, error=error))])

    (row,) = await books.log()
    assert (row["status"], row["error"]) == (status.value, error.value if error else None)
    assert await books.usage() == BOOKED


async def test_what_never_began_costs_nothing(books: Books) -> None:
    """Refused and late calls are in the log and not in the usage."""
    started = books.started()
    refused = books.finished(
        started, status=LogStatus.ERROR, error=ErrorCode.OVERLOADED, usage=Usage(), billed=False, http_status=None
    )

    await books.ledger().write([message(started, refused)])

    (row,) = await books.log()
    assert (row["status"], row["error"], row["metrics"]["billed"]) == ("error", "overloaded", False)
    assert await books.usage() == NO_USAGE


async def test_an_attempt_of_a_delivery_counts_as_one(books: Books) -> None:
    """event_deliveries counts invocations whose trigger is an event."""
    started = books.started()
    origin = msgspec.structs.replace(started.origin, trigger=Trigger.EVENT)
    started = msgspec.structs.replace(started, origin=origin)

    await books.ledger().write([message(books.finished(started))])

    assert await books.usage() == {**BOOKED, "event_deliveries": 1}


async def test_a_row_nobody_closes_is_lost_a_minute_after_its_deadline(books: Books) -> None:
    """Billed as one invocation without CPU; not a second earlier, and not twice."""
    ledger = books.ledger()
    await ledger.write([message(books.started())])
    books.clock.advance(5 + LOST_AFTER_DEADLINE_SECONDS - 1)
    assert await ledger.close_lost() == 0
    books.clock.advance(2)

    assert await ledger.close_lost() == 1
    assert await ledger.close_lost() == 0

    (row,) = await books.log()
    assert row["status"] == "lost"
    assert row["finished_at"] == datetime.fromtimestamp(books.clock.now(), UTC)
    assert await books.usage() == {**NO_USAGE, "invocations": 1}


async def test_the_truth_about_a_lost_invocation_may_come_late(books: Books) -> None:
    """A ledger that was behind closed it as lost: the measured cost is added, the invocation is not counted again."""
    ledger = books.ledger()
    started = books.started()
    await ledger.write([message(started)])
    books.clock.advance(5 + LOST_AFTER_DEADLINE_SECONDS + 1)
    await ledger.close_lost()

    for _ in range(2):
        await ledger.write([message(books.finished(started))])
        await ledger.write([message(books.finished(started, status=LogStatus.LOST, usage=Usage()))])

    (row,) = await books.log()
    assert row["status"] == "ok"
    assert await books.usage() == BOOKED


async def test_records_that_cannot_be_believed_do_not_stop_the_others(books: Books) -> None:
    """Garbage, forged and expired tickets, impossible times and amounts: passed over and counted."""
    good = books.started()
    stranger = Books(books.database, books.rows, books.resolved, books.clock)
    bad = [
        stranger.started(),
        books.started(ticket=b"no ticket"),
        books.started(invocation="no-uuid"),
        books.started(started_unix_ms=0),
        books.started(deadline_unix_ms=2**60),
        books.finished(books.started(), usage=Usage(cpu_ms=float("nan"))),
        books.finished(books.started(), usage=Usage(cpu_ms=-1)),
        books.finished(books.started(), usage=Usage(fuel=2**62)),
        books.finished(books.started(), finished_unix_ms=None),
        books.started(origin=msgspec.structs.replace(good.origin, path="/\0")),
    ]

    await books.ledger().write([b"garbage", message(*bad[:5]), message(good), message(*bad[5:], books.finished(good))])

    (row,) = await books.log()
    assert (str(row["invocation_id"]), row["status"]) == (good.invocation, "ok")
    assert await books.usage() == BOOKED
    assert books.refused() == len(bad) + 1


async def test_a_record_that_postgres_refuses_does_not_take_its_batch_with_it(books: Books) -> None:
    """What no check of ours foresaw is found by writing the batch one by one."""
    good, other = books.started(), books.started()
    strange = msgspec.structs.replace(books.resolved, registry=RegistryId("not a UUID"))
    minted = Minter(books.key, books.clock).mint(strange, longest_seconds=60, needed_seconds=5)

    await books.ledger().write([message(good, books.started(ticket=minted), other)])

    assert {str(row["invocation_id"]) for row in await books.log()} == {good.invocation, other.invocation}
    assert books.refused() == 1


async def test_a_ticket_counts_for_a_day_after_its_end(books: Books) -> None:
    """Records wait in the stream while Postgres is away; what is older than that is nobody's."""
    early, late = books.started(), books.started()
    books.clock.advance(60 + 60 + 24 * 3600 - 5)
    await books.ledger().write([message(early)])
    books.clock.advance(10)
    await books.ledger().write([message(late)])

    assert [str(row["invocation_id"]) for row in await books.log()] == [early.invocation]


async def test_a_tenant_sees_its_own_rows_only(books: Books) -> None:
    """The row belongs to the ticket's tenant, whatever else a record says."""
    await books.ledger().write([message(books.started())])
    stranger = await catalogue.tenant(books.rows)

    async with books.database.transaction(stranger) as connection:
        assert await connection.fetchval("SELECT count(*) FROM extension_execution_log") == 0
    async with books.database.transaction(books.resolved.tenant) as connection:
        assert await connection.fetchval("SELECT count(*) FROM extension_execution_log") == 1


async def test_what_is_written_to_the_stream_arrives_once_although_the_ledger_restarts(
    books: Books, nats_server: NatsServer
) -> None:
    """Consumers come and go, one dies before it acknowledges; in the end each invocation is booked once."""
    started = [books.started() for _ in range(30)]
    shard = subjects.shard_of(books.resolved.tenant)
    async with (
        Messaging.connect(nats_server.url_for("registry"), name="ledger", role="registry") as consumer,
        Messaging.connect(nats_server.url_for("worker"), name="worker", role="worker") as producer,
        TaskOwner() as tasks,
    ):
        await streams.declare(consumer)
        writer = RecordWriter(producer, tasks, books.clock)
        ledger = _Dying(books.ledger())
        stopping = asyncio.Event()
        dying = asyncio.create_task(_consume(consumer, ledger, stopping))
        await asyncio.gather(*(writer.write(shard, record) for record in started))
        await asyncio.wait_for(ledger.died.wait(), 20)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        await asyncio.gather(*(writer.write(shard, books.finished(record)) for record in started))
        tasks.start(books.ledger().consume(consumer, stopping), name="ledger")
        async with asyncio.timeout(60):
            while (await books.usage())["invocations"] < 30:
                await asyncio.sleep(0.1)

    assert [row["status"] for row in await books.log()] == ["ok"] * 30
    assert await books.usage() == {name: amount * 30 for name, amount in BOOKED.items()}


class _Dying:
    """A ledger whose process ends between its commit and the acknowledgement."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.died = asyncio.Event()

    async def write(self, messages: list[bytes]) -> None:
        await self._ledger.write(messages)
        self.died.set()
        await asyncio.Event().wait()


async def _consume(messaging: Messaging, ledger: _Dying, stopping: asyncio.Event) -> None:
    await streams.consume(messaging, streams.Pull(streams.RECORDS, "ledger", batch=10), ledger.write, stopping=stopping)
