"""Installs: a tenant's decision to run one version, with grants. Each method is one transaction and its announcement.

Owns the rules of installing, updating and removing; what is in force is `registry/grants.py`'s, shapes are
`registry/install_rows.py`'s. A change is audited in its own transaction, announced to the fronts after the commit,
and the method returns when they have dropped what they kept, or after two seconds.

What is written is `registry/install_writes.py`'s, as is what stays of an extension that was uninstalled.
"""

from __future__ import annotations

import base64
import datetime
import os
from typing import Any

import msgspec

from registry import audit, grants, install_follow_ups, install_rows, install_writes, statements, versions
from registry.audit import Resource
from registry.database import Connection, Database, Row
from registry.grants import Missing, Request
from registry.install_cache import not_installed
from registry.install_changes import Announces
from registry.install_rows import InstallView, Platform
from registry.install_writes import State
from registry.versions import PublishedVersion
from schemas import ids
from schemas.call import CallContext
from schemas.errors import Conflict
from schemas.ids import ContentHash, InstallId, RegistryId, TenantId
from schemas.install import InstallChanged, InstallStatus, Resolved
from service.clock import Clock

_SQL = statements.load("installs")
MAX_PAGE = 100
_HOST_LABEL_BYTES = 20
"""160 random bits: 32 characters of base32."""


class InstallRequest(msgspec.Struct, frozen=True, kw_only=True):
    """An admin's call to install or update. `version` exact or `X.Y.*`.

    `override`: go back to an older version, or take a withdrawn one; it is audited. `install`: the id an operator
    imports from the host application. `disable_missing_schedules`: schedules whose endpoint is gone are switched off
    instead of stopping the update.
    """

    registry: RegistryId
    version: str
    consent: Request = Request()
    config: dict[str, Any] | None = None
    override: bool = False
    install: InstallId | None = None
    disable_missing_schedules: bool = False


class _ConsentMissing(Exception):
    """Leaves the transaction of an update, so that what waits for consent can be remembered in one of its own."""

    def __init__(self, install: InstallId, version: PublishedVersion, missing: Missing) -> None:
        super().__init__()
        self.install, self.version, self.missing = install, version, missing


class Installs:
    """The installs of all tenants; every method but the look-ups by host takes whose they are first."""

    def __init__(self, database: Database, announcer: Announces, clock: Clock, platform: Platform) -> None:
        self._database, self._announcer, self._clock, self._platform = database, announcer, clock, platform

    async def resolve(self, tenant: TenantId, reference: str) -> Resolved:
        """What a reference runs as now: install or registry UUID, `publisher.name`, or a name if it is unambiguous.

        NotFound (extension_not_installed) alike for unknown, disabled, pending, revoked and another tenant's.
        """
        wanted = reference.lower()
        by_id = ids.is_uuid(wanted)
        async with self._database.transaction(tenant) as connection:
            rows = await connection.fetch(_SQL.resolve_by_id if by_id else _SQL.resolve_by_name, tenant, wanted)
        if not rows or (len(rows) > 1 and not rows[0]["is_full_name"]):
            raise not_installed()
        return install_rows.parse_resolved(rows[0], self._platform)

    async def is_served(self, tenant: TenantId, extension: str, content_hash: ContentHash) -> bool:
        """Whether an enabled install of this extension (either id) runs exactly this bundle."""
        async with self._database.transaction(tenant) as connection:
            return bool(await connection.fetchval(_SQL.is_served, tenant, extension, content_hash))

    async def find_by_host(self, host: str) -> tuple[TenantId, InstallId, RegistryId, ContentHash] | None:
        """The enabled install whose own host this is."""
        async with self._database.unscoped() as connection:
            row = await connection.fetchrow(_SQL.lookup_by_host, host.lower())
        return None if row is None else (row["tenant_id"], row["install_id"], row["extension_id"], row["content_hash"])

    async def get(self, ctx: CallContext, reference: str) -> InstallView:
        """One install for its admin, whatever its state. Raises NotFound."""
        async with self._database.transaction(ctx.tenant) as connection:
            return await self._view(connection, ctx, reference)

    async def list(self, ctx: CallContext, *, after: str = "", limit: int = MAX_PAGE) -> list[InstallView]:
        """Installs by extension name; the next page is `after` the last row's name."""
        async with self._database.transaction(ctx.tenant) as connection:
            rows = await connection.fetch(_SQL.list_installs, ctx.tenant, after, min(max(1, limit), MAX_PAGE))
        return [install_rows.parse_view(row, self._platform) for row in rows]

    async def install(self, ctx: CallContext, request: InstallRequest) -> InstallView:
        """Install a version; over an existing install this is `update`.

        Pending when the version asks for more than the defaults and the call says nothing of grants. Raises NotFound
        (no such version), Conflict (older or withdrawn without override, consent missing), Unprocessable (the author's
        key is not good any more), Invalid and TooLarge (config).
        """
        return await self._change_version(ctx, request, must_exist=False)

    async def update(self, ctx: CallContext, request: InstallRequest) -> InstallView:
        """Move an install to another version. As `install`, and NotFound where nothing is installed.

        Conflict with `consent_required` when the version widens what is asked for and the call does not decide about
        it: the old version keeps running. Conflict with `missing` when schedules would lose their endpoint.
        """
        return await self._change_version(ctx, request, must_exist=True)

    async def uninstall(self, ctx: CallContext, reference: str) -> InstallView:
        """Remove an install, with its schedules, subscriptions, secrets and kept answers; what it was."""
        async with self._database.transaction(ctx.tenant) as connection:
            view = await self._view(connection, ctx, reference)
            await connection.fetchrow(_SQL.lock_install, ctx.tenant, view.id)
            await install_writes.remove(connection, ctx, view.id)
            await self._audit(connection, ctx, "install.uninstalled", view, {"version": view.version})
        await self._announce(ctx, view.id)
        return view

    async def enable(self, ctx: CallContext, reference: str) -> InstallView:
        """Let it run. Conflict with `consent_required` while nobody has decided about its grants."""
        return await self._switch(ctx, reference, enabled=True)

    async def disable(self, ctx: CallContext, reference: str) -> InstallView:
        """Stop it from running; nothing of it is lost."""
        return await self._switch(ctx, reference, enabled=False)

    async def set_grants(self, ctx: CallContext, reference: str, consent: Request) -> InstallView:
        """Decide about grants anew: what a list leaves out is revoked, from the next invocation on.

        A part that the call does not mention stays. An install that waited for consent is enabled by it.
        """
        async with self._database.transaction(ctx.tenant) as connection:
            held = await self._lock(connection, ctx, reference)
            version = await versions.get_version(connection, held["version_id"])
            approval = grants.replace_approval(version.wishes, consent, install_rows.parse_approval(held))
            status = InstallStatus(held["status"])
            if consent.grants is not None and status is InstallStatus.PENDING:
                status = InstallStatus.ENABLED if held["is_enabled"] else InstallStatus.DISABLED
            await install_writes.store(connection, ctx, State(held["install_id"], version, approval, status))
            view = await self._view(connection, ctx, held["install_id"])
            await self._audit(connection, ctx, "install.grants_changed", view, _granted(view))
        await self._announce(ctx, view.id)
        return view

    async def set_config(self, ctx: CallContext, reference: str, config: object) -> InstallView:
        """Replace the whole configuration: a JSON object of at most 64 KiB."""
        checked = install_rows.check_config(config)
        async with self._database.transaction(ctx.tenant) as connection:
            held = await self._lock(connection, ctx, reference)
            await install_writes.put_config(connection, ctx, held["install_id"], checked)
            view = await self._view(connection, ctx, held["install_id"])
            await self._audit(connection, ctx, "install.config_changed", view, {"names": sorted(checked)[:100]})
        await self._announce(ctx, view.id)
        return view

    async def _change_version(self, ctx: CallContext, request: InstallRequest, *, must_exist: bool) -> InstallView:
        config = None if request.config is None else install_rows.check_config(request.config)
        try:
            async with self._database.transaction(ctx.tenant) as connection:
                held = await connection.fetchrow(_SQL.lock_install, ctx.tenant, request.registry)
                if held is None and must_exist:
                    raise not_installed()
                if held is None:
                    view = await self._insert(connection, ctx, request, config)
                else:
                    view = await self._replace(connection, ctx, request, held=held, config=config)
        except _ConsentMissing as waiting:
            await self._remember(ctx, waiting)
            raise _consent_required(waiting.version.version, waiting.missing) from None
        await self._announce(ctx, view.id)
        return view

    async def _insert(
        self, connection: Connection, ctx: CallContext, request: InstallRequest, config: dict[str, Any] | None
    ) -> InstallView:
        version = await versions.find_published(connection, request.registry, request.version)
        overridden = self._check_installable(version, installed=None, override=request.override)
        approval = grants.approve(version.wishes, request.consent)
        install = request.install or InstallId(ids.new_id())
        status = grants.status_at_install(version.wishes, request.consent)
        state = State(install, version, approval, status)
        await install_writes.insert(connection, ctx, state, host=self._new_host(), config=config or {})
        view = await self._view(connection, ctx, install)
        await self._audit(connection, ctx, "install.installed", view, {**_granted(view), "overridden": overridden})
        return view

    async def _replace(
        self,
        connection: Connection,
        ctx: CallContext,
        request: InstallRequest,
        *,
        held: Row,
        config: dict[str, Any] | None,
    ) -> InstallView:
        install = InstallId(held["install_id"])
        if request.install not in (None, install):
            raise Conflict(f"the extension is installed as {install}")
        old = await versions.get_version(connection, held["version_id"])
        new = await versions.find_published(connection, request.registry, request.version)
        overridden = self._check_installable(new, installed=old.version, override=request.override)
        before, status = install_rows.parse_approval(held), InstallStatus(held["status"])
        if status is InstallStatus.PENDING:
            status = grants.status_at_install(new.wishes, request.consent)
        elif missing := grants.missing_consent(new.wishes, old=old.wishes, held=before, request=request.consent):
            raise _ConsentMissing(install, new, missing)
        narrowed = grants.narrow(old.wishes, new.wishes, before)
        approval = grants.approve(new.wishes, request.consent, before=narrowed)
        await install_follow_ups.remap_schedules(
            connection, ctx.tenant, install, new, disable_missing=request.disable_missing_schedules
        )
        await install_writes.store(connection, ctx, State(install, new, approval, status))
        if config is not None:
            await install_writes.put_config(connection, ctx, install, config)
        view = await self._view(connection, ctx, install)
        details = {**_granted(view), "from_version": old.version, "overridden": overridden}
        await self._audit(connection, ctx, "install.updated", view, details)
        return view

    async def _switch(self, ctx: CallContext, reference: str, *, enabled: bool) -> InstallView:
        async with self._database.transaction(ctx.tenant) as connection:
            held = await self._lock(connection, ctx, reference)
            status = InstallStatus(held["status"])
            if status is InstallStatus.PENDING and enabled:
                version = await versions.get_version(connection, held["version_id"])
                raise _consent_required(version.version, grants.beyond_defaults(version.wishes))
            if status is not InstallStatus.PENDING:
                status = InstallStatus.ENABLED if enabled else InstallStatus.DISABLED
            await connection.execute(_SQL.set_enabled, ctx.tenant, held["install_id"], enabled, status.value)
            view = await self._view(connection, ctx, held["install_id"])
            await self._audit(connection, ctx, "install.enabled" if enabled else "install.disabled", view, {})
        await self._announce(ctx, view.id)
        return view

    async def _remember(self, ctx: CallContext, waiting: _ConsentMissing) -> None:
        async with self._database.transaction(ctx.tenant) as connection:
            await connection.execute(_SQL.set_pending_version, ctx.tenant, waiting.install, waiting.version.version_id)

    async def _lock(self, connection: Connection, ctx: CallContext, reference: str) -> Row:
        install = (await self._view(connection, ctx, reference)).id
        held = await connection.fetchrow(_SQL.lock_install, ctx.tenant, install)
        if held is None:
            raise not_installed()
        return held

    async def _view(self, connection: Connection, ctx: CallContext, reference: str) -> InstallView:
        row = await connection.fetchrow(_SQL.get_install, ctx.tenant, reference.lower())
        if row is None:
            raise not_installed()
        return install_rows.parse_view(row, self._platform)

    async def _announce(self, ctx: CallContext, install: InstallId) -> None:
        await self._announcer.announce(InstallChanged(tenant=ctx.tenant, install=install))

    async def _audit(
        self, connection: Connection, ctx: CallContext, event: str, view: InstallView, details: dict[str, object]
    ) -> None:
        resource = Resource("install", view.id, view.name)
        await audit.write(connection, ctx, event, resource, tenant=ctx.tenant, details=details)

    def _check_installable(self, version: PublishedVersion, *, installed: str | None, override: bool) -> str:
        now = datetime.datetime.fromtimestamp(self._clock.now(), datetime.UTC)
        overridden = versions.check_installable(version, installed=installed, override=override)
        versions.check_signature(version, roots=self._platform.roots, now=now)
        return overridden

    def _new_host(self) -> str:
        label = base64.b32encode(os.urandom(_HOST_LABEL_BYTES)).decode().lower()
        return f"{label}.{self._platform.install_domain}" if self._platform.install_domain else label


def _granted(view: InstallView) -> dict[str, object]:
    return {
        "version": view.version,
        "capabilities": list(view.granted_capabilities),
        "egress": list(view.granted_egress),
        "limits": msgspec.to_builtins(view.granted_limits),
        "status": view.status.value,
    }


def _consent_required(version: str, missing: Missing) -> Conflict:
    return Conflict(f"version {version} asks for more than was approved", extra=missing.as_extra())
