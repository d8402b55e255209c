"""Published versions as installs and the resolver read them. Rows are written by `registry/bundles.py`.

Owns how a version's columns become what it wishes for, its endpoints and its subscriptions. Every table here is
global: no tenant's data is read.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import msgspec

from registry import statements
from registry.database import Connection, Row
from registry.grants import Wishes
from schemas import capability, versions
from schemas.errors import Conflict, ErrorCode, NotFound, Unprocessable
from schemas.ids import ContentHash, RegistryId, VersionId
from schemas.install import Endpoint
from schemas.manifest import EventWish, RequestedLimits

_SQL = statements.load("versions")
ACTIVE, WITHDRAWN, QUARANTINED = "active", "withdrawn", "quarantined"


class SigningKey(msgspec.Struct, frozen=True, kw_only=True):
    """The author's key as the registry knows it now; None of it when the signature is an X.509 chain."""

    key_id: str | None
    is_known: bool
    is_publishers: bool
    not_before: datetime.datetime | None = None
    not_after: datetime.datetime | None = None
    revoked_at: datetime.datetime | None = None


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
    algorithm: str | None
    key: SigningKey


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
        algorithm=row["signature_algorithm"],
        key=_signing_key(row),
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


def check_installable(
    version: PublishedVersion, *, installed: str | None, override: bool, now: datetime.datetime
) -> str:
    """Whether this version may be installed over `installed` (None: nothing is). Pure.

    Returns what was overridden, `older` or `withdrawn`, or "". Raises Conflict for going back and for withdrawn
    versions without an override, Unprocessable (signature_invalid) when the author's key is not good any more.
    """
    if version.state == QUARANTINED:
        raise Conflict(f"version {version.version} of {version.name} is quarantined")
    check_key(version, now=now)
    overridden = _against_rules(version, installed)
    if overridden and not override:
        raise Conflict(
            f"version {version.version} of {version.name} is withdrawn"
            if overridden == WITHDRAWN
            else f"version {version.version} is older than the installed {installed}"
        )
    return overridden


def check_key(version: PublishedVersion, *, now: datetime.datetime) -> None:
    """The author's key as of now: known, the publisher's own, begun, neither expired nor revoked; the publisher active.

    An X.509 signature names no registered key: its chain was verified at publish, and is again at every load.
    """
    key = version.key
    if version.publisher_state != ACTIVE:
        raise _not_trusted(version, "its publisher is suspended")
    if version.algorithm == "x509" and not key.is_known:
        return
    if not key.is_known or not key.is_publishers:
        raise _not_trusted(version, "its key is not a key of its publisher")
    if key.revoked_at is not None and key.revoked_at <= now:
        raise _not_trusted(version, "its key is revoked")
    if key.not_after is not None and key.not_after <= now:
        raise _not_trusted(version, "its key has expired")
    if key.not_before is not None and key.not_before > now:
        raise _not_trusted(version, "its key is not valid yet")


def _against_rules(version: PublishedVersion, installed: str | None) -> str:
    if version.state == WITHDRAWN:
        return WITHDRAWN
    return "older" if installed is not None and versions.is_older(version.version, installed) else ""


def _not_trusted(version: PublishedVersion, why: str) -> Unprocessable:
    return Unprocessable(
        f"version {version.version} of {version.name} cannot be installed: {why}", code=ErrorCode.SIGNATURE_INVALID
    )


def _signing_key(row: Row) -> SigningKey:
    return SigningKey(
        key_id=row["key_id"],
        is_known=row["is_publishers_key"] is not None,
        is_publishers=bool(row["is_publishers_key"]),
        not_before=row["not_before"],
        not_after=row["not_after"],
        revoked_at=row["revoked_at"],
    )
