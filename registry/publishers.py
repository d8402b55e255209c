"""Publishers: who may publish, with which keys, and which extension names are theirs.

Owns the global tables of publishers and of their public keys, and the claim to a name: the first publisher to publish
under a name owns it. What a signature must say is `signing.py`'s; what is published is `bundles.py`'s.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from registry import audit, signing, statements
from registry.audit import Resource
from registry.database import Connection, Database, Row
from registry.signing import PublisherKey
from registry.tenants import check_name
from schemas.bundle import key_id_of
from schemas.call import CallContext
from schemas.errors import Forbidden, Invalid, NotFound
from schemas.ids import PublisherId, RegistryId

MAX_NAME = 100
MAX_PAGE = 100
_SQL = statements.load("publishers")


class PublisherState(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


class Publisher(msgspec.Struct, frozen=True, kw_only=True):
    """`name` is what a manifest's `publisher` must equal."""

    id: PublisherId
    name: str
    state: PublisherState
    created_at: datetime


class Publishers:
    """The publishers of the fleet; changed by operators only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, ctx: CallContext, name: str) -> Publisher:
        """Raises Conflict when the name is taken."""
        check_name(name, field="name", limit=MAX_NAME)
        async with self._database.transaction(audit.PLATFORM) as connection:
            row = await connection.fetchrow(_SQL.create_publisher, name)
            made = _publisher(row)
            await _audit(connection, ctx, "publisher.created", made.id, name=name)
        return made

    async def get(self, publisher: PublisherId) -> Publisher:
        """Raises NotFound."""
        async with self._database.unscoped() as connection:
            return _publisher(await connection.fetchrow(_SQL.find_publisher, publisher))

    async def find_by_name(self, name: str) -> Publisher | None:
        async with self._database.unscoped() as connection:
            row = await connection.fetchrow(_SQL.find_publisher_by_name, name)
        return _publisher(row) if row else None

    async def list_publishers(self, *, after: str = "", limit: int = MAX_PAGE) -> list[Publisher]:
        """A page in the order of names; the next one is `after` the last name."""
        async with self._database.unscoped() as connection:
            rows = await connection.fetch(_SQL.list_publishers, after, min(limit, MAX_PAGE))
        return [_publisher(row) for row in rows]

    async def set_state(self, ctx: CallContext, publisher: PublisherId, state: PublisherState) -> Publisher:
        """Suspended: publishes nothing, and nothing of it is installed. What is installed keeps running."""
        async with self._database.transaction(audit.PLATFORM) as connection:
            changed = _publisher(await connection.fetchrow(_SQL.set_publisher_state, publisher, state.value))
            await _audit(connection, ctx, f"publisher.{state}", publisher, name=changed.name)
        return changed

    async def add_key(
        self,
        ctx: CallContext,
        publisher: PublisherId,
        public_key: str | bytes,
        *,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> PublisherKey:
        """An Ed25519 key: PEM, or the SPKI in DER or base64. Valid from now unless `not_before` says otherwise.

        Raises Invalid for what is not such a key, NotFound for no such publisher, Conflict when it is registered,
        whosever it is.
        """
        spki = signing.spki_of(signing.load_public_key(public_key))
        if not_before is not None and not_after is not None and not_after <= not_before:
            raise Invalid(f"not_after must be after not_before, not {not_after.isoformat()}")
        key_id = key_id_of(spki)
        async with self._database.transaction(audit.PLATFORM) as connection:
            row = await connection.fetchrow(_SQL.add_key, publisher, key_id, spki, not_before, not_after)
            await _audit(connection, ctx, "publisher.key_added", publisher, key_id=key_id)
        return _key(row)

    async def revoke_key(self, ctx: CallContext, publisher: PublisherId, key_id: str) -> None:
        """Raises NotFound when the publisher has no such key; one revoked already is fine."""
        async with self._database.transaction(audit.PLATFORM) as connection:
            if not await connection.execute(_SQL.revoke_key, publisher, key_id):
                raise NotFound("the publisher has no such key")
            await _audit(connection, ctx, "publisher.key_revoked", publisher, key_id=key_id)

    async def list_keys(self, publisher: PublisherId) -> list[PublisherKey]:
        """All keys, revoked and expired ones too."""
        async with self._database.unscoped() as connection:
            return [_key(row) for row in await connection.fetch(_SQL.list_keys, publisher)]

    async def find_key(self, key_id: str) -> PublisherKey | None:
        """The key with this id, whosever it is and whether or not it counts now."""
        async with self._database.unscoped() as connection:
            row = await connection.fetchrow(_SQL.find_key, key_id)
        return _key(row) if row else None

    async def find_owner(self, extension_name: str) -> Publisher | None:
        """Whose an extension name is; None while nothing was published under it."""
        async with self._database.unscoped() as connection:
            row = await connection.fetchrow(_SQL.find_owner, extension_name)
        return _publisher(row) if row else None


async def claim_name(connection: Connection, publisher: Publisher, extension_name: str) -> RegistryId:
    """The registry id of an extension of this publisher, made on first use, inside the publishing transaction.

    Two that publish at once under one name wait for each other here. Raises Forbidden when the name is another's, or
    the publisher is suspended.
    """
    if publisher.state is not PublisherState.ACTIVE:
        raise Forbidden(f"publisher {publisher.name!r} is suspended")
    row = await connection.fetchrow(_SQL.claim_name, publisher.name, extension_name, publisher.id)
    if row is None or row["publisher_id"] != publisher.id:
        raise Forbidden(f"the name {extension_name} belongs to another publisher")
    return RegistryId(row["id"])


async def _audit(
    connection: Connection,
    ctx: CallContext,
    event_type: str,
    publisher: PublisherId,
    *,
    name: str | None = None,
    key_id: str | None = None,
) -> None:
    details = {"key_id": key_id} if key_id else None
    resource = Resource("publisher", publisher, name)
    await audit.write(connection, ctx, event_type, resource, tenant=audit.PLATFORM, details=details)


def _publisher(row: Row | None) -> Publisher:
    if row is None:
        raise NotFound("there is no such publisher")
    return Publisher(
        id=PublisherId(row["id"]),
        name=row["name"],
        state=PublisherState(row["state"]),
        created_at=row["created_at"],
    )


def _key(row: Row | None) -> PublisherKey:
    if row is None:
        raise NotFound("there is no such publisher")
    return PublisherKey(
        key_id=row["key_id"],
        publisher=row["publisher"],
        public_key=row["public_key"],
        not_before=row["not_before"],
        not_after=row["not_after"],
        revoked_at=row["revoked_at"],
    )
