"""R15: every table x every role x a wrong tenant, generated from the catalogue."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import asyncpg
import pytest
import pytest_asyncio

from deploy.embedded.postgres import PostgresServer
from registry import migrate, statements
from registry.database import open_database
from schemas.errors import Internal
from tests import row_samples
from tests.fixtures_postgres import TestDatabase, new_database
from tests.row_samples import Catalogue, Row

pytestmark = pytest.mark.case("R15")

VICTIM, OTHER = "victim", "other"
WRONG_TENANTS = (OTHER, "nobody", "", None, "victim' OR 'a'='a", "VICTIM", "victi_", "%")
"""What `alga.tenant` may be when it is not the victim; None: never set in this session."""
ROLES = (migrate.APP, migrate.SYSTEM, migrate.OWNER)
GLOBAL_UNIQUES = {"tenant_extension_install_runner_domain_key", "tenant_api_key_key_hash_key"}
"""Unique over all tenants because they are at least 128 random bits (compat.md section 10)."""
DENIED = "42501"
_SYSTEM = statements.load("system")


@dataclass(frozen=True)
class Arranged:
    """A database in which the victim and another tenant have a row in every table."""

    database: TestDatabase
    catalogue: Catalogue
    victim: dict[str, Row]
    other: dict[str, Row]
    fresh: dict[str, Row]
    """Rows of the victim that do not exist, alike in everything but their own keys."""
    readable: frozenset[str]
    updatable: frozenset[str]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def arranged(postgres_server: PostgresServer) -> AsyncIterator[Arranged]:
    async with new_database(postgres_server) as database:
        async with database.session() as admin:
            catalogue = await row_samples.read_catalogue(admin)
            victim = await _fill(admin, catalogue, VICTIM)
            other = await _fill(admin, catalogue, OTHER)
            readable = frozenset(row["name"] for row in await admin.fetch(_SYSTEM.system_reads))
            updatable = frozenset(row["name"] for row in await admin.fetch(_SYSTEM.system_updates))
        fresh = {table: row_samples.sample(catalogue, table, tenant=VICTIM, parents=victim) for table in victim}
        yield Arranged(database, catalogue, victim, other, fresh, readable, updatable)


async def _fill(admin: asyncpg.Connection, catalogue: Catalogue, tenant: str) -> dict[str, Row]:
    rows: dict[str, Row] = {}
    for table in row_samples.parents_first(catalogue):
        rows[table] = row_samples.sample(catalogue, table, tenant=tenant, parents=rows)
        await admin.execute(row_samples.insert_of(catalogue, table, rows[table]))
    return rows


class Attacker:
    """A session as a role, which for each attempt opens a transaction with a wrong tenant and rolls it back."""

    def __init__(self, raw: asyncpg.Connection, tenant: str | None) -> None:
        self._raw, self._tenant = raw, tenant

    async def answer(self, statement: str) -> str:
        """What the attacker learns: the number of rows, or the error's code and text."""
        setting = "" if self._tenant is None else f"SET LOCAL alga.tenant = {row_samples.literal(self._tenant)};"
        try:
            tag = await self._raw.execute(f"BEGIN; {setting} {statement}")
            return f"{tag.rpartition(' ')[2]} rows"
        except asyncpg.PostgresError as error:
            return f"{error.sqlstate} {error} {getattr(error, 'detail', None) or ''}"
        finally:
            await self._raw.execute("ROLLBACK")


async def _attackers(arranged: Arranged, role: str) -> AsyncIterator[tuple[str | None, Attacker]]:
    for tenant in WRONG_TENANTS:
        async with arranged.database.session() as raw:
            await raw.execute(f"SET ROLE {role}")
            yield tenant, Attacker(raw, tenant)


def _is_nothing(answer: str) -> bool:
    return answer == "0 rows" or answer.startswith(DENIED)


def _without_values(answer: str, *rows: Row) -> str:
    """An error text without the values that the attacker sent."""
    for row in rows:
        for value in sorted({str(value) for value in row.values()}, key=len, reverse=True):
            answer = answer.replace(value.lower() if "-" in value else value, "…")
    return re.sub(r"\([^()]*\)", "(…)", answer)


@pytest.mark.parametrize("role", ROLES)
async def test_R15_a_wrong_tenant_reads_changes_and_deletes_nothing(arranged: Arranged, role: str) -> None:
    """Selects, updates and deletes, with and without RETURNING, find nothing of the victim, table by table."""
    failures: list[str] = []
    count = 0
    async for tenant, attacker in _attackers(arranged, role):
        for table in arranged.catalogue.tenant_tables:
            for statement in _probes(arranged, table, role):
                answer = await attacker.answer(statement)
                count += 1
                if not _is_nothing(answer):
                    failures.append(f"{role} as {tenant!r}: {statement}: {answer}")
    print(f"R15 {role}: {count} attempts")
    assert failures == []
    assert count >= len(WRONG_TENANTS) * len(arranged.catalogue.tenant_tables)


def _probes(arranged: Arranged, table: str, role: str) -> Iterator[str]:
    column = arranged.catalogue.tenant_column(table)
    where = f"{column} = '{VICTIM}'"
    is_system = role == migrate.SYSTEM
    if not (is_system and table in arranged.readable):
        yield f"SELECT 1 FROM {table} WHERE {where}"
        yield f"SELECT count(*) FROM {table} WHERE {where} HAVING count(*) > 0"
        yield f"SELECT 1 FROM {table} WHERE {where} FOR UPDATE"
    yield f"DELETE FROM {table} WHERE {where}"
    yield f"DELETE FROM {table} WHERE {where} RETURNING {column}"
    for name in arranged.catalogue.columns[table]:
        if not (is_system and table in arranged.updatable):
            yield f'UPDATE {table} SET "{name}" = "{name}" WHERE {where}'
            yield f'UPDATE {table} SET "{name}" = "{name}" WHERE {where} RETURNING {column}'


@pytest.mark.parametrize("role", ROLES)
async def test_R15_a_write_into_another_tenant_fails_alike_whether_the_row_exists(
    arranged: Arranged, role: str
) -> None:
    """Inserts and upserts under the victim's name are denied with the same words for a key that exists and one that
    does not."""
    failures: list[str] = []
    async for tenant, attacker in _attackers(arranged, role):
        for table in arranged.catalogue.tenant_tables:
            column = arranged.catalogue.tenant_column(table)
            for suffix in ("", "ON CONFLICT DO NOTHING", f"RETURNING {column}", _upsert(arranged.catalogue, table)):
                existing, absent = arranged.victim[table], arranged.fresh[table]
                known = await attacker.answer(row_samples.insert_of(arranged.catalogue, table, existing, suffix=suffix))
                unknown = await attacker.answer(row_samples.insert_of(arranged.catalogue, table, absent, suffix=suffix))
                if not known.startswith(DENIED) or _without_values(known, existing) != _without_values(unknown, absent):
                    failures.append(f"{role} as {tenant!r}: {table} {suffix}: {known!r} against {unknown!r}")
    assert failures == []


def _upsert(catalogue: Catalogue, table: str) -> str:
    key = next(key for key in catalogue.keys_of(table) if not key.is_partial and key.name not in GLOBAL_UNIQUES)
    names = ", ".join(f'"{name}"' for name in key.columns)
    column = catalogue.tenant_column(table)
    return f"ON CONFLICT ({names}) DO UPDATE SET {column} = excluded.{column}"


@pytest.mark.parametrize("role", [migrate.APP, migrate.SYSTEM])
async def test_R15_unique_keys_tell_nothing_about_another_tenant(arranged: Arranged, role: str) -> None:
    """A row with all of the victim's keys but the attacker's own tenant is answered as one with keys nobody has."""
    failures: list[str] = []
    async with arranged.database.session(role) as raw:
        attacker = Attacker(raw, OTHER)
        for table in arranged.catalogue.tenant_tables:
            for key in arranged.catalogue.keys_of(table):
                if key.name in GLOBAL_UNIQUES:
                    continue
                taken, free = (_borrowed(arranged, table, key.columns, source) for source in ("victim", "fresh"))
                known = await attacker.answer(row_samples.insert_of(arranged.catalogue, table, taken))
                unknown = await attacker.answer(row_samples.insert_of(arranged.catalogue, table, free))
                if _without_values(known, taken) != _without_values(unknown, free):
                    failures.append(f"{role}: {table}.{key.name}: {known!r} against {unknown!r}")
    assert failures == []


def _borrowed(arranged: Arranged, table: str, columns: tuple[str, ...], source: str) -> Row:
    """A row of the attacker with these key columns from the victim's row, or from a row nobody has."""
    own = row_samples.sample(arranged.catalogue, table, tenant=OTHER, parents=arranged.other)
    lender = arranged.victim[table] if source == "victim" else arranged.fresh[table]
    refers = {name for reference in arranged.catalogue.references_of(table) for name in reference.columns}
    tenant_column = arranged.catalogue.tenant_column(table)
    return own | {name: lender[name] for name in columns if name != tenant_column and name not in refers}


@pytest.mark.parametrize("role", [migrate.APP, migrate.SYSTEM])
async def test_R15_foreign_keys_tell_nothing_about_another_tenant(arranged: Arranged, role: str) -> None:
    """A child that points at the victim's parent is refused as one that points at nothing."""
    failures: list[str] = []
    probed = 0
    async with arranged.database.session(role) as raw:
        attacker = Attacker(raw, OTHER)
        for table in arranged.catalogue.tenant_tables:
            for reference in arranged.catalogue.references_of(table):
                if reference.parent not in arranged.catalogue.tenant_tables:
                    continue
                probed += 1
                pointing, nowhere = (_child(arranged, reference, parent) for parent in ("victim", "fresh"))
                known = await attacker.answer(row_samples.insert_of(arranged.catalogue, table, pointing))
                unknown = await attacker.answer(row_samples.insert_of(arranged.catalogue, table, nowhere))
                is_refused = known.startswith(("23503", DENIED))
                if not is_refused or _without_values(known, pointing) != _without_values(unknown, nowhere):
                    failures.append(f"{role}: {table}.{reference.name}: {known!r} against {unknown!r}")
    assert failures == []
    assert probed >= 5


def _child(arranged: Arranged, reference: row_samples.Reference, parent: str) -> Row:
    rows = arranged.victim if parent == "victim" else arranged.fresh
    row = row_samples.sample(arranged.catalogue, reference.table, tenant=OTHER, parents=arranged.other)
    tenant_column = arranged.catalogue.tenant_column(reference.table)
    pairs = zip(reference.columns, reference.parent_columns, strict=True)
    return row | {name: rows[reference.parent][of] for name, of in pairs if name != tenant_column}


@pytest.mark.parametrize("role", [migrate.APP, migrate.SYSTEM, "alga_lookup"])
async def test_R15_truncate_is_denied_on_every_table(arranged: Arranged, role: str) -> None:
    """Row security does not cover TRUNCATE, so nobody who serves may do it."""
    async with arranged.database.session() as raw:
        await raw.execute(f"SET ROLE {role}")
        attacker = Attacker(raw, OTHER)
        for table in arranged.catalogue.columns:
            for suffix in ("", " CASCADE"):
                assert (await attacker.answer(f"TRUNCATE {table}{suffix}")).startswith(DENIED), table


async def test_R15_the_system_role_reads_and_locks_what_is_listed_and_moves_no_row(arranged: Arranged) -> None:
    """Its reach across tenants is the list in system.sql, and no column of a key is among what it may update."""
    async with arranged.database.session(migrate.SYSTEM) as raw:
        attacker = Attacker(raw, None)
        for table in arranged.catalogue.tenant_tables:
            column = arranged.catalogue.tenant_column(table)
            seen = await attacker.answer(f"SELECT {column} FROM {table} WHERE {column} = '{VICTIM}'")
            assert (table in arranged.readable) == seen.startswith("1 rows"), f"{table}: {seen}"
            assert _is_nothing(await attacker.answer(f"UPDATE {table} SET {column} = '{OTHER}'")), table
        for table in arranged.updatable:
            column = arranged.catalogue.tenant_column(table)
            locked = await attacker.answer(
                f"SELECT {column} FROM {table} WHERE {column} = '{VICTIM}' FOR UPDATE SKIP LOCKED"
            )
            assert locked.startswith("1 rows"), f"{table}: {locked}"


async def test_R15_secrets_and_key_hashes_are_out_of_the_system_roles_reach(arranged: Arranged) -> None:
    """Work across tenants needs no secret, no key, no stored value."""
    hidden = {
        "tenant_extension_install_secrets": "ciphertext",
        "tenant_api_key": "key_hash",
        "service_credential": "key_hash",
        "ext_storage_records": "value",
        "ext_storage_staged": "value",
        "extension_idempotency": "body",
    }
    async with arranged.database.session(migrate.SYSTEM) as raw:
        attacker = Attacker(raw, VICTIM)
        for table, column in hidden.items():
            assert (await attacker.answer(f"SELECT {column} FROM {table}")).startswith(DENIED), table


async def test_R15_the_right_tenant_has_its_row_in_every_table(arranged: Arranged) -> None:
    """The matrix above would pass on empty tables: here is the same look with the right tenant."""
    async with arranged.database.session(migrate.APP) as raw:
        owner = Attacker(raw, VICTIM)
        for table in arranged.catalogue.tenant_tables:
            column = arranged.catalogue.tenant_column(table)
            assert (await owner.answer(f"SELECT {column} FROM {table}")).startswith("1 rows"), table


async def test_R15_the_tenant_leads_every_key_and_every_reference(arranged: Arranged) -> None:
    """Primary, unique and foreign keys of tenants' tables begin with the tenant, but for two random global ones."""
    catalogue = arranged.catalogue
    tables = set(catalogue.tenant_tables)
    assert len(tables) >= 20
    for key in catalogue.keys:
        if key.table in tables and key.name not in GLOBAL_UNIQUES:
            assert key.columns[0] == catalogue.tenant_column(key.table), key
    for reference in catalogue.references:
        if reference.table in tables and reference.parent in tables:
            assert reference.columns[0] == catalogue.tenant_column(reference.table), reference
            assert reference.parent_columns[0] == catalogue.tenant_column(reference.parent), reference


async def test_R15_nobody_who_logs_in_is_a_member_of_the_look_up_or_owner_role(arranged: Arranged) -> None:
    """A membership would be a way round every policy."""
    async with arranged.database.session() as admin:
        members = await admin.fetch(
            "SELECT member::regrole::text AS name FROM pg_auth_members JOIN pg_roles AS r "
            "ON r.oid = roleid WHERE r.rolname LIKE 'alga%'"
        )
    assert [row["name"] for row in members if row["name"].startswith("alga")] == []


@pytest.mark.parametrize("security", ["", "ALTER TABLE fresh_table ENABLE ROW LEVEL SECURITY"])
async def test_R15_a_new_table_without_force_stops_every_process(fresh_database: TestDatabase, security: str) -> None:
    """What a careless migration adds is found before it serves a row."""
    async with fresh_database.session() as admin:
        await admin.execute("CREATE TABLE fresh_table (tenant_id text, id uuid)")
        if security:
            await admin.execute(security)
    with pytest.raises(Internal, match="fresh_table has a tenant column but no forced row security"):
        async with open_database(fresh_database.settings):
            pass
