"""A fleet whose only worker has one slot: there, the next call takes the very slot the last one left."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from deploy.embedded.processes import Options
from tests.fleet import UNMETERED, TestFleet, open_fleet


@pytest_asyncio.fixture(scope="session")
async def one_slot() -> AsyncIterator[TestFleet]:
    with tempfile.TemporaryDirectory(prefix="alga-one-slot-") as directory:
        async with open_fleet(Path(directory), Options(slots=1, extra={"gateway": UNMETERED})) as running:
            yield running
