"""Tenants: who is a customer here, on which shard if pinned, and whether they may use the fleet.

Owns the global table `tenant`. What a tenant has is in the tables under row security.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from registry import audit, statements
from registry.audit import PLATFORM, Resource
from registry.database import Database, Row
from schemas.call import CallContext
from schemas.errors import Invalid, NotFound
from schemas.ids import TenantId, parse_tenant

MAX_NAME = 200
MAX_PAGE = 100
_SQL = statements.load("tenants")


class TenantState(StrEnum):
    ACTIVE = "active"
    SUSPENDED = "suspended"


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """`shard`: where the tenant's calls go; None: where `subjects.shard_of` says."""

    id: TenantId
    name: str
    shard: int | None
    state: TenantState
    created_at: datetime


class Tenants:
    """The tenants of the fleet; for operators, except `get` and `find`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, ctx: CallContext, tenant: str, *, name: str, shard: int | None = None) -> Tenant:
        """Raises Conflict when the id is taken, Invalid when it or the name cannot be one."""
        created = _parse_new(tenant)
        check_name(name, field="name", limit=MAX_NAME)
        async with self._database.transaction(created) as connection:
            row = await connection.fetchrow(_SQL.create_tenant, created, name, shard)
            await audit.write(connection, ctx, "tenant.created", Resource("tenant", created, name), tenant=created)
        return _tenant(row)

    async def find(self, tenant: TenantId) -> Tenant | None:
        async with self._database.unscoped() as connection:
            row = await connection.fetchrow(_SQL.find_tenant, tenant)
        return _tenant(row) if row else None

    async def get(self, tenant: TenantId) -> Tenant:
        found = await self.find(tenant)
        if found is None:
            raise NotFound(f"there is no tenant {tenant[:80]!r}")
        return found

    async def list_tenants(self, *, after: str = "", limit: int = MAX_PAGE) -> list[Tenant]:
        """A page in the order of ids; the next one is `after` the last id."""
        async with self._database.unscoped() as connection:
            rows = await connection.fetch(_SQL.list_tenants, after, min(limit, MAX_PAGE))
        return [_tenant(row) for row in rows]

    async def set_state(self, ctx: CallContext, tenant: TenantId, state: TenantState) -> Tenant:
        """Suspended: its keys open nothing and its installs do not resolve."""
        async with self._database.transaction(tenant) as connection:
            row = await connection.fetchrow(_SQL.set_tenant_state, tenant, state.value)
            if row is None:
                raise NotFound(f"there is no tenant {tenant[:80]!r}")
            await audit.write(connection, ctx, f"tenant.{state}", Resource("tenant", tenant), tenant=tenant)
        return _tenant(row)


def check_name(name: str, *, field: str, limit: int) -> None:
    """A name for people: 1 to `limit` characters, none of them a control character, no space at the ends."""
    if not 1 <= len(name) <= limit:
        raise Invalid(f"{field} must have 1 to {limit} characters, not {len(name)}")
    if name != name.strip() or not name.isprintable():
        raise Invalid(f"{field} must be printable and have no space at its ends")


def _parse_new(text: str) -> TenantId:
    tenant = parse_tenant(text)
    if tenant == PLATFORM:
        raise Invalid(f"tenant {PLATFORM} is the platform's own name")
    return tenant


def _tenant(row: Row | None) -> Tenant:
    assert row is not None
    return Tenant(
        id=TenantId(row["tenant_id"]),
        name=row["name"],
        shard=row["shard"],
        state=TenantState(row["state"]),
        created_at=row["created_at"],
    )
