"""Rows of installs as values: what an install runs as (`Resolved`), and what people are shown (`InstallView`). Pure.

Owns how columns meet the rules of `registry/grants.py`, the form of a configuration and its limits.
"""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import orjson

from registry import grants, versions
from registry.certificates import Roots
from registry.database import Row
from registry.grants import Approval, GrantedLimits, OperatorLimits
from schemas import subjects
from schemas.errors import Invalid, TooLarge
from schemas.ids import ContentHash, InstallId, RegistryId, TenantId, VersionId
from schemas.install import InstallStatus, Resolved
from schemas.invocation import Limits
from schemas.manifest import RequestedLimits

MAX_CONFIG_BYTES = 64 * 1024
"""It travels in every message."""


class Platform(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator decides for every install.

    `install_domain`: below it each install has its own host label. `roots`: the trust bundle for X.509 authors; empty
    means that versions signed with a certificate cannot be installed.
    """

    shard_count: int = subjects.DEFAULT_SHARD_COUNT
    limits: OperatorLimits = OperatorLimits()
    rate_per_second: float = 50.0
    rate_burst: int = 100
    install_domain: str = ""
    roots: Roots = ()


class InstallView(msgspec.Struct, frozen=True, kw_only=True):
    """An install as admins see it. `status`: enabled, disabled or pending. `effective` and `limits` are in force.

    `missing`: what the installed version asks for and nobody has decided about yet. `pending_version`: a version whose
    update waits for consent.
    """

    id: InstallId
    registry: RegistryId
    publisher: str
    name: str
    version_id: VersionId
    version: str
    version_state: str
    content_hash: ContentHash
    status: InstallStatus
    runner_domain: str | None
    requested_capabilities: tuple[str, ...]
    requested_egress: tuple[str, ...]
    requested_limits: RequestedLimits
    topics: tuple[str, ...]
    granted_capabilities: tuple[str, ...]
    granted_egress: tuple[str, ...]
    granted_limits: GrantedLimits
    effective: tuple[str, ...]
    limits: Limits
    config: dict[str, Any]
    config_version: str | None
    pending_version: str | None
    created_at: datetime.datetime
    updated_at: datetime.datetime


def parse_resolved(row: Row, platform: Platform) -> Resolved:
    """A row of `resolve_by_id` or `resolve_by_name`."""
    tenant = TenantId(row["tenant_id"])
    wishes, approval = versions.parse_wishes(row), parse_approval(row)
    capabilities = grants.effective_capabilities(wishes, approval)
    shard = row["shard"]
    return Resolved(
        tenant=tenant,
        install=InstallId(row["install_id"]),
        registry=RegistryId(row["registry_id"]),
        version_id=VersionId(row["version_id"]),
        name=row["name"],
        publisher=row["publisher"],
        version=row["version"],
        content_hash=ContentHash(row["content_hash"]),
        has_component=bool(row["has_component"]),
        grants=capabilities,
        egress=grants.egress_in_force(capabilities, approval),
        limits=grants.limits_in_force(platform.limits, wishes.limits, approval.limits),
        endpoints=versions.parse_endpoints(row["api_endpoints"]),
        client_portal=versions.opts_in_to_client_portal(row["ui"]),
        config=config_texts(row["config"]),
        shard=subjects.shard_of(tenant, platform.shard_count) if shard is None else shard,
        rate_per_second=platform.rate_per_second,
        rate_burst=platform.rate_burst,
    )


def parse_view(row: Row, platform: Platform) -> InstallView:
    """A row of `get_install` or `list_installs`."""
    wishes, approval = versions.parse_wishes(row), parse_approval(row)
    return InstallView(
        id=InstallId(row["install_id"]),
        registry=RegistryId(row["registry_id"]),
        publisher=row["publisher"],
        name=row["name"],
        version_id=VersionId(row["version_id"]),
        version=row["version"],
        version_state=row["version_state"],
        content_hash=ContentHash(row["content_hash"]),
        status=_shown_status(row),
        runner_domain=row["runner_domain"],
        requested_capabilities=tuple(sorted(wishes.capabilities)),
        requested_egress=wishes.egress,
        requested_limits=wishes.limits,
        topics=wishes.topics,
        granted_capabilities=tuple(sorted(approval.capabilities)),
        granted_egress=approval.egress,
        granted_limits=approval.limits,
        effective=tuple(sorted(grants.effective_capabilities(wishes, approval))),
        limits=grants.limits_in_force(platform.limits, wishes.limits, approval.limits),
        config=row["config"],
        config_version=row["config_version"],
        pending_version=row["pending_version"],
        created_at=row["created_at"],
        updated_at=row["updated_at"],
    )


def parse_approval(row: Row) -> Approval:
    """The columns `granted_caps, granted_egress, granted_limits`: the only authority on grants."""
    return Approval(
        capabilities=frozenset(row["granted_caps"]),
        egress=tuple(row["granted_egress"]),
        limits=msgspec.convert(row["granted_limits"], GrantedLimits),
    )


def check_config(config: object) -> dict[str, Any]:
    """A configuration as an admin sends it: a JSON object of at most 64 KiB. Raises Invalid or TooLarge."""
    if not isinstance(config, dict) or not all(isinstance(name, str) for name in config):
        raise Invalid("config must be a JSON object")
    try:
        size = len(orjson.dumps(config))
    except (TypeError, ValueError) as error:
        raise Invalid("config must be a JSON object", detail=str(error)) from error
    if size > MAX_CONFIG_BYTES:
        raise TooLarge(f"config is {size} bytes, over the limit of {MAX_CONFIG_BYTES}")
    if "\\u0000" in orjson.dumps(config).decode():
        raise Invalid("config must not have a NUL character in it")
    return config


def config_texts(config: dict[str, Any]) -> dict[str, str]:
    """A configuration as guests read it: texts as they are, other JSON as JSON text, null as ""."""
    return {name: _text(value) for name, value in config.items()}


def _text(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _shown_status(row: Row) -> InstallStatus:
    status = InstallStatus(row["status"])
    return InstallStatus.DISABLED if status is InstallStatus.ENABLED and not row["is_enabled"] else status
