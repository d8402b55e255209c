"""R17: a service role that row security does not bind, or a view that runs past it, stops the process at its start."""

from __future__ import annotations

import pytest

from deploy.embedded.postgres import SUPERUSER
from registry import migrate
from registry.database import open_database
from schemas.errors import Internal
from service.settings import PostgresSettings
from tests.fixtures_postgres import TestDatabase

pytestmark = pytest.mark.case("R17")

PASSWORD = "a-password-of-a-test"


async def _refusal(settings: PostgresSettings) -> str:
    with pytest.raises(Internal, match="refusing to serve") as caught:
        async with open_database(settings):
            pass
    return caught.value.message


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        ("ALTER ROLE {role} SUPERUSER", "role {role} is a superuser"),
        ("ALTER ROLE {role} BYPASSRLS", "role {role} has BYPASSRLS"),
        ("GRANT alga_lookup TO {role}", "role alga_lookup has BYPASSRLS"),
        ("GRANT alga_owner TO {role}", "role alga_owner owns the table"),
        ("ALTER TABLE ext_storage_records OWNER TO {role}", "role {role} owns the table ext_storage_records"),
        ("GRANT TRUNCATE ON extension_event TO {role}", "role {role} may TRUNCATE the table extension_event"),
    ],
)
@pytest.mark.parametrize("is_system", [False, True], ids=["as the application role", "as the system role"])
async def test_R17_a_role_that_is_not_bound_is_refused_and_named(
    fresh_database: TestDatabase, arrange: str, expected: str, is_system: bool
) -> None:
    """Superuser, BYPASSRLS, ownership and TRUNCATE, had directly or through a membership, each stop the start."""
    role = f"role_of_{fresh_database.name}"
    async with fresh_database.session() as admin:
        await admin.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
        try:
            await admin.execute(arrange.format(role=role))
            dsn = fresh_database.server.dsn(role, fresh_database.name, password=PASSWORD)
            own = fresh_database.dsn(migrate.APP)
            settings = PostgresSettings(dsn=own if is_system else dsn, system_dsn=dsn if is_system else None)

            assert expected.format(role=role) in await _refusal(settings)
        finally:
            await admin.execute(f"ALTER TABLE ext_storage_records OWNER TO {migrate.OWNER}")
            await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_R17_the_superuser_itself_is_refused(fresh_database: TestDatabase) -> None:
    """The most likely mistake: the DSN of the migrations given to a service."""
    assert "is a superuser" in await _refusal(PostgresSettings(dsn=fresh_database.dsn(SUPERUSER)))


@pytest.mark.parametrize("kind", ["VIEW", "MATERIALIZED VIEW"])
async def test_R17_a_view_that_runs_as_its_owner_is_refused_and_named(fresh_database: TestDatabase, kind: str) -> None:
    """A view of a superuser skips every policy, whoever asks it."""
    async with fresh_database.session() as admin:
        await admin.execute(f"CREATE {kind} all_events AS SELECT * FROM extension_event")

    assert "view all_events runs as its owner postgres" in await _refusal(fresh_database.settings)


async def test_R17_a_view_that_runs_as_who_asks_is_accepted(fresh_database: TestDatabase) -> None:
    """security_invoker is the way to have a view."""
    async with fresh_database.session() as admin:
        await admin.execute("CREATE VIEW own_events WITH (security_invoker = true) AS SELECT * FROM extension_event")

    async with open_database(fresh_database.settings) as database:
        await database.check()


@pytest.mark.parametrize(
    ("arrange", "expected"),
    [
        (
            "CREATE POLICY more ON tenant_extension_consent FOR SELECT TO alga_system USING (true)",
            "SELECT on tenant_extension_consent to alga_system is not listed",
        ),
        (
            "CREATE POLICY more ON tenant_extension_install FOR UPDATE TO alga_system USING (true)",
            "UPDATE on tenant_extension_install to alga_system is not listed",
        ),
        (
            "CREATE POLICY more ON extension_event TO alga_system USING (true)",
            "ALL on extension_event to alga_system is not listed",
        ),
        (
            "CREATE POLICY more ON tenant_api_key TO PUBLIC USING (true)",
            "ALL on tenant_api_key to public is not listed",
        ),
        (
            "CREATE POLICY more ON tenant_api_key TO alga_app USING (1 = 1)",
            "ALL on tenant_api_key to alga_app is not listed",
        ),
        ("DROP POLICY system_reads ON extension_event", "SELECT on extension_event to alga_system is missing"),
        (
            "CREATE POLICY more ON extension_event FOR SELECT TO alga_app USING (true)",
            "SELECT on extension_event to alga_app",
        ),
    ],
)
async def test_R17_a_policy_that_is_not_listed_is_refused_and_named(
    fresh_database: TestDatabase, arrange: str, expected: str
) -> None:
    """What reaches across tenants is the list in system.sql, whatever a migration says."""
    async with fresh_database.session() as admin:
        await admin.execute(arrange)

    assert expected in await _refusal(fresh_database.settings)
