"""What follows from a change of an install, in its transaction: its subscriptions and its schedules.

Owns the rule that both survive an update where the new version has the same (topic, handler) or (method, path).
Running them is `events/`'s.
"""

from __future__ import annotations

from registry import statements
from registry.database import Connection, Row
from registry.grants import Approval
from registry.versions import PublishedVersion
from schemas import capability
from schemas.errors import Conflict
from schemas.ids import InstallId, TenantId
from schemas.manifest import EventWish

_SQL = statements.load("installs")
SCHEDULE_REMAP_FAILED = "SCHEDULE_REMAP_FAILED"


def approved_topics(version: PublishedVersion, approval: Approval) -> tuple[str, ...]:
    """The topics an install may hear: all of its version's, or none where subscribing was not approved."""
    return version.wishes.topics if capability.EVENTS_SUBSCRIBE in approval.capabilities else ()


async def set_subscriptions(
    connection: Connection, tenant: TenantId, install: InstallId, version: PublishedVersion, approval: Approval
) -> None:
    """Make the install's subscriptions those of the version; a row whose (topic, handler) stays keeps its id."""
    topics = approved_topics(version, approval)
    wanted = {(wish.topic, wish.handler): wish for wish in version.subscriptions if wish.topic in topics}
    for row in await connection.fetch(_SQL.list_subscriptions, tenant, install):
        wish = wanted.pop((row["topic"], row["handler"]), None)
        if wish is None:
            await _drop_subscription(connection, tenant, row["id"])
        else:
            await connection.execute(_SQL.keep_subscription, tenant, row["id"], _filter(wish), version.version_id)
    for wish in wanted.values():
        await connection.execute(
            _SQL.insert_subscription, tenant, install, wish.topic, wish.handler, _filter(wish), version.version_id
        )


async def drop_subscriptions(connection: Connection, tenant: TenantId, install: InstallId) -> None:
    """Remove all of an install, and cancel what is owed to them."""
    for row in await connection.fetch(_SQL.list_subscriptions, tenant, install):
        await _drop_subscription(connection, tenant, row["id"])


async def remap_schedules(
    connection: Connection, tenant: TenantId, install: InstallId, version: PublishedVersion, *, disable_missing: bool
) -> None:
    """Point schedules at the endpoints of the new version with the same method and path.

    Raises Conflict whose extra has `code` SCHEDULE_REMAP_FAILED and `missing`, unless those are to be disabled.
    """
    rows = await connection.fetch(_SQL.list_schedules, tenant, install, version.version_id)
    gone = [row for row in rows if row["endpoint_id"] is None]
    if gone and not disable_missing:
        raise _remap_failed(version, gone)
    for row in rows:
        if row["endpoint_id"] is None:
            reason = f"{row['method']} {row['path']} is not an endpoint of version {version.version}"
            await connection.execute(_SQL.disable_schedule, tenant, row["schedule_id"], reason)
        else:
            await connection.execute(_SQL.remap_schedule, tenant, row["schedule_id"], row["endpoint_id"])


async def _drop_subscription(connection: Connection, tenant: TenantId, subscription: str) -> None:
    await connection.execute(_SQL.cancel_deliveries, tenant, subscription)
    await connection.execute(_SQL.delete_subscription, tenant, subscription)


def _filter(wish: EventWish) -> dict[str, object] | None:
    return wish.filter or None


def _remap_failed(version: PublishedVersion, gone: list[Row]) -> Conflict:
    missing = [{"scheduleId": row["schedule_id"], "method": row["method"], "path": row["path"]} for row in gone]
    return Conflict(
        f"{len(gone)} schedules call endpoints that version {version.version} does not have",
        extra={"code": SCHEDULE_REMAP_FAILED, "missing": missing},
    )
