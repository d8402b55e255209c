"""A pytest plugin: a real Postgres for each test process, a migrated database for each test or module.

The server is started when the first test asks for it, the migrations run once, and every database is a copy of that
template (about 50 ms).
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from deploy.embedded import directory, postgres
from deploy.embedded.postgres import SUPERUSER, PostgresServer
from registry import migrate
from registry.database import Database, open_database
from service.settings import PostgresSettings

TEMPLATE = "alga_template"
POOL_SIZE = 8
_numbers = itertools.count(1)


@dataclass(frozen=True)
class TestDatabase:
    """One database and how to reach it as each role."""

    __test__ = False

    server: PostgresServer
    name: str

    @property
    def admin_dsn(self) -> str:
        """As the superuser, whom row security does not bind: to arrange, and to look at what really is there."""
        return self.server.dsn(SUPERUSER, self.name)

    def dsn(self, role: str) -> str:
        return self.server.dsn(role, self.name)

    @property
    def settings(self) -> PostgresSettings:
        """For a process that may work across tenants."""
        return PostgresSettings(dsn=self.dsn(migrate.APP), system_dsn=self.dsn(migrate.SYSTEM), pool_size=POOL_SIZE)

    @asynccontextmanager
    async def session(self, role: str = SUPERUSER) -> AsyncIterator[asyncpg.Connection]:
        """A plain session as a role."""
        connection = await asyncpg.connect(self.dsn(role))
        try:
            yield connection
        finally:
            await connection.close()


async def apply_migrations(database: TestDatabase) -> None:
    """With the passwords that `database.dsn(role)` uses."""
    await migrate.migrate(
        database.admin_dsn,
        app_password=database.server.role_password(migrate.APP),
        system_password=database.server.role_password(migrate.SYSTEM),
    )


@asynccontextmanager
async def new_database(server: PostgresServer, *, template: str = TEMPLATE) -> AsyncIterator[TestDatabase]:
    """A database of its own, dropped at the end with whoever is still connected."""
    database = TestDatabase(server, f"test_{os.getpid()}_{next(_numbers)}")
    await _administrate(server, f"CREATE DATABASE {database.name} TEMPLATE {template}")
    try:
        yield database
    finally:
        await _administrate(server, f"DROP DATABASE {database.name} WITH (FORCE)")


async def _administrate(server: PostgresServer, statement: str) -> None:
    """In a session of its own: a test may have restarted the server meanwhile."""
    admin = await asyncpg.connect(server.dsn())
    try:
        await admin.execute(statement)
    finally:
        await admin.close()


@pytest.fixture(scope="session")
def postgres_directory() -> Iterator[Path]:
    """Not below pytest's own directory: every other pytest that starts takes away, with a chmod, the right of the
    user Postgres runs as to pass through it."""
    with tempfile.TemporaryDirectory(prefix="alga-test-postgres-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(postgres_directory: Path) -> AsyncIterator[PostgresServer]:
    """The server of this test process, with the template that databases are copied from."""
    with directory.hold(postgres_directory) as data:
        async with postgres.start(data, print) as server:
            await _make_template(server)
            yield server


async def _make_template(server: PostgresServer) -> None:
    # Creating and dropping databases is mostly waiting for the disk; a killed server loses nothing by this.
    await _administrate(server, "ALTER SYSTEM SET fsync = off")
    await _administrate(server, "SELECT pg_reload_conf()")
    await _administrate(server, f"CREATE DATABASE {TEMPLATE}")
    await apply_migrations(TestDatabase(server, TEMPLATE))


@pytest_asyncio.fixture
async def fresh_database(postgres_server: PostgresServer) -> AsyncIterator[TestDatabase]:
    """A migrated, empty database for one test."""
    async with new_database(postgres_server) as database:
        yield database


@pytest_asyncio.fixture
async def database(fresh_database: TestDatabase) -> AsyncIterator[Database]:
    """That database, opened as a process opens it."""
    async with open_database(fresh_database.settings) as opened:
        yield opened
