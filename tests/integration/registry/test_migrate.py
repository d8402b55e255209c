"""Migrations on a real Postgres: once, again, by two at a time, by an owner who is no superuser; the first key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from deploy.embedded.postgres import PostgresServer
from registry import migrate
from registry.database import open_database
from registry.keys import Keys
from schemas.errors import Conflict, FleetError, Internal, Invalid, Unavailable
from service.settings import PostgresSettings
from tests import row_samples
from tests.fixtures_postgres import TestDatabase, apply_migrations, new_database

NAMED_TABLES = [
    "ext_storage_records",
    "ext_storage_schemas",
    "ext_storage_staged",
    "ext_storage_usage",
    "extension_api_endpoint",
    "extension_audit_logs",
    "extension_bundle",
    "extension_cwasm",
    "extension_event",
    "extension_event_attempt",
    "extension_event_delivery",
    "extension_event_subscription",
    "extension_execution_log",
    "extension_idempotency",
    "extension_publisher",
    "extension_publisher_key",
    "extension_quota_lease",
    "extension_quota_limit",
    "extension_quota_usage",
    "extension_registry",
    "extension_version",
    "service_credential",
    "tenant",
    "tenant_api_key",
    "tenant_extension_consent",
    "tenant_extension_install",
    "tenant_extension_install_config",
    "tenant_extension_install_secrets",
    "tenant_extension_schedule",
]
"""Those of compat.md section 10: operators' reports query them by name."""


@pytest.fixture
async def empty(postgres_server: PostgresServer) -> AsyncIterator[TestDatabase]:
    async with new_database(postgres_server, template="template0") as database:
        yield database


async def test_an_empty_database_gets_every_table_and_serves(empty: TestDatabase) -> None:
    """After one run a process opens it, start checks included."""
    await apply_migrations(empty)

    async with empty.session() as admin:
        assert sorted((await row_samples.read_catalogue(admin)).columns) == sorted(NAMED_TABLES)
    async with open_database(empty.settings) as database:
        await database.check()


async def test_migrating_again_changes_nothing_and_keeps_rows(fresh_database: TestDatabase) -> None:
    """Every deployment runs it."""
    async with fresh_database.session() as admin:
        await admin.execute("INSERT INTO tenant (tenant_id, name) VALUES ('acme', 'Acme')")
        before = await admin.fetch("SELECT * FROM _pogo_migration ORDER BY migration_id")

        await apply_migrations(fresh_database)

        assert await admin.fetch("SELECT * FROM _pogo_migration ORDER BY migration_id") == before
        assert await admin.fetchval("SELECT count(*) FROM tenant") == 1
    assert len(before) == len(list(migrate.DIRECTORY.glob("*.sql")))


async def test_two_that_migrate_at_once_do_it_one_after_the_other(empty: TestDatabase) -> None:
    """Two replicas that start with an init step each."""
    await asyncio.gather(migrate.migrate(empty.admin_dsn), migrate.migrate(empty.admin_dsn))

    async with open_database(empty.settings) as database:
        await database.check()


async def test_an_owner_who_is_no_superuser_can_migrate(postgres_server: PostgresServer) -> None:
    """A managed Postgres gives no superuser; CREATEROLE and BYPASSRLS are enough."""
    async with new_database(postgres_server, template="template0") as database, database.session() as admin:
        owner, password = f"owner_of_{database.name}", "a-password-of-a-test"
        await admin.execute(f"CREATE ROLE {owner} LOGIN CREATEROLE BYPASSRLS PASSWORD '{password}'")
        try:
            await admin.execute(f"GRANT alga_owner, alga_lookup TO {owner} WITH SET TRUE, INHERIT FALSE")
            await admin.execute(f"ALTER DATABASE {database.name} OWNER TO {owner}")
            dsn = postgres_server.dsn(owner, database.name, password=password)

            await migrate.migrate(dsn)
            key = await migrate.bootstrap(dsn)

            async with open_database(database.settings) as opened:
                assert await Keys(opened).find(key)
        finally:
            await admin.execute(f"ALTER DATABASE {database.name} OWNER TO postgres")
            await admin.execute(f"DROP OWNED BY {owner}; DROP ROLE {owner}")


async def test_a_migration_that_fails_leaves_no_trace_and_is_named(
    fresh_database: TestDatabase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of a migration would be worse than none."""
    for file in migrate.DIRECTORY.glob("*.sql"):
        (tmp_path / file.name).write_text(file.read_text())
    broken = (
        "--Breaks.\n-- depends: 0006_pre_access\n\n-- migrate: apply\n"
        "CREATE TABLE half (id uuid);\nSELECT nothing FROM nowhere;\n-- migrate: rollback\n"
    )
    (tmp_path / "9999_pre_breaks.sql").write_text(broken)
    monkeypatch.setattr(migrate, "DIRECTORY", tmp_path)

    with pytest.raises(Internal, match="9999_pre_breaks") as caught:
        await apply_migrations(fresh_database)

    assert "nowhere" in (caught.value.detail or "")
    async with fresh_database.session() as admin:
        assert await admin.fetchval("SELECT to_regclass('half')") is None
    async with open_database(fresh_database.settings) as database:
        await database.check()


async def test_passwords_are_set_and_rotated_and_never_sent(
    postgres_server: PostgresServer, fresh_database: TestDatabase
) -> None:
    """Running again with another password closes the old one."""
    old, new = postgres_server.role_password(migrate.APP), "another'password$"
    try:
        await migrate.migrate(fresh_database.admin_dsn, app_password=new)

        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(fresh_database.dsn(migrate.APP))
        session = await asyncpg.connect(fresh_database.dsn(migrate.APP), password=new)
        await session.close()
    finally:
        await migrate.migrate(fresh_database.admin_dsn, app_password=old)
    session = await asyncpg.connect(fresh_database.dsn(migrate.APP))
    await session.close()


def test_the_verifier_is_the_one_of_the_standard() -> None:
    """RFC 7677's example: what the server compares an exchange with."""
    salt = b"[m\x99h\x9d\x125\x8e\xec\xa0K\x14\x126\xfa\x81"
    assert migrate.scram_verifier("pencil", salt=salt) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
        "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


@pytest.mark.parametrize("password", ["", "short", "with space in it", "line\nbreak-in-it", "x" * 257, "ümlaut-ümlaut"])
async def test_a_password_that_some_client_would_not_send_alike_is_refused(
    fresh_database: TestDatabase, password: str
) -> None:
    """Before anything is changed."""
    with pytest.raises(Invalid, match="the password of alga_app"):
        await migrate.migrate(fresh_database.admin_dsn, app_password=password)


async def test_the_first_operators_key_is_made_once(fresh_database: TestDatabase) -> None:
    """The second time is a conflict, also after the key was revoked, and also for two at once."""
    made = await asyncio.gather(
        migrate.bootstrap(fresh_database.admin_dsn), migrate.bootstrap(fresh_database.admin_dsn), return_exceptions=True
    )
    texts = [text for text in made if isinstance(text, str)]
    assert [type(error) for error in made if isinstance(error, FleetError)] == [Conflict]

    async with open_database(fresh_database.settings) as database:
        row = await Keys(database).find(texts[0])
        assert row
        assert (row.tenant, row.permissions) == (None, frozenset({"operator"}))
    async with fresh_database.session() as admin:
        await admin.execute("UPDATE service_credential SET revoked_at = now()")
    with pytest.raises(Conflict):
        await migrate.bootstrap(fresh_database.admin_dsn)


async def test_bootstrap_before_the_migrations_says_so(empty: TestDatabase) -> None:
    """A database that has no tables yet is an everyday mistake, not a bug."""
    with pytest.raises(Conflict, match="alga migrate"):
        await migrate.bootstrap(empty.admin_dsn)


async def test_a_process_refuses_a_database_that_is_behind_and_names_the_migration(
    empty: TestDatabase, fresh_database: TestDatabase
) -> None:
    """Found at the start, not at the first request that needs the column."""
    async with fresh_database.session() as admin:
        await admin.execute("DELETE FROM _pogo_migration WHERE migration_id = '0005_pre_storage'")

    for database, missing in ((empty, "6 migrations from 0001_pre_catalogue"), (fresh_database, "0005_pre_storage")):
        with pytest.raises(Conflict, match=f"lacks .*{missing} on: run `alga migrate`"):
            async with open_database(database.settings):
                pass


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    """And a process that needs one says so at its start."""
    nowhere = "postgresql://nobody:nothing@127.0.0.1:1/none"
    with pytest.raises(Unavailable):
        await migrate.migrate(nowhere)
    with pytest.raises(Unavailable):
        async with open_database(PostgresSettings(dsn=nowhere)):
            pass
