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
SOON_MS = 1_500
"""How long the slot is taken while another caller waits for it and leaves."""


async def test_G11_a_caller_who_leaves_frees_the_slot_and_is_billed_once(
    one_slot: TestFleet, count: Callable[[int], int]
) -> None:
    """Each call ends well before D, makes one billed row, and the only slot serves another tenant at once."""
    attack = await attacks.prepare(one_slot, "loop", limits={"timeout_ms": DEADLINE_MS})
    (worker,) = one_slot.fleet.workers
    ids = [new_id() for _ in range(count(1_000))]
    for request_id in ids:
        leaving = asyncio.create_task(one_slot.call(attack.bad, headers={"x-request-id": request_id}))
        await faults.burning_executor(worker)
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


async def test_G11_a_caller_who_leaves_before_the_start_pays_nothing(one_slot: TestFleet) -> None:
    """Its row is closed as soon as its turn would have come, unbilled; it is not left open for the reaper."""
    attack = await attacks.prepare(one_slot, "loop", limits={"timeout_ms": SOON_MS})
    (worker,) = one_slot.fleet.workers
    assert (await one_slot.call(attack.good)).status == 200
    holding = asyncio.create_task(one_slot.call(attack.bad))
    await faults.burning_executor(worker)
    leaving = asyncio.create_task(one_slot.call(attack.good, headers={"x-request-id": "leaver"}))
    await execution_log.until_started(one_slot, attack.good, "leaver")
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)

    assert (await holding).code == "deadline_exceeded"
    runs = await execution_log.runs_of(one_slot, attack.good, count=2)
    assert {run.request_id: (run.status, run.billed) for run in runs}["leaver"] == ("timeout", False)
