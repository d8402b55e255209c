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
BUSY = "alga_slots_busy"


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
    async with asyncio.timeout(WAIT_SECONDS):
        while await metric(worker, BUSY) < count:
            await asyncio.sleep(POLL_SECONDS)


async def idle(worker: Process) -> None:
    """Returns when the worker runs nothing."""
    async with asyncio.timeout(WAIT_SECONDS):
        while await metric(worker, BUSY) > 0:
            await asyncio.sleep(POLL_SECONDS)


async def metric(process: Process, series: str) -> float:
    """The value of one series as `/metrics` spells it, labels and all; 0 for one that is not there yet."""
    async with aiohttp.ClientSession() as session, session.get(f"{process.probe_url}/metrics") as answer:
        page = await answer.text()
    found = re.search(rf"^{re.escape(series)} ([0-9.e+]+)$", page, re.MULTILINE)
    return 0.0 if found is None else float(found[1])


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


def _cpu_of(pids: frozenset[int]) -> dict[int, float]:
    spent: dict[int, float] = {}
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = psutil.Process(pid).cpu_times()
            spent[pid] = times.user + times.system
    return spent
