"""Scenario `http`: tenants call two extensions through two workers while workers, NATS and Postgres fail.

Owns the order: install, load with faults, quiet, then the accounts. What a call may answer is `load.py`'s, what the
tables must say `books.py`'s, what "flat" means `health.py`'s.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections import Counter
from pathlib import Path

from deploy.embedded.processes import Options
from tests.fleet import UNMETERED, TestFleet, open_fleet
from tests.soak import books, load
from tests.soak.faults import Faults
from tests.soak.health import Health
from tests.soak.load import Load

WORKERS, SLOTS = 2, 4


async def run(minutes: float) -> list[str]:
    """What was broken, in sentences; the counts are printed."""
    with tempfile.TemporaryDirectory(prefix="alga-soak-", ignore_cleanup_errors=True) as directory:
        async with open_fleet(
            Path(directory), Options(workers=WORKERS, slots=SLOTS, extra={"gateway": UNMETERED})
        ) as fleet:
            watched = Health(fleet)
            broken = await _run(fleet, watched, seconds=minutes * 60)
        broken += await watched.leftovers()
    return broken


async def _run(fleet: TestFleet, watched: Health, *, seconds: float) -> list[str]:
    installs = await load.install(fleet)
    made, faults = Load(fleet, installs), Faults(fleet)
    print(f"{len(installs)} installs of {load.TENANTS} tenants; {seconds:.0f} s of load begin", flush=True)
    ending = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        sampling = group.create_task(watched.run(), name="health")
        calling = group.create_task(made.run(ending), name="load")
        await faults.run(seconds=seconds)
        ending.set()
        await calling
        broken = await _afterwards(fleet, made)
        sampling.cancel()
    _print(made, faults)
    broken += load.judge(made, faults)
    rows = await books.settled_rows(fleet)
    broken += books.check_log(rows, made, faults)
    broken += await books.check_usage(fleet, rows)
    broken += await books.check_effects(fleet, made)
    print("\n".join(watched.lines()))
    return broken + watched.judge()


async def _afterwards(fleet: TestFleet, made: Load) -> list[str]:
    """With every fault over, every extension of every tenant answers."""
    started = time.monotonic()
    calls = [await made.call("echo" if install.is_echo else "write", install) for install in made.installs]
    failed = [call for call in calls if call.status != 200]
    print(f"afterwards: {len(calls) - len(failed)} of {len(calls)} calls good in {time.monotonic() - started:.1f} s")
    return [f"afterwards {call.kind} answers {call.answer}" for call in failed]


def _print(made: Load, faults: Faults) -> None:
    for fault in faults.done:
        print(f"fault {fault.at - made.began:6.1f} s  {fault.what}, over after {fault.until - fault.at:.1f} s")
    counted = Counter(f"{call.kind} {call.answer}" for call in made.calls)
    print(f"calls {len(made.calls)}, {len(made.calls) / made.seconds:.1f} a second, lost {len(made.lost)}")
    for name, count in sorted(counted.items()):
        print(f"  {count:7} {name}")
