"""S4: memory past the limit is refused, and a guest that never stops asking takes down only itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import psutil
import pytest

from deploy.embedded.processes import Process
from tests import attacks, faults
from tests.fleet import TestFleet

pytestmark = [pytest.mark.case("S4"), pytest.mark.xdist_group("one slot")]

TRIES = 5
LIMIT_MB = 64
OVERHEAD_MB = 40
MIB = 1024 * 1024


async def test_S4_a_gibibyte_at_once_is_refused_to_the_guest(one_slot: TestFleet) -> None:
    """`memory.grow` answers -1; the guest goes on and says so."""
    attack = await attacks.prepare(one_slot, "grow", limits={"memory_mb": LIMIT_MB})
    for _ in range(TRIES):
        answer = await attack.call()
        assert (answer.status, answer.body) == (200, b"refused")
    await attack.runs()


@pytest.mark.parametrize(
    ("guest", "path", "body"), [("grow-fill", "/", b""), ("ask-qjs", "/script", b'[{"grow":true}]')]
)
async def test_S4_a_guest_that_allocates_without_end_is_stopped_at_its_limit(
    one_slot: TestFleet, guest: str, path: str, body: bytes
) -> None:
    """502, the slot answers at once, and no executor ever held more than the limit and 40 MiB above idle."""
    attack = await attacks.prepare(one_slot, guest, limits={"memory_mb": LIMIT_MB})
    (worker,) = one_slot.fleet.workers
    await faults.settled_executors(worker)
    async with _growth(worker) as growth:
        for _ in range(TRIES):
            answer = await attack.call(path, method="POST", body=body)
            assert (answer.status, answer.code) in {(502, "guest_memory"), (502, "guest_trap")}, answer.body

    await attack.runs()
    assert LIMIT_MB * MIB / 2 < max(growth.values()) <= (LIMIT_MB + OVERHEAD_MB) * MIB


@contextlib.asynccontextmanager
async def _growth(worker: Process) -> AsyncIterator[dict[int, int]]:
    """By executor, how many bytes its peak was above what it held when it was first seen; filled while this is open."""
    grown: dict[int, int] = {}
    watching = asyncio.create_task(_watch(worker, grown))
    try:
        yield grown
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)


async def _watch(worker: Process, grown: dict[int, int]) -> None:
    idle: dict[int, int] = {}
    while True:
        for pid in faults.executors_of(worker):
            with contextlib.suppress(psutil.NoSuchProcess, FileNotFoundError, ValueError):
                first = idle.setdefault(pid, psutil.Process(pid).memory_info().rss)
                grown[pid] = faults.peak_rss(pid) - first
        await asyncio.sleep(faults.POLL_SECONDS)
