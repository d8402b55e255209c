"""An install: a tenant's decision to run one version, with grants; and what the fronts resolve it to.

`Resolved` is all that a call needs to know of the registry; it is cached per tenant and reference by the fronts.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from schemas.codec import Wire
from schemas.ids import ContentHash, InstallId, RegistryId, TenantId, VersionId
from schemas.invocation import Limits


class InstallStatus(StrEnum):
    ENABLED = "enabled"
    DISABLED = "disabled"
    PENDING = "pending"


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One declared endpoint, its path already normal: `/` and segments, each literal or `:name`."""

    method: str
    path: str
    handler: str
    idempotent: bool = False


class Resolved(msgspec.Struct, frozen=True, kw_only=True):
    """What an enabled install runs as, at one moment.

    `config` values are texts: strings as they are, other JSON as JSON text, null as "".
    `client_portal`: the manifest opts in to client-portal users. `shard` is where the tenant's calls go.
    """

    tenant: TenantId
    install: InstallId
    registry: RegistryId
    version_id: VersionId
    name: str
    publisher: str
    version: str
    content_hash: ContentHash
    has_component: bool
    grants: frozenset[str]
    egress: tuple[str, ...]
    limits: Limits
    endpoints: tuple[Endpoint, ...]
    client_portal: bool
    config: dict[str, str]
    shard: int
    rate_per_second: float = 50.0
    rate_burst: int = 100


class InstallChanged(Wire, frozen=True, tag="install-changed"):
    """Drop every cached entry and ticket of this tenant's install, then acknowledge. None: all of the tenant."""

    tenant: TenantId
    install: InstallId | None = None
