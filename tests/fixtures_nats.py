"""A pytest plugin: a real NATS server for each test process, with the roles' own users."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deploy.embedded import directory, nats
from deploy.embedded.nats import NatsServer


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def nats_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NatsServer]:
    """The server of this test process."""
    with directory.hold(tmp_path_factory.mktemp("nats")) as data:
        async with nats.start(data) as server:
            yield server
