"""The accounts after a soak: a row for each invocation, usage that is the sum of the rows, effects that happened once.

Reads the tables as the superuser, because what is compared is what is there, not what a tenant is shown.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections import Counter, defaultdict
from datetime import datetime
from typing import Any

import asyncpg

from deploy.embedded.processes import DATABASE
from schemas.record import LOST_AFTER_DEADLINE_SECONDS
from tests.fleet import TestFleet
from tests.soak.faults import Faults
from tests.soak.load import DEADLINE_SECONDS, NAMESPACE, Load, Made

REAPER_SECONDS = DEADLINE_SECONDS + LOST_AFTER_DEADLINE_SECONDS + 25
"""A deadline, the wait after it, two turns of the reaper and a little."""
POLL_SECONDS = 1.0
SHOWN = 10
RAN = {"echo": {"ok"}, "write": {"ok"}, "idempotent write": {"ok"}, "trap": {"error"}, "timeout": {"timeout"}}
"""What the log says of a call that did what its kind is for."""
ROWS = """
SELECT tenant_id, registry_id, invocation_id, request_id, started_at, status, metrics FROM extension_execution_log
"""
USAGE = """
SELECT tenant_id, registry_id, window_start, invocations, cpu_ms, mem_mb_ms, egress_bytes, fuel, host_calls
FROM extension_quota_usage
"""
EFFECTS = "SELECT key, revision FROM ext_storage_records WHERE namespace = $1"

Row = dict[str, Any]
Sums = dict[tuple[str, str, datetime], Counter[str]]


async def settled_rows(fleet: TestFleet) -> list[Row]:
    """The execution log once no row is open, or as it is when the reaper had its time."""
    give_up = time.monotonic() + REAPER_SECONDS
    while True:
        rows = [{**row, "metrics": json.loads(row["metrics"])} for row in await _fetch(fleet, ROWS)]
        open_rows = sum(row["status"] == "started" for row in rows)
        if not open_rows or time.monotonic() > give_up:
            counted = Counter(row["status"] for row in rows)
            print(f"execution log: {len(rows)} rows ({', '.join(f'{k}: {v}' for k, v in counted.most_common())})")
            return rows
        await asyncio.sleep(POLL_SECONDS)


def check_log(rows: list[Row], load: Load, faults: Faults) -> list[str]:
    """Exactly one row for what ran, at most one for what was refused, none that nobody asked for, none left open."""
    by_request: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_request[row["request_id"]].append(row)
    keys = Counter((row["tenant_id"], row["invocation_id"]) for row in rows)
    broken = [f"invocation {key} has {count} rows" for key, count in keys.items() if count > 1]
    broken += [f"row of {row['request_id']} is still open" for row in rows if row["status"] == "started"]
    asked = {call.request_id for call in load.calls}
    broken += [f"a row of {request_id}, which nobody asked for" for request_id in by_request.keys() - asked]
    for call in load.calls:
        broken += _check_call(call, by_request.get(call.request_id, []), faults)
    return _cut(broken)


def _check_call(call: Made, rows: list[Row], faults: Faults) -> list[str]:
    if len(rows) > 1:
        return [f"{call.kind} {call.request_id}, answered {call.answer}, has {len(rows)} rows"]
    if not call.is_ok:
        return []
    if not rows:
        return [f"{call.kind} {call.request_id}, answered {call.answer}, has no row"]
    status = rows[0]["status"]
    if status in RAN[call.kind]:
        return []
    if status == "lost" and faults.explains(call.began, call.ended + DEADLINE_SECONDS):
        return []
    return [f"{call.kind} {call.request_id}, answered {call.answer}, is logged as {status}"]


async def check_usage(fleet: TestFleet, rows: list[Row]) -> list[str]:
    """The usage table is the sum of the billed rows, window by window."""
    summed: Sums = defaultdict(Counter)
    for row in rows:
        if row["metrics"].get("billed"):
            window = row["started_at"].replace(minute=0, second=0, microsecond=0)
            summed[(row["tenant_id"], str(row["registry_id"]), window)] += _cost(row["metrics"])
    booked: Sums = {
        (row["tenant_id"], str(row["registry_id"]), row["window_start"]): Counter(
            {name: row[name] for name in ("invocations", "cpu_ms", "mem_mb_ms", "egress_bytes", "fuel", "host_calls")}
        )
        for row in await _fetch(fleet, USAGE)
    }
    total = sum(booked.values(), Counter())
    print(f"usage: {len(booked)} windows, {', '.join(f'{name} {amount}' for name, amount in total.items())}")
    wrong = [
        slot for slot in booked.keys() | summed.keys() if booked.get(slot, Counter()) != summed.get(slot, Counter())
    ]
    return _cut([f"usage of {slot} is {booked.get(slot)}, its rows are {summed.get(slot)}" for slot in wrong])


def _cost(metrics: dict[str, Any]) -> Counter[str]:
    return Counter(
        {
            "invocations": 1,
            "cpu_ms": math.ceil(metrics["cpu_ms"]),
            "mem_mb_ms": math.ceil(metrics["mem_mb"] * metrics["duration_ms"]),
            "egress_bytes": metrics["egress_bytes"],
            "fuel": metrics["fuel"],
            "host_calls": metrics["host_calls"],
        }
    )


async def check_effects(fleet: TestFleet, load: Load) -> list[str]:
    """Each write that was confirmed is there; none happened more often than its method allows."""
    revisions = {row["key"]: row["revision"] for row in await _fetch(fleet, EFFECTS, NAMESPACE)}
    writes = {call.key: call for call in load.calls if call.key is not None}
    doubled = sum(revision > 1 for revision in revisions.values())
    print(f"storage: {len(writes)} writes asked for, {len(revisions)} happened, {doubled} of them twice (PUT may)")
    broken = [f"key {key}, which nobody wrote" for key in revisions.keys() - writes.keys()]
    for key, call in writes.items():
        most, found = (2 if call.kind == "idempotent write" else 1), revisions.get(key, 0)
        if found > most or (call.is_ok and not found):
            broken.append(f"{call.kind} {call.request_id}, answered {call.answer}, happened {found} times")
    return _cut(broken)


async def _fetch(fleet: TestFleet, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(fleet.fleet.stack.postgres_dsn(database=DATABASE))
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


def _cut(broken: list[str]) -> list[str]:
    more = [f"and {len(broken) - SHOWN} more of these"] if len(broken) > SHOWN else []
    return broken[:SHOWN] + more
