"""A process that dies in the middle of a call: a clean error within the deadline, and the next call works."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest_asyncio

from deploy.embedded.processes import Options, Process
from tests import execution_log, faults
from tests.fleet import Answer, Installed, TestFleet, open_fleet
from tests.guests import build

DEADLINE_SECONDS = 8.0
"""Well past the 3 s of silence after which a front takes a worker for lost: the error does not wait for it."""
LOST_SECONDS = 5.0
FAILURES = {502, 503, 504}
GONE_SECONDS = 3.0


@dataclass(frozen=True)
class Pair:
    """Two tenants on one fleet: one whose calls never end, one whose calls are answered."""

    fleet: TestFleet
    looping: Installed
    good: Installed

    def start_call(self) -> asyncio.Task[tuple[Answer, float]]:
        return asyncio.create_task(self._timed_call())

    async def _timed_call(self) -> tuple[Answer, float]:
        started = time.monotonic()
        answer = await self.fleet.call(self.looping, method="POST", body=b"")
        return answer, time.monotonic() - started


@pytest_asyncio.fixture(scope="module")
async def pair() -> AsyncIterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="alga-faults-") as directory:
        async with open_fleet(Path(directory), Options(workers=2, slots=2)) as fleet:
            loop, echo = [await fleet.publish(build.component(guest)) for guest in ("loop", "echo")]
            limits = {"timeout_ms": int(DEADLINE_SECONDS * 1000)}
            looping = await fleet.install(await fleet.tenant(), loop, limits=limits)
            good = await fleet.install(await fleet.tenant(), echo)
            yield Pair(fleet, looping, good)


async def test_a_worker_killed_in_mid_call_is_a_clean_error_and_the_other_one_serves(pair: Pair) -> None:
    """Before the deadline, with a code and without a second run; its executors go with it."""
    call = pair.start_call()
    worker = await _worker_that_runs(pair.fleet)
    executors = faults.executors_of(worker)
    await worker.server.kill()
    try:
        for _ in range(20):
            assert (await pair.fleet.call(pair.good)).status == 200
        answer, took = await call
        await _gone(executors)
    finally:
        await worker.server.start()

    _check_failure(answer, "no_worker")
    assert took < LOST_SECONDS
    (run,) = await execution_log.runs_of(pair.fleet, pair.looping, count=1)
    assert (run.status, run.billed) == ("lost", True)


async def test_the_only_worker_killed_in_mid_call_serves_again_once_restarted(pair: Pair) -> None:
    """With nobody left calls are refused at once; after the restart the first one is answered."""
    spare, last = pair.fleet.fleet.workers
    await spare.server.kill()
    try:
        call = pair.start_call()
        await faults.running(last)
        await last.server.kill()
        refused = await pair.fleet.call(pair.good)
        answer, took = await call
        await last.server.start()
        after = await pair.fleet.call(pair.good)
    finally:
        await spare.server.start()

    _check_failure(refused, "no_worker")
    _check_failure(answer, "no_worker")
    assert took < LOST_SECONDS
    assert after.status == 200


async def test_an_executor_killed_in_mid_call_costs_that_call_alone(pair: Pair) -> None:
    """502 guest_trap at once; calls beside it and behind it are answered, and the worker is the one it was."""
    before = [worker.server.pid for worker in pair.fleet.fleet.workers]
    call = pair.start_call()
    worker = await _worker_that_runs(pair.fleet)
    faults.kill(await faults.burning_executor(worker))
    killed = time.monotonic()
    beside = await pair.fleet.call(pair.good)
    answer, _ = await call
    assert time.monotonic() - killed < 1.0
    after = [await pair.fleet.call(pair.good) for _ in range(5)]

    assert (answer.status, answer.code) == (502, "guest_trap")
    assert {reply.status for reply in (beside, *after)} == {200}
    assert [worker.server.pid for worker in pair.fleet.fleet.workers] == before
    assert all(psutil.pid_exists(pid) for pid in before)


async def _worker_that_runs(fleet: TestFleet) -> Process:
    """The worker that took the one call under way."""
    waiting = {asyncio.create_task(faults.running(worker)): worker for worker in fleet.fleet.workers}
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in pending:
        task.cancel()
    await asyncio.gather(*pending, return_exceptions=True)
    (found,) = done
    found.result()
    return waiting[found]


async def _gone(pids: frozenset[int]) -> None:
    async with asyncio.timeout(GONE_SECONDS):
        while any(_runs(pid) for pid in pids):
            await asyncio.sleep(faults.POLL_SECONDS)


def _runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _check_failure(answer: Answer, code: str) -> None:
    """One of our errors, and nothing else: status, code, a message, the request id, when to come back."""
    assert answer.status in FAILURES
    error = answer.json()["error"]
    assert (error["code"], error["request_id"]) == (code, answer.headers["x-request-id"])
    assert error["message"]
    assert answer.status != 503 or int(answer.headers["retry-after"]) >= 1
