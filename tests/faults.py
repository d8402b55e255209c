"""Faults as tests make them, and the processes they are made to: a worker's executors, and who of them runs a call.

The servers and processes of ours are killed and restarted by their own handles (`deploy/embedded/server.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from pathlib import Path

import aiohttp
import psutil

from deploy.embedded.processes import Process

WAIT_SECONDS = 10.0
POLL_SECONDS = 0.01
BURNING_SECONDS = 0.05
"""CPU time between two looks at an executor that tell it from one that only answered a frame."""
_BUSY = re.compile(rb"^alga_slots_busy ([0-9.]+)$", re.MULTILINE)


def executors_of(worker: Process) -> frozenset[int]:
    """The pids of the executors of a worker: children of its only child, the zygote."""
    executors: set[int] = set()
    for zygote in psutil.Process(worker.server.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            executors |= {executor.pid for executor in zygote.children()}
    return frozenset(executors)


async def settled_executors(worker: Process) -> frozenset[int]:
    """The executors once none has come or gone for a while: clean ones are forked behind the first call of a tenant."""
    seen, since = executors_of(worker), 0
    async with asyncio.timeout(WAIT_SECONDS):
        while since < 30:
            await asyncio.sleep(POLL_SECONDS)
            now = executors_of(worker)
            seen, since = now, since + 1 if now == seen else 0
    return seen


async def running(worker: Process, *, count: int = 1) -> None:
    """Returns when the worker runs at least this many calls."""
    async with asyncio.timeout(WAIT_SECONDS), aiohttp.ClientSession() as session:
        while await _busy(session, worker) < count:
            await asyncio.sleep(POLL_SECONDS)


async def burning_executor(worker: Process) -> int:
    """The pid of an executor that burns CPU now: one in the middle of a call of a guest that loops."""
    before = _cpu_of(executors_of(worker))
    async with asyncio.timeout(WAIT_SECONDS):
        while True:
            await asyncio.sleep(POLL_SECONDS)
            for pid, spent in _cpu_of(executors_of(worker)).items():
                if spent - before.setdefault(pid, spent) >= BURNING_SECONDS:
                    return pid


def kill(pid: int) -> None:
    """SIGKILL: nothing is flushed, nothing said."""
    os.kill(pid, signal.SIGKILL)


def peak_rss(pid: int) -> int:
    """Bytes, the most the process ever had resident."""
    (line,) = [text for text in Path(f"/proc/{pid}/status").read_text().splitlines() if text.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


async def _busy(session: aiohttp.ClientSession, worker: Process) -> float:
    async with session.get(f"{worker.probe_url}/metrics") as answer:
        found = _BUSY.search(await answer.read())
    assert found is not None, "the worker's metrics do not show its busy slots"
    return float(found[1])


def _cpu_of(pids: frozenset[int]) -> dict[int, float]:
    spent: dict[int, float] = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            spent[pid] = times.user + times.system
    return spent
