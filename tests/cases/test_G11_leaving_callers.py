"""G11: callers who leave in the middle of a call take their call with them, and pay for it once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from schemas.ids import new_id
from tests import attacks, execution_log, faults
from tests.fleet import TestFleet

pytestmark = [pytest.mark.case("G11"), pytest.mark.xdist_group("one slot")]

DEADLINE_MS = 5_000


async def test_G11_a_caller_who_leaves_frees_the_slot_and_is_billed_once(
    one_slot: TestFleet, count: Callable[[int], int]
) -> None:
    """Each call ends well before D, makes one billed row, and the only slot serves another tenant at once."""
    attack = await attacks.prepare(one_slot, "loop", limits={"timeout_ms": DEADLINE_MS})
    (worker,) = one_slot.fleet.workers
    ids = [new_id() for _ in range(count(1_000))]
    for request_id in ids:
        await faults.idle(worker)
        leaving = asyncio.create_task(one_slot.call(attack.bad, headers={"x-request-id": request_id}))
        await faults.running(worker)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        assert (await one_slot.call(attack.good)).status == 200

    await faults.idle(worker)
    runs = await execution_log.runs_of(one_slot, attack.bad, count=len(ids))
    assert sorted(run.request_id for run in runs) == sorted(ids)
    assert {run.billed for run in runs} == {True}
    assert max(run.after_ms for run in runs) < DEADLINE_MS
    served = await execution_log.runs_of(one_slot, attack.good, count=len(ids))
    assert max(run.queue_ms + run.duration_ms for run in served) < DEADLINE_MS
