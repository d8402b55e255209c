"""S2: endless loops where a guest runs outside of its handler: the deadline is set before all of them."""

from __future__ import annotations

import statistics

import pytest

from tests import attacks
from tests.cases.test_S1_endless_loop import DEADLINE_MS, LATEST_MS, RECORD_ROUNDING_MS, STOPPED_WITHIN_MS
from tests.fleet import TestFleet

pytestmark = [pytest.mark.case("S2"), pytest.mark.xdist_group("one slot")]

TRIES = 5


@pytest.mark.parametrize("where", ["start", "realloc", "post-return", "destructor"])
async def test_S2_a_loop_in_a_start_a_realloc_a_post_return_or_a_destructor_is_stopped(
    one_slot: TestFleet, where: str
) -> None:
    """As S1: between D and D + 100 ms in the worker, and the slot answers at once."""
    attack = await attacks.prepare(one_slot, f"loop-{where}", limits={"timeout_ms": DEADLINE_MS})
    for _ in range(TRIES):
        answer = await attack.call("/with/a/body", method="POST", body=b"body")
        assert (answer.status, answer.code) == (504, "deadline_exceeded")

    runs = await attack.runs()

    assert len(runs) == TRIES
    assert min(run.after_ms for run in runs) >= DEADLINE_MS - RECORD_ROUNDING_MS
    assert statistics.median(run.after_ms for run in runs) <= DEADLINE_MS + STOPPED_WITHIN_MS
    assert max(run.after_ms for run in runs) <= LATEST_MS
