"""Q5: a call held up on its way past its deadline; a worker's clock five seconds off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from schemas import codec, subjects
from schemas.errors import ErrorCode
from schemas.invocation import ExecuteRequest, Finished, Refused, Reply
from tests import worker_stack
from tests.worker_stack import Bench

pytestmark = pytest.mark.case("Q5")

SKEW_MS = 5_000
CALLS = 20


@pytest.fixture(scope="module")
async def bench() -> AsyncIterator[Bench]:
    async with worker_stack.start_in_temporary_directory() as started:
        yield started


@pytest.mark.parametrize("skew_ms", [0, SKEW_MS, -SKEW_MS])
async def test_Q5_what_arrives_after_its_deadline_is_dropped_unexecuted_and_counted(bench: Bench, skew_ms: int) -> None:
    """The way took longer than what was left, however the sender's clock is set."""
    async with bench.worker() as (_, metrics):
        install = await bench.install("echo")
        for _ in range(CALLS):
            on_time = _stamped(bench.request(install, sender="front"), skew_ms, held_ms=0)
            late = _stamped(bench.request(install, timeout_ms=300, sender="front"), skew_ms, held_ms=400)

            assert isinstance(await _say(bench, install.shard, on_time), Finished)
            refused = await _say(bench, install.shard, late)
            assert isinstance(refused, Refused)
            assert refused.code is ErrorCode.DEADLINE_EXCEEDED
        page = metrics.render()

    assert f"alga_late_total {float(CALLS)}".encode() in page
    assert f'alga_invocations_total{{code="ok",trigger="http"}} {float(CALLS)}'.encode() in page


@pytest.mark.parametrize("skew_ms", [SKEW_MS, -SKEW_MS])
async def test_Q5_skew_drops_no_live_call(bench: Bench, skew_ms: int) -> None:
    """Deadlines shorter than the skew: all calls run."""
    async with bench.worker() as (_, metrics):
        install = await bench.install("echo")
        requests = [
            _stamped(bench.request(install, timeout_ms=1_000, sender="front"), skew_ms, held_ms=0) for _ in range(CALLS)
        ]
        replies = [await _say(bench, install.shard, _sent_now(request, skew_ms)) for request in requests]

        assert all(isinstance(reply, Finished) for reply in replies)
        assert b"alga_late_total 0.0" in metrics.render()


async def test_Q5_a_call_that_waits_here_past_its_deadline_is_not_executed(bench: Bench) -> None:
    """Waiting for a turn counts too: refused when its turn cannot come, never run late."""
    async with bench.worker(slots=1, executors=1) as (worker, _):
        looping = await bench.install("loop", limits=worker_stack.Limits(timeout_ms=1_500))
        install = await bench.install("echo")
        loop = asyncio.create_task(bench.call(looping))
        while worker.turns.running == 0:
            await asyncio.sleep(0.005)
        started = time.monotonic()
        outcome = await bench.call(install, timeout_ms=400)
        waited = time.monotonic() - started
        await loop

    assert not outcome.executed
    assert outcome.code is ErrorCode.OVERLOADED
    assert waited < 0.4


def _stamped(request: ExecuteRequest, skew_ms: int, *, held_ms: int) -> ExecuteRequest:
    """As a front with another clock sent it, so long ago."""
    return replace(request, sent_unix_ms=int(time.time() * 1000) + skew_ms - held_ms)


def _sent_now(request: ExecuteRequest, skew_ms: int) -> ExecuteRequest:
    return _stamped(request, skew_ms, held_ms=0)


async def _say(bench: Bench, shard: int, request: ExecuteRequest) -> Reply:
    async with bench.messaging.conversation(subjects.execute(shard), codec.encode(request)) as conversation:
        reply: Reply = codec.decode(Reply, await conversation.next(3.0))
        return reply
