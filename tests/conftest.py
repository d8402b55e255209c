"""Fixtures of all tests: real engines, started once per test process, a tenant of its own for each test."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.fleet import TestFleet, open_fleet

pytest_plugins = ["tests.fixtures_postgres", "tests.case_counts"]


class Directories:
    """In place of pytest's own: another pytest that starts takes away the access that Postgres needs to those."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def mktemp(self, name: str) -> Path:
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self._root))


@pytest.fixture(scope="session")
def tmp_path_factory() -> Iterator[Directories]:
    with tempfile.TemporaryDirectory(prefix="alga-tests-", ignore_cleanup_errors=True) as directory:
        yield Directories(Path(directory))


@pytest.fixture
def tmp_path(tmp_path_factory: Directories) -> Path:
    return tmp_path_factory.mktemp("test")


@pytest_asyncio.fixture(scope="session")
async def fleet() -> AsyncIterator[TestFleet]:
    """Every process of the fleet on the embedded engines, one worker."""
    with tempfile.TemporaryDirectory(prefix="alga-fleet-") as directory:
        async with open_fleet(Path(directory)) as running:
            yield running
