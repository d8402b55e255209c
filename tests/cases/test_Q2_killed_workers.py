"""Q2: workers killed in the middle of calls, again and again under load: an answer by D, and no effect twice."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.embedded.processes import Options
from schemas.ids import new_id
from tests import faults
from tests.fleet import UNMETERED, Installed, TestFleet, open_fleet
from tests.guests import build

pytestmark = [pytest.mark.case("Q2"), pytest.mark.timeout(3600)]

CALLERS = 6
DEADLINE_SECONDS = 5.0
ANSWER_GRACE_SECONDS = 1.0
BURNT_TURNS = 300_000
"""Some tens of milliseconds after the effect in which a kill finds the call in its middle."""
FAILURES = {502, 503, 504}


@pytest_asyncio.fixture(scope="module")
async def two_workers() -> AsyncIterator[TestFleet]:
    with tempfile.TemporaryDirectory(prefix="alga-q2-") as directory:
        options = Options(workers=2, slots=4, extra={"gateway": UNMETERED})
        async with open_fleet(Path(directory), options) as running:
            yield running


@dataclass
class Load:
    """Callers that never pause. An effect is a write under a key of its own, so its revision counts how often it
    happened. POST may not be repeated, PUT is declared idempotent."""

    fleet: TestFleet
    install: Installed
    statuses: Counter[int] = field(default_factory=Counter)
    slowest_seconds: float = 0.0
    done: dict[str, set[str]] = field(default_factory=lambda: {"POST": set(), "PUT": set()})
    asked: dict[str, set[str]] = field(default_factory=lambda: {"POST": set(), "PUT": set()})

    async def run(self, ending: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(self._caller(ending))

    async def _caller(self, ending: asyncio.Event) -> None:
        for method in itertools.cycle(("POST", "PUT")):
            if ending.is_set():
                return
            await self._call(method)

    async def _call(self, method: str) -> None:
        key = f"{method}-{new_id()}"
        item = {"key": key, "value": "x", "encoding": "text", "createOnly": False}
        script = [{"ask": ["storage-v2", "put", ["effects", item]]}, {"burn": BURNT_TURNS}]
        self.asked[method].add(key)
        started = time.monotonic()
        answer = await self.fleet.call(self.install, "/script", method=method, body=json.dumps(script).encode())
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - started)
        self.statuses[answer.status] += 1
        if answer.status == 200:
            (result,) = answer.json()["results"]
            assert "ok" in result, result
            self.done[method].add(key)
        else:
            assert answer.status in FAILURES, answer.body


async def test_Q2_killed_workers_lose_no_answer_and_repeat_no_effect(
    two_workers: TestFleet, count: Callable[[int], int]
) -> None:
    """502, 503 or 504 by D for what was in flight, 200 for the next call; POST effects happen at most once."""
    load = Load(two_workers, await _install(two_workers))
    ending = asyncio.Event()
    calls = asyncio.create_task(load.run(ending))
    try:
        for _, worker in zip(range(count(200)), itertools.cycle(two_workers.fleet.workers), strict=False):
            await faults.running(worker)
            await worker.server.kill()
            following = await two_workers.call(load.install, "/after")
            assert following.status == 200, following.body
            await worker.server.start()
            assert not calls.done(), "the load failed"
    finally:
        ending.set()
        await calls

    revisions = await _revisions(two_workers, load.install)
    assert load.slowest_seconds <= DEADLINE_SECONDS + ANSWER_GRACE_SECONDS
    assert sum(load.statuses[status] for status in FAILURES) > 0, "no kill found a call in its middle"
    assert {revisions[key] for key in load.done["POST"]} == {1}
    assert max(revisions.get(key, 0) for key in load.asked["POST"]) == 1
    assert all(revisions[key] in (1, 2) for key in load.done["PUT"])
    assert max(revisions.get(key, 0) for key in load.asked["PUT"]) <= 2


async def _install(fleet: TestFleet) -> Installed:
    endpoints = [
        {"method": "GET", "path": "/after", "handler": "dist/main"},
        {"method": "POST", "path": "/script", "handler": "dist/main"},
        {"method": "PUT", "path": "/script", "handler": "dist/main", "idempotent": True},
    ]
    manifest = {"api": {"endpoints": endpoints}, "capabilities": ["cap:storage.kv"]}
    extension = await fleet.publish(build.component("ask-qjs"), manifest=manifest)
    limits = {"timeout_ms": int(DEADLINE_SECONDS * 1000), "concurrency": CALLERS}
    install = await fleet.install(await fleet.tenant(), extension, limits=limits)
    assert (await fleet.call(install, "/after")).status == 200
    return install


async def _revisions(fleet: TestFleet, install: Installed) -> dict[str, int]:
    """How often each key was written."""
    revisions: dict[str, int] = {}
    cursor = None
    while True:
        query = {"limit": 100, "includeValues": False, **({} if cursor is None else {"cursor": cursor})}
        script = [{"ask": ["storage-v2", "list-entries", ["effects", query]]}]
        answer = await fleet.call(install, "/script", method="PUT", body=json.dumps(script).encode())
        page = answer.json()["results"][0]["ok"]
        revisions |= {item["key"]: item["revision"] for item in page["items"]}
        if (cursor := page.get("nextCursor")) is None:
            return revisions
