"""Fixtures of all tests: real engines, started once per test process, a tenant of its own for each test."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.fleet import TestFleet, open_fleet

pytest_plugins = ["tests.fixtures_postgres", "tests.case_counts"]


@pytest_asyncio.fixture(scope="session")
async def fleet() -> AsyncIterator[TestFleet]:
    """Every process of the fleet on the embedded engines, one worker.

    Not below pytest's own temporary directory: another pytest that starts takes away the access Postgres needs there.
    """
    with tempfile.TemporaryDirectory(prefix="alga-fleet-") as directory:
        async with open_fleet(Path(directory)) as running:
            yield running
