"""Extensions, versions and bundles as rows: the write side, and withdrawing.

Owns what a published version's row says and the one transaction that makes it. What a bundle must be was decided
before (`registry/publishing.py`); how installs read these rows is `registry/versions.py`'s.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from registry import audit, candidates, publishers, statements
from registry.audit import Resource
from registry.candidates import Build, Candidate
from registry.database import Connection, Database, Row
from registry.versions import ACTIVE, QUARANTINED, WITHDRAWN
from schemas import bundle, versions
from schemas.call import CallContext
from schemas.errors import Conflict, ErrorCode, Forbidden, Invalid, NotFound
from schemas.ids import ContentHash, PublisherId, RegistryId, TenantId, VersionId
from schemas.manifest import Manifest
from schemas.publishing import Published

STATES = (ACTIVE, WITHDRAWN, QUARANTINED)
_SQL = statements.load("bundles")


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """A published bundle as it has to be when it is compiled again. `version` is the manifest's text."""

    publisher: str
    name: str
    version: str
    manifest_sha256: str
    content_hash: ContentHash
    signature: str
    verified_at: datetime


class VersionView(msgspec.Struct, frozen=True, kw_only=True):
    """One version as it is listed."""

    version_id: VersionId
    version: str
    state: str
    capabilities: tuple[str, ...]
    egress: tuple[str, ...]
    imports: tuple[str, ...]
    content_hash: ContentHash
    size_bytes: int
    key_id: str | None
    algorithm: str | None
    created_at: datetime


class Bundles:
    """The rows of everything that is published."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find_published(self, version_id: VersionId, publisher: PublisherId) -> Published | None:
        """The version of this id, if it is this publisher's."""
        async with self._database.unscoped() as connection:
            return await _find_published(connection, version_id, publisher)

    async def check_new(self, manifest: Manifest, content_hash: ContentHash) -> None:
        """Whether this may still become a version: asked before the work, and decided by `record`.

        Raises Conflict (version_exists).
        """
        async with self._database.unscoped() as connection:
            await _check_new(connection, manifest, content_hash)

    async def record(self, ctx: CallContext, candidate: Candidate, *, tenant: TenantId) -> Published:
        """Make the version: every row of it or none, and the audit row under `tenant`.

        Two publications of one extension take turns here. The same candidate again answers what it made before.
        Raises Conflict (version_exists), Forbidden where the name is another publisher's.
        """
        manifest = candidate.manifest
        async with self._database.transaction(tenant) as connection:
            registry = await publishers.claim_name(connection, candidate.publisher, manifest.name)
            made_before = await _find_published(connection, candidate.version_id, candidate.publisher.id)
            if made_before is not None:
                return made_before
            version = await _check_new(connection, manifest, candidate.archive.content_hash)
            await _insert(connection, registry, version, candidate)
            published = _published(registry, version, candidate)
            resource = Resource("extension_version", candidate.version_id, f"{manifest.name}@{version}")
            details = {"content_hash": published.content_hash, "key_id": candidate.verified.signature.key_id}
            await audit.write(connection, ctx, "version.published", resource, tenant=tenant, details=details)
        return published

    async def put_cwasm(self, build: Build) -> None:
        """Note a compiled form that lies in the store."""
        async with self._database.unscoped() as connection:
            await _put_cwasm(connection, build)

    async def get_source(self, content_hash: ContentHash) -> Source:
        """What to compile again. Raises NotFound for bytes that were never published."""
        async with self._database.unscoped() as connection:
            row = await connection.fetchrow(_SQL.find_source, content_hash)
        if row is None:
            raise NotFound(f"no version was published from {content_hash}")
        return Source(
            publisher=row["publisher"],
            name=row["name"],
            version=row["manifest"]["version"],
            manifest_sha256=row["manifest_sha256"],
            content_hash=ContentHash(row["content_hash"]),
            signature=row["signature"],
            verified_at=row["verified_at"],
        )

    async def list_uncompiled(self, fingerprint: str, *, limit: int) -> list[ContentHash]:
        """Published components that have no code for this engine, the newest first."""
        async with self._database.unscoped() as connection:
            rows = await connection.fetch(_SQL.list_uncompiled, fingerprint, limit)
        return [ContentHash(row["content_hash"]) for row in rows]

    async def list_versions(self, registry: RegistryId) -> list[VersionView]:
        """All versions of an extension, the newest first."""
        async with self._database.unscoped() as connection:
            return [_view(row) for row in await connection.fetch(_SQL.list_versions, registry)]

    async def set_state(self, ctx: CallContext, version_id: VersionId, state: str) -> None:
        """Withdraw a version, quarantine it, or make it active again; an operator's, or its own publisher's to do.

        Withdrawn: installs keep it, nobody installs it any more. Quarantined: it runs nowhere. Raises NotFound,
        Forbidden for another publisher, or for a publisher who lifts a quarantine.
        """
        if state not in STATES:
            raise Invalid(f"state must be one of {', '.join(STATES)}, not {state[:40]!r}")
        tenant = ctx.tenant or audit.PLATFORM
        async with self._database.transaction(tenant) as connection:
            row = await connection.fetchrow(_SQL.lock_version, version_id)
            if row is None:
                raise NotFound("there is no such version")
            _check_may_set(ctx, row, state)
            await connection.execute(_SQL.set_state, version_id, state)
            resource = Resource("extension_version", version_id, f"{row['name']}@{row['version']}")
            await audit.write(
                connection, ctx, f"version.{state}", resource, tenant=tenant, details={"was": row["state"]}
            )


async def _find_published(connection: Connection, version_id: VersionId, publisher: PublisherId) -> Published | None:
    row = await connection.fetchrow(_SQL.find_published, version_id)
    if row is None or row["publisher_id"] != publisher:
        return None
    imports = tuple(row["imports"])
    return Published(
        extension_id=row["registry_id"],
        name=row["name"],
        publisher=row["publisher"],
        version_id=VersionId(row["version_id"]),
        version=row["version"],
        content_hash=ContentHash(row["content_hash"]),
        canonical_key=row["storage_url"],
        imports=imports,
        warnings=candidates.warnings_of(imports, frozenset(row["capabilities"])),
    )


async def _check_new(connection: Connection, manifest: Manifest, content_hash: ContentHash) -> str:
    """The version it would become."""
    taken = {row["version"] for row in await connection.fetch(_SQL.list_version_texts, manifest.name)}
    version = versions.resolve_new(manifest.version, taken)
    if version in taken:
        raise Conflict(f"version {version} of {manifest.name} is published", code=ErrorCode.VERSION_EXISTS)
    row = await connection.fetchrow(_SQL.find_version_of_bundle, content_hash)
    if row is not None:
        raise Conflict(
            f"this bundle is published as version {row['version']} of {row['name']}", code=ErrorCode.VERSION_EXISTS
        )
    return version


async def _insert(connection: Connection, registry: RegistryId, version: str, candidate: Candidate) -> None:
    await connection.execute(_SQL.insert_version, *candidates.version_row(registry, version, candidate))
    await connection.execute(_SQL.insert_bundle, *candidates.bundle_row(candidate))
    endpoints = candidate.manifest.endpoints
    await connection.execute(
        _SQL.insert_endpoints,
        candidate.version_id,
        [endpoint.method for endpoint in endpoints],
        [endpoint.path for endpoint in endpoints],
        [endpoint.handler for endpoint in endpoints],
    )
    if candidate.build is not None:
        await _put_cwasm(connection, candidate.build)


async def _put_cwasm(connection: Connection, build: Build) -> None:
    await connection.execute(
        _SQL.put_cwasm,
        build.content_hash,
        build.engine_fingerprint,
        bundle.cwasm_key(build.engine_fingerprint, build.content_hash),
        build.size_bytes,
        build.sha256,
        build.signature,
        build.build_key_id,
        build.built_at,
    )


def _published(registry: RegistryId, version: str, candidate: Candidate) -> Published:
    manifest = candidate.manifest
    return Published(
        extension_id=registry,
        name=manifest.name,
        publisher=manifest.publisher,
        version_id=candidate.version_id,
        version=version,
        content_hash=candidate.archive.content_hash,
        canonical_key=bundle.bundle_key(candidate.archive.content_hash),
        imports=candidate.imports,
        warnings=candidates.warnings_of(candidate.imports, manifest.capabilities),
    )


def _check_may_set(ctx: CallContext, row: Row, state: str) -> None:
    publisher = ctx.principal.publisher_id
    if publisher is None:
        return
    if publisher != row["publisher_id"]:
        raise Forbidden(f"the version is another publisher's: {row['name']}")
    if QUARANTINED in (state, row["state"]):
        raise Forbidden("only an operator quarantines a version, or lifts that")


def _view(row: Row) -> VersionView:
    return VersionView(
        version_id=VersionId(row["version_id"]),
        version=row["version"],
        state=row["state"],
        capabilities=tuple(row["capabilities"]),
        egress=tuple(row["egress"]),
        imports=tuple(row["imports"]),
        content_hash=ContentHash(row["content_hash"]),
        size_bytes=row["size_bytes"],
        key_id=row["key_id"],
        algorithm=row["signature_algorithm"],
        created_at=row["created_at"],
    )
