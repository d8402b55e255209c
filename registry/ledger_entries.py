"""What the ledger writes, decided without a database: rows made of records, and what each costs. Pure.

Owns the billing rule and what of a record is believed. A record comes from a worker or a front; its ticket says whose
it is, everything else counts only inside that tenant and install, and only within sensible bounds.

Amounts are whole: milliseconds of CPU and megabyte-milliseconds are rounded up for each invocation, so that the sum
over the execution log is the usage table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from schemas import ids
from schemas.errors import Invalid
from schemas.ids import InstallId, RegistryId, TenantId, VersionId
from schemas.invocation import Origin, Trigger, Usage
from schemas.record import LogStatus, Record
from schemas.ticket import Ticket

WINDOW_SECONDS = 3600
"""Usage is booked by the hour in which an invocation started."""
MAX_RUN_MS = 86_400_000
MAX_AMOUNT = 1e15
"""Of anything measured; the longest invocation burns 9e12 of fuel."""
MAX_MEMORY_MB = 1e6
EARLY_MS = 60_000
"""How far the clocks of a front and of whoever reads may differ."""
MAX_TEXT_CHARACTERS = 1_024

Key = tuple[TenantId, str, datetime]
"""Tenant, invocation, start: what is unique in the execution log."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `ended` None: only the start is known."""

    tenant: TenantId
    invocation: str
    started_at: datetime
    registry: RegistryId
    version_id: VersionId
    install: InstallId
    deadline_at: datetime
    origin: Origin
    ended: Ending | None

    @property
    def key(self) -> Key:
        return self.tenant, self.invocation, self.started_at


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How an invocation ended, and what it used. `billed`: it began in an executor."""

    status: LogStatus
    finished_at: datetime
    error: str | None
    http_status: int | None
    usage: Usage
    billed: bool


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What is added to a usage window."""

    invocations: int = 0
    cpu_ms: int = 0
    mem_mb_ms: int = 0
    egress_bytes: int = 0
    fuel: int = 0
    event_deliveries: int = 0
    host_calls: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(**{field: getattr(self, field) + getattr(other, field) for field in self.__struct_fields__})


NOTHING = Cost()


def entry_of(record: Record, ticket: Ticket) -> Entry:
    """The row of a record whose ticket was verified. Raises Invalid for what cannot be believed."""
    _check_times(record, ticket)
    _check_texts(record.origin)
    return Entry(
        tenant=ticket.tenant,
        invocation=ids.parse_uuid(record.invocation, field="invocation"),
        started_at=_time(record.started_unix_ms),
        registry=ticket.registry,
        version_id=ticket.version_id,
        install=ticket.install,
        deadline_at=_time(record.deadline_unix_ms),
        origin=record.origin,
        ended=None if record.status is LogStatus.STARTED else _ending(record),
    )


def merge(entries: Iterable[Entry]) -> list[Entry]:
    """One entry for each invocation, the best known; in the one order in which rows are written."""
    best: dict[Key, Entry] = {}
    for entry in entries:
        known = best.get(entry.key)
        if known is None or _supersedes(entry.ended, known.ended):
            best[entry.key] = entry
    return sorted(best.values(), key=lambda entry: entry.key)


def replaces(ended: Ending, status: LogStatus) -> bool:
    """Whether this ending is news for a row of that status. A row closed as lost learns the truth when it comes."""
    return status is LogStatus.STARTED or (status is LogStatus.LOST and ended.status is not LogStatus.LOST)


def cost_of(ended: Ending, trigger: Trigger, *, before: LogStatus) -> Cost:
    """What an ending adds. `before`: the row's status until now; LOST: its one invocation is booked already."""
    if not ended.billed:
        return NOTHING
    counted = int(before is not LogStatus.LOST)
    usage = ended.usage
    return Cost(
        invocations=counted,
        cpu_ms=math.ceil(usage.cpu_ms),
        mem_mb_ms=math.ceil(usage.memory_mb * usage.duration_ms),
        egress_bytes=usage.egress_bytes,
        fuel=usage.fuel,
        event_deliveries=counted if trigger is Trigger.EVENT else 0,
        host_calls=usage.host_calls,
    )


def lost(finished_at: datetime) -> Ending:
    """The ending of an invocation of which nothing was heard: one invocation, nothing measured."""
    return Ending(
        status=LogStatus.LOST, finished_at=finished_at, error=None, http_status=None, usage=Usage(), billed=True
    )


def window_of(started_at: datetime) -> datetime:
    """The start of the window an invocation is booked in."""
    return started_at.replace(minute=0, second=0, microsecond=0)


def metrics_at_start(origin: Origin) -> dict[str, Any]:
    """What the row says of the call. Never bodies, headers or query values: a record has none."""
    metrics: dict[str, Any] = {
        "method": origin.method,
        "path": origin.path,
        "endpoint_template": origin.endpoint_template,
        "principal_kind": origin.principal_kind,
    }
    return metrics if origin.user_id is None else {**metrics, "user_id": origin.user_id}


def metrics_at_end(ended: Ending) -> dict[str, Any]:
    """What the row says of the end. `billed` tells what the usage table counts."""
    usage = ended.usage
    return {
        "http_status": ended.http_status,
        "duration_ms": usage.duration_ms,
        "queue_ms": usage.queue_ms,
        "cpu_ms": usage.cpu_ms,
        "mem_mb": usage.memory_mb,
        "fuel": usage.fuel,
        "egress_bytes": usage.egress_bytes,
        "host_calls": usage.host_calls,
        "billed": ended.billed,
    }


def _ending(record: Record) -> Ending:
    if record.finished_unix_ms is None:
        raise Invalid("a finished record has no finished_unix_ms")
    _check_usage(record.usage)
    return Ending(
        status=record.status,
        finished_at=_time(record.finished_unix_ms),
        error=None if record.error is None else record.error.value,
        http_status=record.http_status,
        usage=record.usage,
        billed=record.billed,
    )


def _supersedes(new: Ending | None, known: Ending | None) -> bool:
    if new is None:
        return False
    return known is None or (known.status is LogStatus.LOST and new.status is not LogStatus.LOST)


def _check_times(record: Record, ticket: Ticket) -> None:
    earliest, latest = ticket.issued * 1000 - EARLY_MS, ticket.expires * 1000 + EARLY_MS
    if not earliest <= record.started_unix_ms <= latest:
        raise Invalid(f"started_unix_ms {record.started_unix_ms} is outside of the ticket's life")
    for name in ("deadline_unix_ms", "finished_unix_ms"):
        at = getattr(record, name)
        if at is not None and not 0 <= at - record.started_unix_ms + EARLY_MS <= MAX_RUN_MS:
            raise Invalid(f"{name} {at} is not within a day of the start")


def _check_texts(origin: Origin) -> None:
    for name in origin.__struct_fields__:
        text = getattr(origin, name)
        if isinstance(text, str) and (len(text) > MAX_TEXT_CHARACTERS or "\0" in text):
            raise Invalid(f"origin.{name} is over {MAX_TEXT_CHARACTERS} characters or has a NUL in it")


def _check_usage(usage: Usage) -> None:
    for name in usage.__struct_fields__:
        amount = getattr(usage, name)
        limit = _LIMITS.get(name, MAX_AMOUNT)
        if not 0 <= amount <= limit:
            raise Invalid(f"usage.{name} is {amount}, not 0 to {limit:g}")


_LIMITS = {"duration_ms": MAX_RUN_MS, "queue_ms": MAX_RUN_MS, "cpu_ms": MAX_RUN_MS, "memory_mb": MAX_MEMORY_MB}


def _time(unix_ms: int) -> datetime:
    """Exact to the millisecond: either record of an invocation gives the same key."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=unix_ms)
