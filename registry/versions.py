"""Published versions as installs and the resolver read them. Rows are written by `registry/bundles.py`.

Owns how a version's columns become what it wishes for, its endpoints and its subscriptions. Every table here is
global: no tenant's data is read.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec

from registry import signing, statements
from registry.certificates import Roots
from registry.database import Connection, Row
from registry.grants import Wishes
from registry.signing import Bound, PublisherKey
from schemas import bundle, capability, versions
from schemas.errors import Conflict, ErrorCode, NotFound, Unprocessable
from schemas.ids import ContentHash, RegistryId, VersionId
from schemas.install import Endpoint
from schemas.manifest import EventWish, RequestedLimits

_SQL = statements.load("versions")
ACTIVE, WITHDRAWN, QUARANTINED = "active", "withdrawn", "quarantined"


class PublishedVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version and all that an install decision needs of it."""

    registry: RegistryId
    publisher: str
    publisher_state: str
    name: str
    version_id: VersionId
    version: str
    state: str
    content_hash: ContentHash
    has_component: bool
    wishes: Wishes
    endpoints: tuple[Endpoint, ...]
    subscriptions: tuple[EventWish, ...]
    client_portal: bool
    bound: Bound
    signature: str | None
    key: PublisherKey | None


async def find_published(connection: Connection, registry: RegistryId, reference: str) -> PublishedVersion:
    """The version an install call means: exact, or `X.Y.*` for the highest published stable one that is active.

    Raises Invalid for what is no version, NotFound where there is none.
    """
    rows = await connection.fetch(_SQL.list_versions, registry)
    wanted = versions.parse_reference(reference)
    texts = [row["version"] for row in rows if isinstance(wanted, versions.Version) or row["state"] == ACTIVE]
    resolved = versions.resolve_published(reference, texts)
    if resolved is None:
        raise NotFound(f"version {reference[:80]} of extension {registry} is not published")
    by_text = {row["version"]: VersionId(row["version_id"]) for row in rows}
    return await get_version(connection, by_text[resolved])


async def get_version(connection: Connection, version_id: VersionId) -> PublishedVersion:
    """One version by id. Raises NotFound."""
    row = await connection.fetchrow(_SQL.get_version, version_id)
    if row is None:
        raise NotFound(f"version {version_id} is not published")
    return parse_version(row)


def parse_version(row: Row) -> PublishedVersion:
    """A row of `get_version`."""
    return PublishedVersion(
        registry=RegistryId(row["registry_id"]),
        publisher=row["publisher"],
        publisher_state=row["publisher_state"],
        name=row["name"],
        version_id=VersionId(row["version_id"]),
        version=row["version"],
        state=row["state"],
        content_hash=ContentHash(row["content_hash"]),
        has_component=bool(row["has_component"]),
        wishes=parse_wishes(row),
        endpoints=parse_endpoints(row["api_endpoints"]),
        subscriptions=tuple(msgspec.convert(entry, EventWish) for entry in row["events"]),
        client_portal=opts_in_to_client_portal(row["ui"]),
        bound=_bound(row),
        signature=row["signature"],
        key=_publisher_key(row),
    )


def parse_wishes(row: Row) -> Wishes:
    """What a version asks for, from the columns `capabilities, egress, events, limits`."""
    names = {capability.parse_capability(name) for name in row["capabilities"]}
    if row["events"]:
        names.add(capability.EVENTS_SUBSCRIBE)
    return Wishes(
        capabilities=frozenset(names) & capability.REQUESTABLE,
        egress=tuple(row["egress"]),
        topics=tuple(dict.fromkeys(entry["topic"] for entry in row["events"])),
        limits=msgspec.convert(row["limits"] or {}, RequestedLimits),
    )


def parse_endpoints(column: list[Mapping[str, Any]]) -> tuple[Endpoint, ...]:
    """The column `api_endpoints`: entries may carry more keys than we read."""
    return tuple(msgspec.convert(entry, Endpoint) for entry in column)


def opts_in_to_client_portal(ui: Mapping[str, Any] | None) -> bool:
    """Whether the manifest's `ui.hooks.clientPortalMenu` has a label."""
    hook = ((ui or {}).get("hooks") or {}).get("clientPortalMenu") or {}
    return bool(str(hook.get("label") or "").strip())


def check_installable(version: PublishedVersion, *, installed: str | None, override: bool) -> str:
    """Whether this version may be installed over `installed` (None: nothing is). Pure.

    Returns what was overridden, `older` or `withdrawn`, or "". Raises Conflict for going back and for withdrawn
    versions without an override, and for quarantined ones always.
    """
    if version.state == QUARANTINED:
        raise Conflict(f"version {version.version} of {version.name} is quarantined")
    overridden = _against_rules(version, installed)
    if overridden and not override:
        raise Conflict(
            f"version {version.version} of {version.name} is withdrawn"
            if overridden == WITHDRAWN
            else f"version {version.version} is older than the installed {installed}"
        )
    return overridden


def check_signature(version: PublishedVersion, *, roots: Roots, now: datetime.datetime) -> None:
    """The author's signature once more, by what is known of keys and publishers now. Pure.

    Raises Unprocessable (signature_invalid) where it does not verify, or its key is revoked, expired, not valid yet or
    unknown, or its publisher suspended; Forbidden where the key is another publisher's.
    """
    if version.publisher_state != ACTIVE:
        raise _not_trusted(version, "its publisher is suspended")
    if version.signature is None:
        raise _not_trusted(version, "it is not signed")
    keys = () if version.key is None else (version.key,)
    signing.verify_bundle(
        bundle.parse_signature(version.signature), bound=version.bound, keys=keys, roots=roots, now=now
    )


def _against_rules(version: PublishedVersion, installed: str | None) -> str:
    if version.state == WITHDRAWN:
        return WITHDRAWN
    return "older" if installed is not None and versions.is_older(version.version, installed) else ""


def _not_trusted(version: PublishedVersion, why: str) -> Unprocessable:
    return Unprocessable(
        f"version {version.version} of {version.name} cannot be installed: {why}", code=ErrorCode.SIGNATURE_INVALID
    )


def _bound(row: Row) -> Bound:
    """What the author's statement must say. It has the manifest's version text; the resolved one is ours."""
    return Bound(
        publisher=row["publisher"],
        name=row["name"],
        version=row["manifest_version"] or row["version"],
        manifest_sha256=row["manifest_sha256"],
        content_hash=ContentHash(row["content_hash"]),
    )


def _publisher_key(row: Row) -> PublisherKey | None:
    if row["key_id"] is None:
        return None
    return PublisherKey(
        key_id=row["key_id"],
        publisher=row["key_publisher"],
        public_key=bytes(row["public_key"]),
        not_before=row["not_before"],
        not_after=row["not_after"],
        revoked_at=row["revoked_at"],
    )
