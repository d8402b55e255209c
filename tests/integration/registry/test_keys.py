"""API keys: their form, whose they are, and when they open nothing."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest

from registry.audit import AuditLog
from registry.database import Database
from registry.keys import Keys, NewKey
from registry.publishers import Publishers
from registry.tenants import Tenants, TenantState
from schemas.call import CallContext, Deadline, Principal, PrincipalKind
from schemas.errors import Conflict, Invalid, NotFound
from schemas.ids import PublisherId, TenantId, new_id
from tests.fixtures_postgres import TestDatabase

ACME = TenantId("acme")
READ = frozenset({"extension:read"})
OPERATOR = CallContext(
    tenant=TenantId(""),
    principal=Principal(kind=PrincipalKind.SERVICE, key_id="the-operators-key"),
    request_id="request-1",
    deadline=Deadline(0.0),
)


class SetClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC).timestamp()

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        return self.time


@pytest.fixture
async def keys(database: Database) -> Keys:
    await Tenants(database).create(OPERATOR, ACME, name="Acme")
    return Keys(database)


async def test_a_tenants_key_is_found_with_all_that_it_carries(database: Database, keys: Keys) -> None:
    """Tenant, permissions and publisher come from the row, never from the caller."""
    publisher = await Publishers(database).create(OPERATOR, "Acme")
    made = await keys.create(OPERATOR, ACME, permissions=READ, name="ci", publisher_id=publisher.id)

    found = await keys.find(made.text)

    assert found is not None
    assert (found.id, found.tenant, found.permissions, found.publisher_id) == (made.id, ACME, READ, publisher.id)
    assert re.fullmatch(r"alga_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", made.text)
    assert made.text.split("_")[1] == made.id[:8]


async def test_a_service_credential_belongs_to_no_tenant(keys: Keys) -> None:
    """Operators and platforms act for none, or for the one they name."""
    made = await keys.create_service_credential(OPERATOR, name="platform", permissions=frozenset({"platform"}))

    found = await keys.find(made.text)

    assert found is not None
    assert (found.tenant, found.name, found.permissions) == (None, "platform", frozenset({"platform"}))
    with pytest.raises(Conflict, match="a service credential with this name exists"):
        await keys.create_service_credential(OPERATOR, name="platform", permissions=frozenset())


async def test_only_the_hash_of_a_key_is_kept(keys: Keys, fresh_database: TestDatabase) -> None:
    """Who reads the database cannot use what is found there."""
    made = await keys.create(OPERATOR, ACME, permissions=READ)
    secret = made.text.rpartition("_")[2]
    async with fresh_database.session() as admin:
        tables = [row["relname"] for row in await admin.fetch("SELECT relname FROM pg_stat_user_tables")]
        for table in tables:
            rows = await admin.fetch(f"SELECT t::text AS line FROM {table} AS t")
            assert not any(secret in row["line"] for row in rows), table


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alga",
        "alga_00000000_" + "A" * 43,
        "alga_00000000_" + "A" * 42,
        "ALGA_00000000_" + "A" * 43,
        "x\0",
        "\ud800",
    ],
)
async def test_what_is_no_key_of_ours_opens_nothing(keys: Keys, text: str) -> None:
    """Malformed and unknown are told apart by nobody."""
    assert await keys.find(text) is None


async def test_the_id_in_a_key_does_not_help_to_guess_it(keys: Keys) -> None:
    """Another secret behind the same eight characters is another key."""
    made = await keys.create(OPERATOR, ACME, permissions=READ)
    for text in (made.text[:-1] + ("A" if made.text[-1] != "A" else "B"), made.text + "A", made.text[:-1]):
        assert await keys.find(text) is None


async def test_an_expired_a_revoked_and_a_suspended_key_open_nothing(database: Database) -> None:
    """From the moment on, by the clock handed in."""
    clock = SetClock()
    tenants, keys = Tenants(database), Keys(database, clock=clock)
    await tenants.create(OPERATOR, ACME, name="Acme")
    soon = datetime.fromtimestamp(clock.time, UTC) + timedelta(minutes=1)
    short = await keys.create(OPERATOR, ACME, permissions=READ, expires_at=soon)
    lasting = await keys.create(OPERATOR, ACME, permissions=READ)
    service = await keys.create_service_credential(OPERATOR, name="s", permissions=frozenset())

    assert all([await keys.find(key.text) for key in (short, lasting, service)])
    clock.time += 60
    assert await keys.find(short.text) is None
    await tenants.set_state(OPERATOR, ACME, TenantState.SUSPENDED)
    assert await keys.find(lasting.text) is None
    await tenants.set_state(OPERATOR, ACME, TenantState.ACTIVE)
    assert await keys.find(lasting.text)
    await keys.revoke(OPERATOR, ACME, lasting.id)
    await keys.revoke_service_credential(OPERATOR, service.id)
    assert [await keys.find(key.text) for key in (lasting, service)] == [None, None]


async def test_a_key_is_revoked_by_its_own_tenant_only(database: Database, keys: Keys) -> None:
    """Another tenant's key id is answered as one that does not exist."""
    await Tenants(database).create(OPERATOR, "other", name="Other")
    made = await keys.create(OPERATOR, ACME, permissions=READ)

    for key_id in (made.id, new_id()):
        with pytest.raises(NotFound, match="there is no such API key"):
            await keys.revoke(OPERATOR, TenantId("other"), key_id)
    assert await keys.find(made.text)


@pytest.mark.parametrize("permissions", [{"operator"}, {"*"}, {"platform"}, {"extension:read", "extension:reed"}])
async def test_a_tenants_key_cannot_have_what_only_the_platform_has(keys: Keys, permissions: set[str]) -> None:
    """A star or an operator's permission would reach past the tenant."""
    with pytest.raises(Invalid, match="permissions must be among"):
        await keys.create(OPERATOR, ACME, permissions=frozenset(permissions))


async def test_a_key_needs_a_tenant_a_publisher_and_a_future_that_exist(keys: Keys) -> None:
    """Each refused with what is wrong."""
    with pytest.raises(NotFound):
        await keys.create(OPERATOR, TenantId("none"), permissions=READ)
    with pytest.raises(NotFound):
        await keys.create(OPERATOR, ACME, permissions=READ, publisher_id=PublisherId(new_id()))
    with pytest.raises(Invalid, match="expires_at must be in the future"):
        await keys.create(OPERATOR, ACME, permissions=READ, expires_at=datetime(2020, 1, 1, tzinfo=UTC))


async def test_use_is_remembered_by_the_hour(database: Database) -> None:
    """The first look-up writes, the next does not, one an hour later does."""
    clock = SetClock()
    keys = Keys(database, clock=clock)
    await Tenants(database).create(OPERATOR, ACME, name="Acme")
    tenants_key = await keys.create(OPERATOR, ACME, permissions=READ)
    service = await keys.create_service_credential(OPERATOR, name="s", permissions=frozenset())

    assert await _used(keys, tenants_key, service) == [None, None]
    first = await _used(keys, tenants_key, service)
    assert None not in first
    assert await _used(keys, tenants_key, service) == first
    clock.time += 3601
    await _used(keys, tenants_key, service)
    assert all(then < now for then, now in zip(first, await _used(keys, tenants_key, service), strict=True))


async def _used(keys: Keys, *made: NewKey) -> list[datetime]:
    """What each key's row said before this look-up."""
    found = [await keys.find(key.text) for key in made]
    return [row.last_used_at for row in found if row is not None]  # type: ignore[misc]


async def test_keys_are_listed_and_every_change_is_in_the_audit_log(database: Database, keys: Keys) -> None:
    """A tenant's in its own log, the platform's in the platform's; the key itself in none."""
    made = await keys.create(OPERATOR, ACME, permissions=READ, name="ci")
    service = await keys.create_service_credential(OPERATOR, name="s", permissions=frozenset())
    await keys.revoke(OPERATOR, ACME, made.id)

    (row,) = await keys.list_keys(ACME)
    assert (row.id, row.name, row.revoked_at is not None) == (made.id, "ci", True)
    assert [credential.id for credential in await keys.list_service_credentials()] == [service.id]
    own = CallContext(tenant=ACME, principal=OPERATOR.principal, request_id="r", deadline=Deadline(0.0))
    log = AuditLog(database)
    entries = await log.list_entries(own)
    assert [entry.event_type for entry in entries] == ["key.revoked", "key.created", "tenant.created"]
    assert [entry.event_type for entry in await log.list_entries(OPERATOR)] == ["service_credential.created"]
    assert made.text not in repr(entries)
