"""The engines of a fleet on one machine: NATS, Postgres and a directory for bundles, under one data directory.

Owns what belongs to a stack and the order of starting and stopping. `alga dev` and the tests start it; S3 is not
part of it (`s3.py`, for tests of the other bundle store).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.embedded import directory, nats, postgres
from deploy.embedded.nats import NatsServer
from deploy.embedded.postgres import SUPERUSER, PostgresServer
from deploy.nats.accounts import Role


@dataclass(frozen=True)
class Stack:
    """Addresses of a running stack. `nats` and `postgres` are the servers, for those who restart or break them."""

    data_directory: Path
    bundle_directory: Path
    nats: NatsServer
    postgres: PostgresServer

    @property
    def nats_url(self) -> str:
        return self.nats.url

    @property
    def nats_monitor_url(self) -> str:
        return self.nats.monitor_url

    def nats_url_for(self, role: Role | str) -> str:
        """With the credentials of `role`, whose inbox prefix is `deploy.nats.accounts.inbox_prefix(role)`."""
        return self.nats.url_for(role)

    def postgres_dsn(self, role: str = SUPERUSER, database: str = "postgres", *, password: str | None = None) -> str:
        """By default the superuser's. See `postgres_password` for other roles."""
        return self.postgres.dsn(role, database, password=password)

    def postgres_password(self, role: str) -> str:
        """The password to give to login `role` when creating it, which `postgres_dsn(role, …)` then uses."""
        return self.postgres.role_password(role)


def _silent(_line: str) -> None:
    return None


@asynccontextmanager
async def start(data_directory: Path, *, on_progress: Callable[[str], None] = _silent) -> AsyncIterator[Stack]:
    """Start everything; data of earlier runs is kept. `on_progress` gets sentences for a person.

    Raises Conflict when a living process uses the directory, Unavailable when a server does not come up.
    """
    with directory.hold(data_directory) as data:
        data.bundles.mkdir(mode=0o700, exist_ok=True)
        on_progress("starting NATS")
        async with nats.start(data) as nats_server:
            on_progress("starting Postgres")
            async with postgres.start(data, on_progress) as postgres_server:
                yield Stack(data.root, data.bundles, nats_server, postgres_server)
