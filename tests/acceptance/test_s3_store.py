"""The fleet on S3: published there by the registry, fetched from there by gateway and worker."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.fleet import TestFleet
from tests.fleet_on_s3 import open_fleet_on_s3
from tests.guests import build


@pytest_asyncio.fixture(scope="module")
async def on_s3() -> AsyncIterator[TestFleet]:
    with tempfile.TemporaryDirectory(prefix="alga-on-s3-") as directory:
        async with open_fleet_on_s3(Path(directory)) as (running, _):
            yield running


async def test_a_fleet_on_s3_publishes_installs_and_calls(on_s3: TestFleet) -> None:
    """Nothing is written to the directory store; a worker that never saw the bundle fetches it and answers."""
    component = build.component("echo")
    install = await on_s3.install(await on_s3.tenant(), await on_s3.publish(component))
    (worker,) = on_s3.fleet.workers
    for _ in range(2):
        answer = await on_s3.call(install, method="POST", body=b"hello")
        assert (answer.status, answer.body) == (200, b"hello")
        await worker.server.restart()

    assert not [path for path in on_s3.fleet.stack.bundle_directory.rglob("*") if path.is_file()]
