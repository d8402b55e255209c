"""Transactions, the tenant in them, and real errors of a real Postgres."""

from __future__ import annotations

import asyncio

import pytest

from deploy.embedded.postgres import PostgresServer
from registry import database as database_module
from registry.database import Database, open_database
from schemas.errors import Conflict, ErrorCode, FleetError, Internal, Invalid, NotFound, Unavailable
from schemas.ids import TenantId, new_id
from service.settings import PostgresSettings
from tests.fixtures_postgres import TestDatabase

ACME, OTHER = TenantId("acme"), TenantId("other")
NEW_EVENT = (
    "INSERT INTO extension_event (tenant_id, event_id, topic, event_type, source, envelope, occurred_at) "
    "VALUES ($1, $2, 't', 'T', 's', $3, now())"
)
COUNT_EVENTS = "SELECT count(*) FROM extension_event"


@pytest.fixture
async def filled(database: Database) -> Database:
    """Two tenants with one event each."""
    for tenant in (ACME, OTHER):
        async with database.transaction(tenant) as connection:
            await connection.execute("INSERT INTO tenant (tenant_id, name) VALUES ($1, $1)", tenant)
            await connection.execute(NEW_EVENT, tenant, "1", {"of": tenant})
    return database


async def test_a_transaction_sees_the_rows_of_its_tenant_only(filled: Database) -> None:
    """The statement names no tenant: the policy does."""
    async with filled.transaction(ACME) as connection:
        assert [row["envelope"] for row in await connection.fetch("SELECT envelope FROM extension_event")] == [
            {"of": "acme"}
        ]
    async with filled.unscoped() as connection:
        assert await connection.fetchval(COUNT_EVENTS) == 0
    async with filled.system() as connection:
        assert await connection.fetchval(COUNT_EVENTS) == 2


async def test_nothing_of_a_tenant_is_left_on_the_connection(fresh_database: TestDatabase) -> None:
    """With one connection in the pool, who comes next gets the same session, and sees nothing."""
    async with open_database(PostgresSettings(dsn=fresh_database.dsn("alga_app"), pool_size=1)) as database:
        async with database.transaction(ACME) as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await connection.execute("INSERT INTO tenant (tenant_id, name) VALUES ('acme', 'Acme')")
            await connection.execute(NEW_EVENT, ACME, "1", {})
        with pytest.raises(RuntimeError):
            async with database.transaction(ACME):
                raise RuntimeError
        async with database.unscoped() as connection:
            assert await connection.fetchval("SELECT pg_backend_pid()") == pid
            assert await connection.fetchval("SELECT current_setting('alga.tenant', true)") in (None, "")
            assert await connection.fetchval(COUNT_EVENTS) == 0


@pytest.mark.parametrize("tenant", ["", "a b", "a'; SELECT 1; --", "..", "x" * 65, "a\n", "\u0661"])
async def test_what_is_not_a_tenant_id_never_reaches_the_server(database: Database, tenant: str) -> None:
    """The id is part of the statement's text, so its form is checked each time."""
    with pytest.raises(Invalid, match="tenant must be"):
        async with database.transaction(TenantId(tenant)):
            pass
    async with database.unscoped() as connection:
        with pytest.raises(Invalid, match="tenant must be"):
            await connection.set_tenant(TenantId(tenant))


async def test_a_transaction_is_undone_when_anything_is_raised(filled: Database) -> None:
    """Also when it is our own exception, after a statement that worked."""

    async def write_and_raise() -> None:
        async with filled.transaction(ACME) as connection:
            await connection.execute(NEW_EVENT, ACME, "2", {})
            raise LookupError

    with pytest.raises(LookupError):
        await write_and_raise()
    async with filled.transaction(ACME) as connection:
        assert await connection.fetchval(COUNT_EVENTS) == 1


async def test_a_cancelled_transaction_is_undone_and_its_connection_is_usable(fresh_database: TestDatabase) -> None:
    """Cancelled in the middle of a statement: the row lock is gone, the pool of one serves the next."""
    async with open_database(PostgresSettings(dsn=fresh_database.dsn("alga_app"), pool_size=1)) as database:
        inside = asyncio.Event()

        async def hang() -> None:
            async with database.transaction(ACME) as connection:
                await connection.execute("INSERT INTO tenant (tenant_id, name) VALUES ('acme', 'Acme')")
                inside.set()
                await connection.fetchval("SELECT pg_sleep(60)")

        task = asyncio.create_task(hang())
        await inside.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(5), database.unscoped() as connection:
            assert await connection.fetchval("SELECT count(*) FROM tenant") == 0


async def test_a_savepoint_keeps_what_was_before_it(filled: Database) -> None:
    """One bad row of a batch does not void the transaction."""
    async with filled.transaction(ACME) as connection:
        await connection.execute(NEW_EVENT, ACME, "2", {})
        with pytest.raises(Conflict):
            async with connection.savepoint():
                await connection.execute(NEW_EVENT, ACME, "2", {})
        await connection.execute(NEW_EVENT, ACME, "3", {})
    async with filled.transaction(ACME) as connection:
        assert await connection.fetchval(COUNT_EVENTS) == 3


async def test_an_error_that_was_swallowed_is_not_taken_for_a_commit(filled: Database) -> None:
    """Postgres answers such a COMMIT by rolling back, without an error."""

    async def swallow() -> None:
        async with filled.transaction(ACME) as connection:
            with pytest.raises(Conflict):
                await connection.execute(NEW_EVENT, ACME, "1", {})

    with pytest.raises(Internal, match="was not stored"):
        await swallow()


async def test_one_transaction_works_for_several_tenants_one_by_one(filled: Database) -> None:
    """What routes a batch of events writes for each tenant under that tenant's policy."""
    async with filled.system() as connection:
        await connection.execute("UPDATE extension_event SET matched_at = now()")
        await connection.set_tenant(ACME)
        insert = (
            "INSERT INTO extension_event_delivery (tenant_id, event_id, subscription_id, install_id) "
            "VALUES ($1, '1', $2, $2)"
        )
        assert await connection.execute(insert, ACME, new_id()) == 1
        with pytest.raises(Internal):
            async with connection.savepoint():
                await connection.execute(insert, OTHER, new_id())


async def test_values_come_back_as_they_went_in(filled: Database) -> None:
    """Ids are texts, JSON is values, executemany is one transaction, execute counts rows."""
    ids = [new_id(), new_id()]
    async with filled.transaction(ACME) as connection:
        assert await connection.fetchval("SELECT $1::uuid", ids[0]) == ids[0]
        assert await connection.fetchval("SELECT $1::uuid[]", ids) == ids
        assert await connection.fetchval("SELECT $1::jsonb", {"a": [1, None, "ä"]}) == {"a": [1, None, "ä"]}
        await connection.executemany(NEW_EVENT, [(ACME, name, {}) for name in "abc"])
        assert await connection.execute("UPDATE extension_event SET depth = 1") == 4
        assert await connection.execute("DELETE FROM extension_event WHERE event_id = 'none'") == 0
        assert await connection.fetchrow("SELECT 1 FROM extension_event WHERE event_id = 'none'") is None


@pytest.mark.parametrize(
    ("statement", "arguments", "expected"),
    [
        ("INSERT INTO tenant (tenant_id, name) VALUES ('acme', 'x')", (), Conflict),
        ("INSERT INTO tenant (tenant_id, name) VALUES ($1, 'x')", ("a b",), Invalid),
        ("INSERT INTO tenant (tenant_id, name) VALUES ('new', $1)", ("nul \0",), Invalid),
        ("INSERT INTO tenant (tenant_id, name) VALUES ('new', $1)", ("half \ud800",), Invalid),
        ("SELECT $1::uuid", ("not a uuid",), Invalid),
        ("SELECT $1::jsonb", ({"nul": "\0"},), Invalid),
        ("SELECT $1::bigint", (2**70,), Invalid),
        (NEW_EVENT, (TenantId("other"), "9", {}), Internal),
        ("INSERT INTO extension_registry (publisher, name, publisher_id) VALUES ('p', 'n', $1)", (new_id(),), NotFound),
        ("TRUNCATE extension_event", (), Internal),
        ("SELECT nothing FROM nowhere", (), Internal),
        ("SELECT 1 +", (), Internal),
        ("SET LOCAL statement_timeout = '50ms'; SELECT pg_sleep(5)", (), Unavailable),
    ],
)
async def test_real_errors_have_their_meaning(
    filled: Database, statement: str, arguments: tuple[object, ...], expected: type[FleetError]
) -> None:
    """The seam's table met by the server itself; no word of the server is in the message."""
    with pytest.raises(FleetError) as caught:
        async with filled.transaction(ACME) as connection:
            await connection.execute(statement, *arguments)
    assert type(caught.value) is expected, caught.value.detail
    for word in ("extension_event", "tenant_pkey", "nowhere", "syntax"):
        assert word not in caught.value.message


async def test_a_pool_without_a_free_connection_is_unavailable_in_time(
    fresh_database: TestDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller is told to come back rather than kept waiting."""
    monkeypatch.setattr(database_module, "ACQUIRE_TIMEOUT_SECONDS", 0.1)
    async with open_database(PostgresSettings(dsn=fresh_database.dsn("alga_app"), pool_size=1)) as database:
        async with database.unscoped():
            with pytest.raises(Unavailable, match="no free connection") as caught:
                await database.check()
        assert caught.value.retry_after_seconds
        await database.check()


async def test_a_process_without_a_system_dsn_has_no_access_across_tenants(fresh_database: TestDatabase) -> None:
    """The gateway never holds it."""
    async with open_database(PostgresSettings(dsn=fresh_database.dsn("alga_app"))) as database:
        with pytest.raises(Internal, match="no access across tenants"):
            async with database.system():
                pass


async def test_a_killed_server_is_unavailable_and_works_again_when_it_is_back(
    postgres_server: PostgresServer, database: Database
) -> None:
    """In the middle of a transaction, between transactions, and at the start of a process."""

    async def be_interrupted() -> None:
        async with database.unscoped() as connection:
            await postgres_server.server.kill()
            await connection.fetchval("SELECT 1")

    settings = PostgresSettings(dsn=postgres_server.dsn("alga_app", "test_absent"))
    try:
        with pytest.raises(Unavailable):
            await be_interrupted()
        with pytest.raises(Unavailable) as caught:
            await database.check()
        assert caught.value.code is ErrorCode.DEPENDENCY_UNAVAILABLE
        with pytest.raises(Unavailable):
            async with open_database(settings):
                pass
    finally:
        await postgres_server.server.start()
    await database.check()
