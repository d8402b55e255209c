"""Installs over HTTP: install, update, uninstall, switch, grant, configure, look at. For a tenant's admins.

Owns the bodies and the shapes of the answers; the rules are `registry/installs.py`'s. The first three calls keep the
shapes existing tools know, success flag, message and all.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from gateway import errors, keys, pages
from gateway.json_bodies import Body
from gateway.operations import Access, Answer, Call, Operation
from registry import grants
from registry.grants import Request as Consent
from registry.install_cache import not_installed
from registry.install_rows import InstallView
from registry.installs import InstallRequest
from schemas import ids
from schemas.errors import Conflict, NotFound
from schemas.ids import InstallId, RegistryId
from schemas.install import InstallStatus

MAX_REFERENCE_CHARACTERS = 400
Capabilities = Annotated[list[str], Field(max_length=50)] | Literal["manifest"]
Hosts = Annotated[list[str], Field(max_length=grants.MAX_EGRESS_ENTRIES)]


class ConsentBody(Body):
    """What an admin decides: capabilities (or "manifest" for all asked for), egress hosts, limits."""

    grants: Capabilities | None = None
    egress: Hosts | None = None
    limits: dict[str, int] | None = None

    def consent(self) -> Consent:
        return Consent(
            grants=grants.parse_grants(self.grants),
            egress=grants.parse_hosts(self.egress),
            limits=grants.parse_limits(self.limits),
        )


class Install(ConsentBody):
    """`version` exact, or `X.Y.*` for the highest published. `override`: go back, or take a withdrawn version."""

    registry_id: Annotated[str, Field(alias="registryId")]
    version: Annotated[str, Field(min_length=1, max_length=128)]
    config: dict[str, Any] | None = None
    override: bool = False

    def request(self, **more: Any) -> InstallRequest:
        return InstallRequest(
            registry=RegistryId(ids.parse_uuid(self.registry_id, field="registryId")),
            version=self.version,
            consent=self.consent(),
            config=self.config,
            override=self.override,
            **more,
        )


class Update(Install):
    """`disableMissingSchedules`: switch off schedules whose endpoint is gone instead of refusing."""

    disable_missing_schedules: Annotated[bool, Field(alias="disableMissingSchedules")] = False


class Import(Install):
    """An operator brings an install over with the id that the host application knows it by."""

    install_id: Annotated[str, Field(alias="installId")]


class Uninstall(Body):
    """The extension to remove."""

    registry_id: Annotated[str, Field(alias="registryId")]


class Config(Body):
    """The whole configuration: a JSON object of at most 64 KiB."""

    config: dict[str, Any]


async def install(call: Call) -> object:
    body: Install = call.body
    return await _or_conflict(call, _install(call, body.request()))


async def import_install(call: Call) -> object:
    body: Import = call.body
    tenant = ids.parse_tenant(call.request.match_info["tenant"])
    await call.request.app[keys.TENANTS].get(tenant)
    wanted = body.request(install=InstallId(ids.parse_uuid(body.install_id, field="installId")))
    acting = call._replace(context=msgspec.structs.replace(call.context, tenant=tenant))
    return await _or_conflict(acting, _install(acting, wanted))


async def update(call: Call) -> object:
    body: Update = call.body
    wanted = body.request(disable_missing_schedules=body.disable_missing_schedules)
    return await _or_conflict(call, _update(call, wanted))


async def uninstall(call: Call) -> object:
    body: Uninstall = call.body
    registry = ids.parse_uuid(body.registry_id, field="registryId")
    view = await call.request.app[keys.INSTALLS].uninstall(call.context, registry)
    return {"data": {"registryId": view.registry, "success": True, "message": f"{view.name} is uninstalled"}}


async def list_installs(call: Call) -> object:
    limit = pages.limit_of(call.request)
    found = await call.request.app[keys.INSTALLS].list(call.context, after=pages.cursor_of(call.request), limit=limit)
    return {"data": [_shown(view) for view in found], "cursor": found[-1].name if len(found) == limit else None}


async def get(call: Call) -> object:
    return {"data": _shown(await call.request.app[keys.INSTALLS].get(call.context, _reference(call)))}


async def enable(call: Call) -> object:
    return await _or_conflict(call, _viewed(call.request.app[keys.INSTALLS].enable(call.context, _reference(call))))


async def disable(call: Call) -> object:
    return {"data": _shown(await call.request.app[keys.INSTALLS].disable(call.context, _reference(call)))}


async def set_grants(call: Call) -> object:
    body: ConsentBody = call.body
    installs = call.request.app[keys.INSTALLS]
    return {"data": _shown(await installs.set_grants(call.context, _reference(call), body.consent()))}


async def set_config(call: Call) -> object:
    body: Config = call.body
    installs = call.request.app[keys.INSTALLS]
    return {"data": _shown(await installs.set_config(call.context, _reference(call), body.config))}


async def lookup_by_host(call: Call) -> object:
    host = call.request.query.get("host", "")
    found = await call.request.app[keys.INSTALLS].find_by_host(host) if 0 < len(host) <= 255 else None
    if found is None:
        raise NotFound("no enabled install has this host")
    tenant, _, extension, content_hash = found
    return {"tenant_id": tenant, "extension_id": extension, "content_hash": content_hash}


async def validate(call: Call) -> object:
    query = call.request.query
    tenant = ids.parse_tenant(query.get("tenant", ""))
    extension = ids.parse_uuid(query.get("extension", ""), field="extension")
    content_hash = ids.parse_content_hash(query.get("hash", ""), field="hash")
    return {"valid": await call.request.app[keys.INSTALLS].is_served(tenant, extension, content_hash)}


async def _install(call: Call, wanted: InstallRequest) -> object:
    view = await call.request.app[keys.INSTALLS].install(call.context, wanted)
    return {"data": {**_changed(view, "installed"), "installId": view.id}}


async def _update(call: Call, wanted: InstallRequest) -> object:
    return {"data": _changed(await call.request.app[keys.INSTALLS].update(call.context, wanted), "updated")}


async def _viewed(change: Awaitable[InstallView]) -> object:
    return {"data": _shown(await change)}


async def _or_conflict(call: Call, change: Awaitable[object]) -> object:
    """What the change answers; a conflict in the flat shape existing tools read, beside our own."""
    try:
        return await change
    except Conflict as problem:
        described = {
            "code": problem.code.value,
            "message": problem.message,
            "request_id": call.context.request_id,
        }
        own = {name: value for name, value in problem.extra.items() if name != "code"}
        flat = {"success": False, "code": problem.code.value, "message": problem.message, **problem.extra}
        return Answer({**flat, "error": {**own, **described}}, errors.status_of(problem.code))


def _changed(view: InstallView, what: str) -> dict[str, object]:
    waits = view.status is InstallStatus.PENDING
    message = f"{view.name} {view.version} is {what}" + (" and waits for consent" if waits else "")
    return {
        "registryId": view.registry,
        "version": view.version,
        "success": True,
        "message": message,
        "status": view.status.value,
    }


def _reference(call: Call) -> str:
    """An install as the path names it: either id, `publisher.name`, or its name."""
    reference = call.request.match_info["install"]
    if not 0 < len(reference) <= MAX_REFERENCE_CHARACTERS or not reference.isprintable():
        raise not_installed()
    return reference


def _shown(view: InstallView) -> Any:
    return msgspec.to_builtins(view)


_ONE = "/api/v1/extensions/installs/{install}"
OPERATIONS = (
    Operation(
        "POST", "/api/v1/extensions/install", Access.WRITE, install, "Install a version", model=Install, status=202
    ),
    Operation(
        "POST",
        "/api/v1/tenants/{tenant}/installs",
        Access.OPERATOR,
        import_install,
        "Import an install with its own id",
        model=Import,
        status=202,
    ),
    Operation("POST", "/api/v1/extensions/update", Access.WRITE, update, "Move to another version", model=Update),
    Operation("POST", "/api/v1/extensions/uninstall", Access.WRITE, uninstall, "Remove an install", model=Uninstall),
    Operation(
        "GET",
        "/api/v1/extensions/installs",
        Access.READ,
        list_installs,
        "List installs",
        query=("limit", "cursor"),
    ),
    Operation("GET", _ONE, Access.READ, get, "Show an install"),
    Operation("POST", f"{_ONE}/enable", Access.WRITE, enable, "Let an install run"),
    Operation("POST", f"{_ONE}/disable", Access.WRITE, disable, "Stop an install from running"),
    Operation("PUT", f"{_ONE}/grants", Access.WRITE, set_grants, "Decide about grants anew", model=ConsentBody),
    Operation("PUT", f"{_ONE}/config", Access.WRITE, set_config, "Replace the configuration", model=Config),
    Operation(
        "GET",
        "/api/installs/lookup-by-host",
        Access.PLATFORM,
        lookup_by_host,
        "Whose install host this is",
        query=("host",),
    ),
    Operation(
        "GET",
        "/api/installs/validate",
        Access.PLATFORM,
        validate,
        "Whether an enabled install runs this bundle",
        query=("tenant", "extension", "hash"),
    ),
)
