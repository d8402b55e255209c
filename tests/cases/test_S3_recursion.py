"""S3: recursion without end is a trap of the guest, at once, and costs no process."""

from __future__ import annotations

import pytest

from tests import attacks, faults
from tests.fleet import TestFleet

pytestmark = [pytest.mark.case("S3"), pytest.mark.xdist_group("one slot")]

TRIES = 20
TRAPPED_WITHIN_MS = 10


@pytest.mark.parametrize("guest", ["recurse", "recurse-indirect"])
async def test_S3_recursion_without_end_is_a_trap_and_the_executor_survives(one_slot: TestFleet, guest: str) -> None:
    """502 guest_trap in under 10 ms after it starts, by the same executors before and after."""
    attack = await attacks.prepare(one_slot, guest)
    (worker,) = one_slot.fleet.workers
    await attack.call()
    before = await faults.settled_executors(worker)
    for _ in range(TRIES):
        answer = await attack.call()
        assert (answer.status, answer.code) == (502, "guest_trap")

    assert faults.executors_of(worker) == before
    warm = (await attack.runs())[:TRIES]
    assert max(run.duration_ms for run in warm) < TRAPPED_WITHIN_MS
