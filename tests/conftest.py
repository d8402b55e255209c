"""Fixtures of all tests: real engines, started once per test process, a tenant of its own for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fleet import TestFleet, open_fleet

pytest_plugins = ["tests.fixtures_postgres", "tests.case_counts"]


@pytest_asyncio.fixture(scope="session")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[TestFleet]:
    """Every process of the fleet on the embedded engines, one worker."""
    directory: Path = tmp_path_factory.mktemp("fleet")
    async with open_fleet(directory) as running:
        yield running
