"""Tenants, publishers and the audit rows of what operators do."""

from __future__ import annotations

import asyncio

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from registry import signing
from registry.audit import PLATFORM, AuditLog
from registry.database import Database
from registry.publishers import Publisher, Publishers, PublisherState, claim_name
from registry.tenants import Tenants, TenantState
from schemas.bundle import key_id_of
from schemas.call import CallContext, Deadline, Principal, PrincipalKind, User
from schemas.errors import Conflict, Forbidden, Invalid, NotFound
from schemas.ids import PublisherId, TenantId, new_id

OPERATOR = CallContext(
    tenant=TenantId(""),
    principal=Principal(kind=PrincipalKind.SERVICE, key_id="the-operators-key"),
    request_id="request-1",
    deadline=Deadline(0.0),
)
ADMIN = CallContext(
    tenant=TenantId("acme"),
    principal=Principal(kind=PrincipalKind.MSP, user=User(user_id="u1", user_email="u1@acme.example")),
    request_id="request-2",
    deadline=Deadline(0.0),
)


async def test_a_tenant_is_made_found_listed_and_suspended(database: Database) -> None:
    """Its whole life, with a row for each step in its own audit log."""
    tenants = Tenants(database)
    made = await tenants.create(OPERATOR, "acme", name="Acme GmbH", shard=7)
    await tenants.create(OPERATOR, "beta", name="Beta")

    assert await tenants.get(made.id) == made
    assert (made.name, made.shard, made.state) == ("Acme GmbH", 7, TenantState.ACTIVE)
    assert [tenant.id for tenant in await tenants.list_tenants()] == ["acme", "beta"]
    assert [tenant.id for tenant in await tenants.list_tenants(after="acme", limit=5)] == ["beta"]
    suspended = await tenants.set_state(OPERATOR, made.id, TenantState.SUSPENDED)
    assert suspended.state is TenantState.SUSPENDED

    entries = await AuditLog(database).list_entries(ADMIN)
    assert [(entry.event_type, entry.user_id) for entry in entries] == [
        ("tenant.suspended", "the-operators-key"),
        ("tenant.created", "the-operators-key"),
    ]


async def test_a_tenant_that_is_not_there_is_not_found(database: Database) -> None:
    """`get` raises, `find` does not."""
    tenants = Tenants(database)
    assert await tenants.find(TenantId("none")) is None
    with pytest.raises(NotFound):
        await tenants.get(TenantId("none"))
    with pytest.raises(NotFound):
        await tenants.set_state(OPERATOR, TenantId("none"), TenantState.ACTIVE)


@pytest.mark.parametrize(
    ("tenant", "name"),
    [("a/b", "n"), ("..", "n"), ("", "n"), (PLATFORM, "n"), ("a", ""), ("a", " n"), ("a", "n\n"), ("a", "n" * 201)],
)
async def test_a_tenant_that_cannot_be_is_invalid(database: Database, tenant: str, name: str) -> None:
    """Ids stand in paths and subjects, names are shown; the platform's own id is nobody's."""
    with pytest.raises(Invalid):
        await Tenants(database).create(OPERATOR, tenant, name=name)


async def test_an_id_is_given_once(database: Database) -> None:
    """Also when two ask at the same time."""
    tenants = Tenants(database)
    both = await asyncio.gather(
        *(tenants.create(OPERATOR, "acme", name=name) for name in ("one", "two")), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in both) == ["Conflict", "Tenant"]
    with pytest.raises(Conflict, match="a tenant with this id exists"):
        await tenants.create(OPERATOR, "acme", name="three")


async def test_the_audit_log_pages_backwards_and_shows_its_own_tenant_only(database: Database) -> None:
    """The platform's actions are not the tenant's to see."""
    tenants = Tenants(database)
    for name in ("acme", "beta"):
        await tenants.create(OPERATOR, name, name=name)
    await Publishers(database).create(OPERATOR, "Acme")
    for state in (TenantState.SUSPENDED, TenantState.ACTIVE):
        await tenants.set_state(OPERATOR, TenantId("acme"), state)
    log = AuditLog(database)

    first = await log.list_entries(ADMIN, limit=2)
    rest = await log.list_entries(ADMIN, before=(first[-1].created_at, first[-1].log_id))

    assert [entry.event_type for entry in first + rest] == ["tenant.active", "tenant.suspended", "tenant.created"]
    assert [entry.event_type for entry in await log.list_entries(OPERATOR)] == ["publisher.created"]


async def test_a_publishers_keys_are_added_listed_and_revoked(database: Database) -> None:
    """A revoked key stays, with its time: what it signed must be told from what nobody signed."""
    publishers = Publishers(database)
    acme = await publishers.create(OPERATOR, "Acme")
    spki = signing.spki_of(Ed25519PrivateKey.generate().public_key())

    key = await publishers.add_key(OPERATOR, acme.id, spki)

    assert (key.key_id, key.publisher, key.public_key, key.revoked_at) == (key_id_of(spki), "Acme", spki, None)
    assert await publishers.find_key(key.key_id) == key
    with pytest.raises(Conflict, match="registered"):
        await publishers.add_key(OPERATOR, acme.id, spki)
    await publishers.revoke_key(OPERATOR, acme.id, key.key_id)
    (revoked,) = await publishers.list_keys(acme.id)
    await publishers.revoke_key(OPERATOR, acme.id, key.key_id)
    assert revoked.revoked_at is not None
    assert await publishers.list_keys(acme.id) == [revoked]


async def test_what_is_no_key_or_no_publisher_is_refused(database: Database) -> None:
    """Each with its own word."""
    publishers = Publishers(database)
    acme = await publishers.create(OPERATOR, "Acme")
    elliptic = generate_private_key(SECP256R1()).public_key()
    pem = elliptic.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    spki = signing.spki_of(Ed25519PrivateKey.generate().public_key())
    with pytest.raises(Invalid, match="Ed25519"):
        await publishers.add_key(OPERATOR, acme.id, pem)
    with pytest.raises(NotFound):
        await publishers.add_key(OPERATOR, PublisherId(new_id()), spki)
    with pytest.raises(NotFound):
        await publishers.get(PublisherId(new_id()))
    with pytest.raises(NotFound):
        await publishers.revoke_key(OPERATOR, acme.id, "0" * 16)
    with pytest.raises(Conflict):
        await publishers.create(OPERATOR, "Acme")


async def _claim(database: Database, publisher: Publisher, name: str) -> str:
    async with database.unscoped() as connection:
        return await claim_name(connection, publisher, name)


async def test_a_name_belongs_to_who_publishes_under_it_first(database: Database) -> None:
    """The same publisher gets the same extension again, another one is refused, also at the same moment."""
    publishers = Publishers(database)
    acme, other = await publishers.create(OPERATOR, "Acme"), await publishers.create(OPERATOR, "Other")
    assert await publishers.find_owner("com.acme.reports") is None

    made = await _claim(database, acme, "com.acme.reports")

    assert await _claim(database, acme, "com.acme.reports") == made
    assert await publishers.find_owner("com.acme.reports") == acme
    with pytest.raises(Forbidden, match=r"com\.acme\.reports belongs to another publisher"):
        await _claim(database, other, "com.acme.reports")
    racers = await asyncio.gather(
        *(_claim(database, who, "com.both.want") for who in (acme, other)), return_exceptions=True
    )
    assert sorted(type(one).__name__ for one in racers) == ["Forbidden", "str"]


async def test_a_suspended_publisher_claims_nothing(database: Database) -> None:
    """Not even a name of its own."""
    publishers = Publishers(database)
    acme = await publishers.create(OPERATOR, "Acme")
    await _claim(database, acme, "com.acme.reports")
    suspended = await publishers.set_state(OPERATOR, acme.id, PublisherState.SUSPENDED)

    with pytest.raises(Forbidden, match="suspended"):
        await _claim(database, suspended, "com.acme.reports")
    assert [one.state for one in await publishers.list_publishers()] == [PublisherState.SUSPENDED]
