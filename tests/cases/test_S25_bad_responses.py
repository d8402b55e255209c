"""S25: what a guest may not answer with: too much, or what is no HTTP response."""

from __future__ import annotations

import pytest

from deploy.embedded.processes import Process
from tests import attacks, faults
from tests.fleet import TestFleet

pytestmark = [pytest.mark.case("S25"), pytest.mark.xdist_group("one slot")]

TRIES = 3
MAX_COPIED_BYTES = 16 * 1024 * 1024
"""More than the cap of a body and all that a front and a worker make of it, far less than 100 MB."""


@pytest.mark.parametrize(
    ("guest", "path"),
    [
        ("body-100mb", "/"),
        ("body-claim", "/"),
        ("headers-million", "/"),
        ("status", "/0"),
        ("status", "/99"),
        ("status", "/1000"),
        ("bad-utf8-header", "/"),
        ("bad-pointer", "/"),
    ],
)
async def test_S25_an_answer_that_is_none_is_a_bad_response(one_slot: TestFleet, guest: str, path: str) -> None:
    """502 guest_bad_response, also where there is no status to read; the slot answers at once, little was copied."""
    attack = await attacks.prepare(one_slot, guest)
    fleet = one_slot.fleet
    keepers = [*fleet.workers, fleet.processes["gateway"]]
    await attack.call(path)
    before = [_peak(process) for process in keepers]
    for _ in range(TRIES):
        answer = await attack.call(path)
        assert (answer.status, answer.code) == (502, "guest_bad_response")

    assert all(_peak(process) - was <= MAX_COPIED_BYTES for process, was in zip(keepers, before, strict=True))
    assert {run.error for run in await attack.runs()} == {"guest_bad_response"}


def _peak(process: Process) -> int:
    return faults.peak_rss(process.server.pid)
