"""The audit log: who did what to what. Every administrative action writes one row, in its own transaction.

Owns the row. What happens to guests is the execution log's. Never secrets, config values or keys: `details` names
what changed, not what it is now.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

import msgspec

from registry import statements
from registry.database import Connection, Database
from schemas.call import CallContext
from schemas.ids import TenantId

PLATFORM: Final = TenantId("_platform")
"""Under which actions that concern no tenant are kept. No tenant can have this id (`tenants.py`)."""
MAX_PAGE = 100
_SQL = statements.load("audit")


class Resource(msgspec.Struct, frozen=True):
    """What an action was done to: `type` such as `install`, its id, and its name for people."""

    type: str
    id: str | None = None
    name: str | None = None


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One row as it is shown."""

    log_id: str
    event_type: str
    user_id: str | None
    user_email: str | None
    resource: Resource
    status: str
    error_message: str | None
    details: dict[str, object]
    created_at: datetime


async def write(
    connection: Connection,
    ctx: CallContext,
    event_type: str,
    resource: Resource,
    *,
    tenant: TenantId | None = None,
    details: Mapping[str, object] | None = None,
    error: str | None = None,
) -> None:
    """One row in the caller's transaction: it stands or falls with what it tells of.

    `event_type` such as `install.updated`. `tenant`: the one the transaction is for, where that is not the
    caller's own. `error`: the action was refused, and this code says why.
    """
    user = ctx.principal.user
    await connection.execute(
        _SQL.write_entry,
        tenant or ctx.tenant or PLATFORM,
        event_type,
        user.user_id if user else ctx.principal.key_id,
        (user.user_email or None) if user else None,
        resource.type,
        resource.id,
        resource.name,
        ctx.request_id,
        "failure" if error else "success",
        error,
        {**(details or {}), "principal": ctx.principal.kind.value},
    )


class AuditLog:
    """Reading it back."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_entries(
        self, ctx: CallContext, *, before: tuple[datetime, str] | None = None, limit: int = MAX_PAGE
    ) -> list[Entry]:
        """The newest rows of the caller's tenant; the next page is `before` the last row's time and id."""
        at, log_id = before or (None, None)
        async with self._database.transaction(ctx.tenant or PLATFORM) as connection:
            rows = await connection.fetch(_SQL.list_entries, ctx.tenant or PLATFORM, at, log_id, min(limit, MAX_PAGE))
        return [
            Entry(
                log_id=row["log_id"],
                event_type=row["event_type"],
                user_id=row["user_id"],
                user_email=row["user_email"],
                resource=Resource(row["resource_type"], row["resource_id"], row["resource_name"]),
                status=row["status"],
                error_message=row["error_message"],
                details=row["details"],
                created_at=row["created_at"],
            )
            for row in rows
        ]
