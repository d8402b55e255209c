"""The billing rule and what of a record is believed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import ledger_entries
from registry.ledger_entries import NOTHING, Cost, Ending, Entry
from schemas import ids
from schemas.errors import Invalid
from schemas.ids import ContentHash, InstallId, RegistryId, TenantId, VersionId
from schemas.invocation import Limits, Origin, Trigger, Usage
from schemas.record import LogStatus, Record
from schemas.ticket import Ticket

NOW_MS = 1_800_000_000_123
TICKET = Ticket(
    tenant=TenantId("t-1"),
    install=InstallId(ids.new_id()),
    registry=RegistryId(ids.new_id()),
    version_id=VersionId(ids.new_id()),
    name="com.acme.x",
    version="1.0.0",
    content_hash=ContentHash("sha256:" + "0" * 64),
    grants=frozenset(),
    egress=(),
    limits=Limits(),
    issued=NOW_MS // 1000 - 10,
    expires=NOW_MS // 1000 + 110,
    shard=1,
)
ORIGIN = Origin(
    request_id="r", trigger=Trigger.HTTP, method="GET", path="/x", endpoint_template="/:a", principal_kind="service"
)
STARTED = Record(
    invocation=ids.new_invocation_id(),
    ticket=b"",
    origin=ORIGIN,
    started_unix_ms=NOW_MS,
    deadline_unix_ms=NOW_MS + 5_000,
    status=LogStatus.STARTED,
)


def ending(status: LogStatus = LogStatus.OK, *, billed: bool = True, **usage: float) -> Ending:
    return Ending(
        status=status,
        finished_at=datetime.now(UTC),
        error=None,
        http_status=200,
        usage=Usage(**usage),  # type: ignore[arg-type]
        billed=billed,
    )


def entry(ended: Ending | None) -> Entry:
    return msgspec.structs.replace(ledger_entries.entry_of(STARTED, TICKET), ended=ended)


def test_parts_of_a_millisecond_are_rounded_up_for_each_invocation() -> None:
    """So that the sum over the execution log is the usage table."""
    used = ending(cpu_ms=0.2, memory_mb=1.5, duration_ms=2.5, fuel=7, egress_bytes=3, host_calls=1)

    cost = ledger_entries.cost_of(used, Trigger.HTTP, before=LogStatus.STARTED)

    assert cost == Cost(invocations=1, cpu_ms=1, mem_mb_ms=4, egress_bytes=3, fuel=7, host_calls=1)


@pytest.mark.parametrize("before", [LogStatus.STARTED, LogStatus.LOST])
def test_what_never_began_costs_nothing(before: LogStatus) -> None:
    """Whatever it claims to have used."""
    assert ledger_entries.cost_of(ending(billed=False, cpu_ms=9), Trigger.EVENT, before=before) == NOTHING


def test_lost_and_then_found_is_one_invocation() -> None:
    """The invocation and the delivery were booked when it was lost."""
    lost = ledger_entries.cost_of(ledger_entries.lost(datetime.now(UTC)), Trigger.EVENT, before=LogStatus.STARTED)
    found = ledger_entries.cost_of(ending(cpu_ms=3), Trigger.EVENT, before=LogStatus.LOST)

    assert lost == Cost(invocations=1, event_deliveries=1)
    assert lost + found == Cost(invocations=1, event_deliveries=1, cpu_ms=3)


@given(st.permutations([None, None, ending(LogStatus.LOST), ending(cpu_ms=1), ending(cpu_ms=1)]))
def test_the_best_known_of_an_invocation_does_not_depend_on_the_order(order: list[Ending | None]) -> None:
    """A real ending beats lost, lost beats nothing, whichever came first."""
    (merged,) = ledger_entries.merge(map(entry, order))

    assert merged.ended is not None
    assert merged.ended.status is LogStatus.OK


@given(st.sampled_from(LogStatus), st.sampled_from([status for status in LogStatus if status is not LogStatus.STARTED]))
def test_an_ending_replaces_only_an_open_row_or_a_lost_one(before: LogStatus, status: LogStatus) -> None:
    """A row that has its ending keeps it; lost is not replaced by lost."""
    open_ones = {LogStatus.STARTED} if status is LogStatus.LOST else {LogStatus.STARTED, LogStatus.LOST}

    assert ledger_entries.replaces(ending(status), before) is (before in open_ones)


def test_both_records_of_an_invocation_have_the_same_key() -> None:
    """To the millisecond, without a float between."""
    finished = msgspec.structs.replace(STARTED, status=LogStatus.OK, finished_unix_ms=NOW_MS + 1, billed=True)

    one, other = (ledger_entries.entry_of(record, TICKET) for record in (STARTED, finished))

    assert one.key == other.key
    assert one.started_at == datetime(2027, 1, 15, 8, 0, 0, 123_000, tzinfo=UTC)
    assert ledger_entries.window_of(one.started_at) == datetime(2027, 1, 15, 8, tzinfo=UTC)
    assert other.ended is not None
    assert other.ended.finished_at - one.started_at == timedelta(milliseconds=1)


@pytest.mark.parametrize(
    "fields",
    [
        {"started_unix_ms": (TICKET.issued - 61) * 1000},
        {"started_unix_ms": (TICKET.expires + 61) * 1000, "deadline_unix_ms": (TICKET.expires + 61) * 1000},
        {"deadline_unix_ms": NOW_MS + 2 * 86_400_000},
        {"deadline_unix_ms": NOW_MS - 61_000},
        {"invocation": "../../x"},
        {"origin": msgspec.structs.replace(ORIGIN, request_id="x" * 1_025)},
        {"origin": msgspec.structs.replace(ORIGIN, user_id="a\0b")},
        {"status": LogStatus.OK},
        {"status": LogStatus.OK, "finished_unix_ms": NOW_MS, "usage": Usage(memory_mb=1e9)},
        {"status": LogStatus.OK, "finished_unix_ms": NOW_MS, "usage": Usage(duration_ms=float("inf"))},
        {"status": LogStatus.OK, "finished_unix_ms": NOW_MS, "usage": Usage(egress_bytes=-1)},
    ],
)
def test_what_cannot_be_is_not_believed(fields: dict[str, object]) -> None:
    """A worker's word counts within sensible bounds only."""
    with pytest.raises(Invalid):
        ledger_entries.entry_of(msgspec.structs.replace(STARTED, **fields), TICKET)
