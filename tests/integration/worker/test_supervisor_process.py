"""The worker as the process that operators run: its environment, its signals, its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from schemas.errors import ErrorCode
from schemas.invocation import Limits
from tests import worker_stack
from tests.worker_stack import Bench

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
async def bench() -> AsyncIterator[Bench]:
    async with worker_stack.start_in_temporary_directory() as started:
        yield started


async def test_sigterm_finishes_what_runs_and_exits_cleanly(bench: Bench) -> None:
    """Drain: the running call is answered, the key is taken away, the exit code is 0."""
    async with _worker(bench) as process:
        looping = await bench.install("loop", limits=Limits(timeout_ms=900))
        call = asyncio.create_task(bench.call(looping))
        await asyncio.sleep(0.3)
        process.send_signal(signal.SIGTERM)
        outcome = await call
        code = await asyncio.wait_for(process.wait(), 10)

    assert outcome.code is ErrorCode.DEADLINE_EXCEEDED
    assert code == 0
    assert bench.dispatcher.live_workers() == []


async def test_a_killed_worker_takes_zygote_and_executors_with_it(bench: Bench) -> None:
    """Whatever happens to the supervisor, no process with a guest in it stays behind."""
    async with _worker(bench) as process:
        assert (await bench.call(await bench.install("echo"))).response is not None
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 3
        process.kill()
        await process.wait()
        _, alive = psutil.wait_procs(children, timeout=3)

    assert alive == []


async def test_an_executor_sees_no_secret_of_the_worker(bench: Bench) -> None:
    """Environment and command lines of zygote and executors are empty of ours."""
    async with _worker(bench) as process:
        assert (await bench.call(await bench.install("echo"))).response is not None
        children = psutil.Process(process.pid).children(recursive=True)
        environments = [Path(f"/proc/{child.pid}/environ").read_bytes() for child in children]

    assert not any(b"ALGA" in environment or b"nats" in environment for environment in environments)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"ALGA_WORKER_SLOTZ": "4"}, "ALGA_WORKER_SLOTZ"),
        ({"ALGA_WORKER_SLOTS": "64"}, "ALGA_WORKER_SLOTS"),
        ({"ALGA_WORKER_SHARDS": "1,x"}, "ALGA_WORKER_SHARDS"),
        ({"ALGA_TICKET_PUBLIC_KEYS_FILE": "/nowhere"}, "ALGA_TICKET_PUBLIC_KEYS_FILE"),
        ({"ALGA_BUILD_PUBLIC_KEYS_FILE": ""}, "ALGA_BUILD_PUBLIC_KEYS_FILE"),
        ({"ALGA_WORKER_EGRESS_ALLOW_ADDRESSES": "10.0.0.1/8"}, "ALGA_WORKER_EGRESS_ALLOW_ADDRESSES"),
        ({"ALGA_WORKER_CACHE_DIRECTORY": "/proc/nowhere"}, "ALGA_WORKER_CACHE_DIRECTORY"),
    ],
)
async def test_a_wrong_setting_stops_it_with_one_line_that_names_it(
    bench: Bench, changes: dict[str, str], named: str
) -> None:
    """O9: refuses to start, exit code 2."""
    process = await _start({**bench.environment(), **changes})
    _, errors = await asyncio.wait_for(process.communicate(), 20)

    assert process.returncode == 2
    last = [line for line in errors.decode().splitlines() if not line.startswith("{")]
    assert len(last) == 1
    assert named in last[0]


async def test_only_the_shards_of_the_setting_are_served(bench: Bench) -> None:
    """ALGA_WORKER_SHARDS: a tenant of another shard finds no worker here (Q1)."""
    here, there = await bench.install("echo"), await bench.install("echo")
    while there.shard == here.shard:
        there = await bench.install("echo")
    async with _worker(bench, ALGA_WORKER_SHARDS=str(here.shard)):
        served, refused = await bench.call(here), await bench.call(there)

    assert served.response is not None
    assert refused.code is ErrorCode.NO_WORKER


@contextlib.asynccontextmanager
async def _worker(bench: Bench, **changes: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await _start({**bench.environment(), **changes})
    try:
        async with asyncio.timeout(15):
            while not bench.dispatcher.live_workers():
                assert process.returncode is None
                await asyncio.sleep(0.05)
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        async with asyncio.timeout(10):
            while bench.dispatcher.live_workers():
                await asyncio.sleep(0.05)


async def _start(settings: dict[str, str]) -> asyncio.subprocess.Process:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith("ALGA_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "worker",
        cwd=ROOT,
        env={**inherited, **settings},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
