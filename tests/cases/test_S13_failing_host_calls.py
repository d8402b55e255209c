"""S13: host calls that fail, thousands of times or while they wait, are one fixed value each and cost nothing else.

That our own code raising CancelledError, KeyboardInterrupt or SystemExit does not cross into wasm needs an executor
whose host functions can be made to fail: `tests/integration/worker/test_executor_walls.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from schemas.invocation import MAX_HOST_CALLS
from tests import attacks, faults
from tests.fleet import TestFleet
from worker.supervisor.egress_rules import MAX_CALLS as MAX_FETCHES

pytestmark = [pytest.mark.case("S13"), pytest.mark.xdist_group("one slot")]

BAD_CALLS: dict[str, tuple[list[Any], str, int]] = {
    "storage": (["storage", "get", ["../no namespace", "key"]], "internal", MAX_HOST_CALLS // 2),
    "storage-v2": (["storage-v2", "get", ["../no namespace", "key"]], "invalid", MAX_HOST_CALLS // 2),
    "http": (["http", "fetch", [{"method": "GET", "url": "no url", "headers": []}]], "invalid-url", MAX_FETCHES),
    "secrets": (["secrets", "get", ["../no secret"]], "missing", MAX_HOST_CALLS // 2),
}
"""A call with bad arguments, the word the guest gets for it, and how often one invocation may make it."""
PYTHON = ("Traceback", "Error(", "Exception", "asyncpg", "worker/", ".py", "object at 0x")


@pytest.mark.parametrize("interface", BAD_CALLS)
async def test_S13_bad_arguments_are_one_fixed_error_however_often(
    one_slot: TestFleet, count: Callable[[int], int], interface: str
) -> None:
    """Each of 10,000 calls gets the same value, no word of Python in it, by an executor that lives on."""
    attack = await attacks.prepare(
        one_slot,
        "ask-qjs",
        limits={"timeout_ms": 30_000},
        capabilities=["cap:storage.kv", "cap:http.fetch", "cap:secrets.get"],
    )
    (worker,) = one_slot.fleet.workers
    await attack.call()
    before = await faults.settled_executors(worker)
    ask, word, at_once = BAD_CALLS[interface]
    left, seen = count(10_000) // len(BAD_CALLS), set()
    while left > 0:
        turns = min(left, at_once)
        script = json.dumps([{"repeat": turns, "steps": [{"ask": ask}]}]).encode()
        answer = await attack.call("/script", method="POST", body=script)
        results = answer.json()["results"]
        assert len(results) == turns
        seen |= {json.dumps(result, sort_keys=True) for result in results}
        left -= turns

    (only,) = seen
    error = json.loads(only)["error"]
    assert (error["code"] if isinstance(error, dict) else error) == word
    assert not [text for text in PYTHON if text in only]
    assert faults.executors_of(worker) == before
    await attack.runs()


async def test_S13_a_caller_who_leaves_while_a_host_call_waits_hurts_nobody(one_slot: TestFleet) -> None:
    """The call is cancelled in the middle of host calls, again and again: the next tenant's calls are clean."""
    attack = await attacks.prepare(one_slot, "ask-qjs", capabilities=["cap:storage.kv"], limits={"timeout_ms": 5_000})
    (worker,) = one_slot.fleet.workers
    await attack.call()
    script = json.dumps([{"repeat": 1_000_000, "steps": [{"ask": ["storage-v2", "get-usage", []]}]}]).encode()
    for _ in range(10):
        await faults.idle(worker)
        leaving = asyncio.create_task(one_slot.call(attack.bad, "/script", method="POST", body=script))
        await faults.running(worker)
        leaving.cancel()
        await asyncio.gather(leaving, return_exceptions=True)
        after = await one_slot.call(attack.good, method="POST", body=b"clean")
        assert (after.status, after.body) == (200, b"clean")
