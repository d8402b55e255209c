"""API keys: `alga_<8>_<43 base64url>`, of tenants, and of operators and platforms (service credentials).

Owns the form of a key, its storage as SHA-256 and its look-up. The eight characters are the first of the row's id, so
that a key seen somewhere can be found and revoked; the 43 carry 256 random bits. Keeping the result of a look-up for a
few seconds is the caller's to do.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from registry import audit, statements
from registry.audit import Resource
from registry.database import Connection, Database, Row
from registry.tenants import MAX_NAME, check_name
from schemas.call import CallContext
from schemas.errors import Invalid, NotFound
from schemas.ids import PublisherId, TenantId, new_id, parse_tenant
from service.clock import Clock, SystemClock

OPERATOR_PERMISSIONS: Final = ("operator",)
TENANT_PERMISSIONS: Final = frozenset({"extension:read", "extension:write", "events:publish"})
"""What a key of a tenant can be given. To publish, it names a publisher."""
SERVICE_PERMISSIONS: Final = frozenset({"operator", "platform", "events:publish", "extension:read", "extension:write"})
TOUCH_EVERY = timedelta(hours=1)
"""`last_used_at` is no finer than this, so that a look-up writes seldom."""
_FORM = re.compile(r"alga_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", re.ASCII)
_SQL = statements.load("keys")


class ApiKey(NamedTuple):
    """A new key. `text` is shown once and kept nowhere; `hash` is what is stored."""

    id: str
    text: str
    hash: bytes

    @classmethod
    def new(cls) -> ApiKey:
        row_id = new_id()
        random = base64.urlsafe_b64encode(secrets.token_bytes(32)).rstrip(b"=").decode()
        text = f"alga_{row_id[:8]}_{random}"
        return cls(row_id, text, hash_of(text))


class NewKey(NamedTuple):
    """What the one who asked for a key gets, once."""

    id: str
    text: str


class KeyRow(msgspec.Struct, frozen=True, kw_only=True):
    """A key as it is known. `tenant` None: a service credential."""

    id: str
    tenant: TenantId | None
    name: str | None
    permissions: frozenset[str]
    publisher_id: PublisherId | None
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


def hash_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


class Keys:
    """All keys of the fleet."""

    def __init__(self, database: Database, *, clock: Clock | None = None) -> None:
        self._database = database
        self._clock = clock or SystemClock()

    async def find(self, text: str) -> KeyRow | None:
        """Whose key this is; None when it has not the form of one, is unknown, expired, revoked, or its tenant is
        suspended. Any well-formed key costs the same work, and the stored hash is found by its index only."""
        if not _FORM.fullmatch(text):
            return None
        async with self._database.unscoped() as connection:
            row = await connection.fetchrow(_SQL.find_by_hash, hash_of(text))
        now = datetime.fromtimestamp(self._clock.now(), UTC)
        if row is None or not _opens(row, now):
            return None
        key = _key(row)
        if key.last_used_at is None or now - key.last_used_at > TOUCH_EVERY:
            await self._touch(key)
        return key

    async def create(
        self,
        ctx: CallContext,
        tenant: TenantId,
        *,
        permissions: frozenset[str],
        name: str | None = None,
        publisher_id: PublisherId | None = None,
        expires_at: datetime | None = None,
    ) -> NewKey:
        """A key of `tenant`. Raises NotFound when tenant or publisher do not exist, Invalid for a permission that a
        tenant's key cannot have."""
        self._check(permissions, TENANT_PERMISSIONS, expires_at)
        if name is not None:
            check_name(name, field="name", limit=MAX_NAME)
        key = ApiKey.new()
        stored = (key.id, parse_tenant(tenant), name, key.hash, sorted(permissions), publisher_id, expires_at)
        async with self._database.transaction(tenant) as connection:
            await connection.execute(_SQL.create_tenant_key, *stored)
            details = {"permissions": sorted(permissions), "publisher_id": publisher_id}
            resource = Resource("api_key", key.id, name)
            await audit.write(connection, ctx, "key.created", resource, tenant=tenant, details=details)
        return NewKey(key.id, key.text)

    async def create_service_credential(
        self, ctx: CallContext, *, name: str, permissions: frozenset[str], expires_at: datetime | None = None
    ) -> NewKey:
        """A key of no tenant, for operators and platforms. Raises Conflict when the name is taken."""
        self._check(permissions, SERVICE_PERMISSIONS, expires_at)
        check_name(name, field="name", limit=MAX_NAME)
        key = ApiKey.new()
        stored = (key.id, name, key.hash, sorted(permissions), expires_at)
        async with self._database.transaction(audit.PLATFORM) as connection:
            await connection.execute(_SQL.create_service_credential, *stored)
            await _write_platform_audit(connection, ctx, "service_credential.created", key.id, name=name)
        return NewKey(key.id, key.text)

    async def list_keys(self, tenant: TenantId) -> list[KeyRow]:
        """The keys of a tenant, newest first, revoked ones too."""
        async with self._database.transaction(tenant) as connection:
            return [_key(row) for row in await connection.fetch(_SQL.list_tenant_keys, tenant)]

    async def list_service_credentials(self) -> list[KeyRow]:
        async with self._database.unscoped() as connection:
            return [_key(row) for row in await connection.fetch(_SQL.list_service_credentials)]

    async def revoke(self, ctx: CallContext, tenant: TenantId, key_id: str) -> None:
        """Raises NotFound when the tenant has no such key; one revoked already is fine."""
        async with self._database.transaction(tenant) as connection:
            if not await connection.execute(_SQL.revoke_tenant_key, tenant, key_id):
                raise NotFound("there is no such API key")
            await audit.write(connection, ctx, "key.revoked", Resource("api_key", key_id), tenant=tenant)

    async def revoke_service_credential(self, ctx: CallContext, key_id: str) -> None:
        """Raises NotFound when there is none; one revoked already is fine."""
        async with self._database.transaction(audit.PLATFORM) as connection:
            if not await connection.execute(_SQL.revoke_service_credential, key_id):
                raise NotFound("there is no such service credential")
            await _write_platform_audit(connection, ctx, "service_credential.revoked", key_id)

    def _check(self, permissions: frozenset[str], allowed: frozenset[str], expires_at: datetime | None) -> None:
        if unknown := sorted(permissions - allowed):
            raise Invalid(f"permissions must be among {', '.join(sorted(allowed))}, not {unknown[0][:80]!r}")
        if expires_at is not None and expires_at.timestamp() <= self._clock.now():
            raise Invalid(f"expires_at must be in the future, not {expires_at.isoformat()}")

    async def _touch(self, key: KeyRow) -> None:
        if key.tenant is None:
            async with self._database.unscoped() as connection:
                await connection.execute(_SQL.touch_service_credential, key.id)
            return
        async with self._database.transaction(key.tenant) as connection:
            await connection.execute(_SQL.touch_tenant_key, key.tenant, key.id)


async def _write_platform_audit(
    connection: Connection, ctx: CallContext, event_type: str, key_id: str, *, name: str | None = None
) -> None:
    resource = Resource("service_credential", key_id, name)
    await audit.write(connection, ctx, event_type, resource, tenant=audit.PLATFORM)


def _opens(row: Row, now: datetime) -> bool:
    is_expired = row["expires_at"] is not None and row["expires_at"] <= now
    return bool(row["is_active"]) and row["revoked_at"] is None and not is_expired


def _key(row: Row) -> KeyRow:
    return KeyRow(
        id=row["id"],
        tenant=TenantId(row["tenant_id"]) if row["tenant_id"] is not None else None,
        name=row["name"],
        permissions=frozenset(row["permissions"]),
        publisher_id=row["publisher_id"],
        expires_at=row["expires_at"],
        revoked_at=row["revoked_at"],
        last_used_at=row["last_used_at"],
    )
