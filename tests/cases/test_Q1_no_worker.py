"""Q1: nobody serves the shard of a tenant: said at once, not found out by waiting."""

from __future__ import annotations

import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.embedded.processes import Options
from tests import execution_log
from tests.fleet import Installed, TestFleet, open_fleet
from tests.guests import build

pytestmark = pytest.mark.case("Q1")

SERVED, UNSERVED = 7, 8
REFUSED_WITHIN_MS = 50


@pytest_asyncio.fixture(scope="module")
async def one_shard() -> AsyncIterator[TestFleet]:
    """A fleet whose only worker serves one shard."""
    with tempfile.TemporaryDirectory(prefix="alga-q1-") as directory:
        options = Options(extra={"worker": {"ALGA_WORKER_SHARDS": str(SERVED)}})
        async with open_fleet(Path(directory), options) as running:
            yield running


async def test_Q1_a_call_of_a_shard_nobody_serves_is_refused_at_once(
    one_shard: TestFleet, count: Callable[[int], int]
) -> None:
    """503 no_worker in under 50 ms with Retry-After, while a tenant of the shard that is served is answered."""
    unserved, served = await _install(one_shard, UNSERVED), await _install(one_shard, SERVED)
    tries = count(100)
    await _refused_ms(one_shard, unserved)
    times = []
    for _ in range(tries):
        times.append(await _refused_ms(one_shard, unserved))
        assert (await one_shard.call(served)).status == 200

    assert sorted(times)[int(tries * 0.9)] < REFUSED_WITHIN_MS
    runs = await execution_log.runs_of(one_shard, unserved, count=tries + 1)
    assert {(run.status, run.error, run.billed) for run in runs} == {("error", "no_worker", False)}


async def test_Q1_without_any_worker_every_call_is_refused_at_once(one_shard: TestFleet) -> None:
    """As for one shard; and the first call after a worker has started again is answered."""
    install = await _install(one_shard, SERVED)
    assert (await one_shard.call(install)).status == 200
    (worker,) = one_shard.fleet.workers
    await worker.server.kill()
    try:
        times = [await _refused_ms(one_shard, install) for _ in range(20)]
    finally:
        await worker.server.start()

    assert sorted(times)[-2] < REFUSED_WITHIN_MS
    assert (await one_shard.call(install)).status == 200


async def _install(fleet: TestFleet, shard: int) -> Installed:
    echo = await fleet.publish_once("echo {}", build.component("echo"))
    return await fleet.install(await fleet.tenant(shard=shard), echo)


async def _refused_ms(fleet: TestFleet, install: Installed) -> float:
    """Milliseconds until the refusal was here."""
    started = time.monotonic()
    answer = await fleet.call(install)
    took = (time.monotonic() - started) * 1000
    assert (answer.status, answer.code) == (503, "no_worker")
    assert int(answer.headers["retry-after"]) >= 1
    return took
