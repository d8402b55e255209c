"""What a decision about an install writes, in the caller's transaction: the row, its configuration, who approved it.

Owns no decision. Nothing of an uninstalled extension stays but its consents, its audit rows and, for
`STORAGE_GRACE_SECONDS`, what it stored: those records get an expiry, and go as any expired record does.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from registry import install_follow_ups, statements
from registry.database import Connection
from registry.grants import Approval
from registry.versions import PublishedVersion
from schemas import ids
from schemas.call import CallContext
from schemas.ids import InstallId
from schemas.install import InstallStatus

STORAGE_GRACE_SECONDS = 7 * 24 * 3600
_SQL = statements.load("installs")
_CONSENTS = statements.load("grants")


class State(NamedTuple):
    """What an install is to be from now on."""

    install: InstallId
    version: PublishedVersion
    approval: Approval
    status: InstallStatus


async def insert(connection: Connection, ctx: CallContext, state: State, *, host: str, config: dict[str, Any]) -> None:
    """A new install. Raises Conflict where the extension is installed."""
    await connection.execute(
        _SQL.insert_install,
        state.install,
        ctx.tenant,
        state.version.registry,
        state.version.version_id,
        *_granted(state.approval),
        state.status.value,
        host,
    )
    await put_config(connection, ctx, state.install, config)
    await _follow(connection, ctx, state)


async def store(connection: Connection, ctx: CallContext, state: State) -> None:
    """Another version, other grants, or both."""
    await connection.execute(
        _SQL.update_install,
        ctx.tenant,
        state.install,
        state.version.version_id,
        *_granted(state.approval),
        state.status.value,
    )
    await _follow(connection, ctx, state)


async def put_config(connection: Connection, ctx: CallContext, install: InstallId, config: dict[str, Any]) -> None:
    """The whole configuration, under a new version."""
    await connection.execute(_SQL.put_config, ctx.tenant, install, config, ids.new_id())


async def remove(connection: Connection, ctx: CallContext, install: InstallId) -> None:
    """The install and all that hangs on it. The caller holds its lock, so nothing is stored for it meanwhile."""
    await install_follow_ups.drop_subscriptions(connection, ctx.tenant, install)
    await connection.execute(_SQL.expire_storage, ctx.tenant, install, float(STORAGE_GRACE_SECONDS))
    await connection.execute(_SQL.forget_answers, ctx.tenant, install)
    await connection.execute(_CONSENTS.revoke_consents, ctx.tenant, install)
    await connection.execute(_SQL.delete_install, ctx.tenant, install)


async def _follow(connection: Connection, ctx: CallContext, state: State) -> None:
    """What hangs on the approval: subscriptions, and the record of who approved it."""
    await install_follow_ups.set_subscriptions(connection, ctx.tenant, state.install, state.version, state.approval)
    await connection.execute(_CONSENTS.revoke_consents, ctx.tenant, state.install)
    await connection.execute(
        _CONSENTS.insert_consent,
        ctx.tenant,
        state.install,
        state.version.version_id,
        *_granted(state.approval),
        list(install_follow_ups.approved_topics(state.version, state.approval)),
        _who(ctx),
    )


def _granted(approval: Approval) -> tuple[list[str], list[str], object]:
    return sorted(approval.capabilities), list(approval.egress), msgspec.to_builtins(approval.limits)


def _who(ctx: CallContext) -> str:
    user = ctx.principal.user
    return (user.user_id if user else ctx.principal.key_id) or ctx.principal.kind.value
