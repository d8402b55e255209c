"""One `alga dev` for all acceptance tests that type commands; it watches a directory that begins empty."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.dev_process import Dev, start_dev

PUBLISHER = "Alga Examples"


@dataclass(frozen=True)
class Watched:
    """The fleet and the directory it watches."""

    dev: Dev
    project: Path


@pytest.fixture(scope="session")
def watched() -> Iterator[Watched]:
    """Not below pytest's own directory, for the reason given in `tests/fixtures_postgres.py`."""
    with tempfile.TemporaryDirectory(prefix="alga-test-dev-", ignore_cleanup_errors=True) as directory:
        project = Path(directory) / "watched"
        project.mkdir()
        with start_dev(Path(directory) / "data", "--watch", str(project)) as dev:
            yield Watched(dev, project)


@pytest.fixture(scope="session")
def dev(watched: Watched) -> Dev:
    return watched.dev
