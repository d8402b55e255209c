"""The execution log as tests read it: what the worker measured of each call, once the ledger has written it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tests.fleet import Installed, TestFleet

WRITTEN_WITHIN_SECONDS = 20.0
POLL_SECONDS = 0.1
PAGE = "100"


@dataclass(frozen=True)
class Run:
    """One finished row. `after_ms`: from its start at the door to its end in the worker, on this machine's clock."""

    request_id: str
    status: str
    error: str | None
    http_status: int | None
    after_ms: float
    duration_ms: float
    queue_ms: float
    memory_mb: float
    host_calls: int
    billed: bool


async def runs_of(fleet: TestFleet, install: Installed, *, count: int) -> list[Run]:
    """The runs of an install, newest first, once at least `count` are finished and none is open.

    Raises TimeoutError when the ledger does not write them in time.
    """
    async with asyncio.timeout(WRITTEN_WITHIN_SECONDS):
        while True:
            rows = await _rows(fleet, install)
            if len(rows) >= count and all(row["finished_at"] is not None for row in rows):
                return [_run(row) for row in rows]
            await asyncio.sleep(POLL_SECONDS)


async def until_started(fleet: TestFleet, install: Installed, request_id: str) -> None:
    """Returns once the call of this id is on record. Raises TimeoutError."""
    async with asyncio.timeout(WRITTEN_WITHIN_SECONDS):
        while request_id not in {row["request_id"] for row in await _rows(fleet, install)}:
            await asyncio.sleep(POLL_SECONDS)


async def _rows(fleet: TestFleet, install: Installed) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    params = {"extension": install.id, "limit": PAGE}
    while True:
        answer = await fleet.request("GET", "/api/v1/invocations", key=install.tenant.key, params=params)
        page = answer.json()
        rows += page["items"]
        if page["cursor"] is None:
            return rows
        params["cursor"] = page["cursor"]


def _run(row: dict[str, Any]) -> Run:
    measured = row["metrics"]
    took = datetime.fromisoformat(row["finished_at"]) - datetime.fromisoformat(row["started_at"])
    return Run(
        request_id=row["request_id"],
        status=row["status"],
        error=row["error"],
        http_status=measured["http_status"],
        after_ms=took.total_seconds() * 1000,
        duration_ms=measured["duration_ms"],
        queue_ms=measured["queue_ms"],
        memory_mb=measured["mem_mb"],
        host_calls=measured["host_calls"],
        billed=measured["billed"],
    )
