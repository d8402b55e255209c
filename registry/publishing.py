"""Publishing: a staged archive becomes a version that can be installed, or nothing does.

Owns the order: read, check the manifest, the publisher, the signature, compile, store, record. Everything that can
refuse comes before the store is touched, and the rows come last: what a crash leaves behind is objects without rows,
which nothing can install and the next publication of the same bytes writes over.

Repeatable by staging key: the version's id is made of it, so that a second finalize, on whichever replica, finds what
the first one made.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from typing import BinaryIO

from registry import archive, audit, signing
from registry.archive import Archive, Caps
from registry.audit import Resource
from registry.building import Builder
from registry.bundle_store import BundleStore
from registry.bundles import Bundles
from registry.candidates import Candidate
from registry.certificates import Roots
from registry.database import Database
from registry.publishers import Publisher, Publishers, PublisherState
from registry.signing import Bound, PublisherKey, Verified
from schemas import bundle, ids
from schemas import manifest as manifests
from schemas.bundle import COMPONENT_PATH, Signature
from schemas.call import CallContext, Deadline, Principal, PrincipalKind
from schemas.errors import (
    Conflict,
    Corrupt,
    ErrorCode,
    FleetError,
    Forbidden,
    Invalid,
    NotFound,
    Unprocessable,
)
from schemas.ids import TenantId, VersionId
from schemas.invocation import Limits
from schemas.manifest import Manifest
from schemas.publishing import PUBLISH_DEADLINE_SECONDS, Published, PublishRequest
from service.clock import Clock

Step = Callable[[str], None]
"""Is told the part of the pipeline that begins, for people."""
_CHUNK_BYTES = 1024 * 1024
_NAMESPACE = uuid.UUID("6f0d6c1e-6d1c-5c0f-9a52-0b6a3c9f8d11")
"""Of version ids made of staging keys. Never changed: a finalize may be repeated after an upgrade."""


class Publishing:
    """The pipeline. `roots` are the operator's X.509 roots, `caps` what one bundle may be."""

    def __init__(
        self,
        database: Database,
        store: BundleStore,
        builder: Builder,
        *,
        roots: Roots,
        caps: Caps,
        clock: Clock,
    ) -> None:
        self._database, self._store, self._builder = database, store, builder
        self._bundles, self._publishers = Bundles(database), Publishers(database)
        self._roots, self._caps, self._clock = roots, caps, clock

    async def publish(self, request: PublishRequest, *, step: Step) -> Published:
        """The published version. Raises what is wrong with the bundle, Conflict (version_exists), Unavailable.

        A refusal that concerns the publisher or the bundle leaves an audit row.
        """
        try:
            return await self._publish(request, step)
        except (Unprocessable, Forbidden, Conflict) as error:
            await self._audit_refusal(request, error)
            raise

    async def _publish(self, request: PublishRequest, step: Step) -> Published:
        version_id = version_id_of(request.staging_key)
        made_before = await self._bundles.find_published(version_id, request.publisher_id)
        if made_before is not None:
            return made_before
        publisher = await self._publishers.get(request.publisher_id)
        if publisher.state is not PublisherState.ACTIVE:
            raise Forbidden(f"publisher {publisher.name!r} is suspended")
        step("reading the archive")
        async with self._staged(request.staging_key) as file:
            return await self._publish_file(request, publisher, version_id, file, step)

    async def _publish_file(
        self, request: PublishRequest, publisher: Publisher, version_id: VersionId, file: BinaryIO, step: Step
    ) -> Published:
        read = await asyncio.to_thread(archive.read, file, caps=self._caps)
        check_declared(request, read)
        signature = _signature(request)
        # Before the manifest is looked at: what was changed after signing is a bad signature, whatever it broke.
        signing.check_subject(signature, read.content_hash)
        manifest = manifests.parse(read.manifest)
        check_manifest(manifest, read)
        await self._check_owner(publisher, manifest)
        step("verifying the signature")
        now = self._now()
        verified = await self._verify(signature, publisher, manifest, read, now)
        await self._bundles.check_new(manifest, read.content_hash)
        build = None
        if read.component is not None:
            step("compiling")
            build = await self._builder.build(verified, read.component, memory_mb=memory_mb_of(manifest))
        step("storing")
        await self._keep(file, read, verified)
        candidate = Candidate(
            version_id=version_id,
            publisher=publisher,
            archive=read,
            manifest=manifest,
            verified=verified,
            verified_at=now,
            build=build,
        )
        published = await self._bundles.record(self._context(request), candidate, tenant=_audited(request))
        with contextlib.suppress(FleetError):
            await self._store.delete(request.staging_key)
        return published

    @contextlib.asynccontextmanager
    async def _staged(self, key: str) -> AsyncIterator[BinaryIO]:
        """The upload in an unnamed file of our own, so that what is checked is what is stored."""
        try:
            async with (
                contextlib.aclosing(self._store.open(key)) as chunks,
                archive.spool(chunks, caps=self._caps) as file,
            ):
                yield file
        except NotFound as error:
            raise NotFound("key: there is no such staged upload", detail=error.detail) from error

    async def _check_owner(self, publisher: Publisher, manifest: Manifest) -> None:
        if manifest.publisher != publisher.name:
            raise Forbidden(
                f"the manifest's publisher is {manifest.publisher[:80]!r}, the authenticated one {publisher.name!r}"
            )
        owner = await self._publishers.find_owner(manifest.name)
        if owner is not None and owner.id != publisher.id:
            raise Forbidden(f"the name {manifest.name} belongs to another publisher")

    async def _verify(
        self, signature: Signature, publisher: Publisher, manifest: Manifest, read: Archive, now: datetime
    ) -> Verified:
        key = await self._publishers.find_key(signature.key_id)
        keys: tuple[PublisherKey, ...] = () if key is None else (key,)
        bound = Bound(
            publisher=publisher.name,
            name=manifest.name,
            version=manifest.version,
            manifest_sha256=manifest.sha256,
            content_hash=read.content_hash,
        )
        return await asyncio.to_thread(
            signing.verify_bundle, signature, bound=bound, keys=keys, roots=self._roots, now=now
        )

    async def _keep(self, file: BinaryIO, read: Archive, verified: Verified) -> None:
        """The canonical objects. They are written over: their names are those of their bytes."""
        key = bundle.bundle_key(read.content_hash)
        written = await self._store.put_stream(key, _chunks(file), max_bytes=read.packed_bytes)
        if written.sha256 != ids.hex_of(read.content_hash):
            raise Corrupt("the stored bundle is not what was verified", detail=f"{written.sha256} under {key}")
        await self._store.put(bundle.manifest_key(read.content_hash), read.manifest, overwrite=True)
        document = signing.encode_signature(verified.signature)
        await self._store.put(bundle.signature_key(read.content_hash), document, overwrite=True)

    async def _audit_refusal(self, request: PublishRequest, error: FleetError) -> None:
        tenant = _audited(request)
        async with self._database.transaction(tenant) as connection:
            resource = Resource("publisher", request.publisher_id)
            details = {"message": error.message[:500], "staging_key": request.staging_key}
            await audit.write(
                connection,
                self._context(request),
                "version.publish_refused",
                resource,
                tenant=tenant,
                details=details,
                error=error.code.value,
            )

    def _context(self, request: PublishRequest) -> CallContext:
        return CallContext(
            tenant=_audited(request),
            principal=Principal(
                kind=PrincipalKind.SERVICE, key_id=request.principal, publisher_id=request.publisher_id
            ),
            request_id=request.request_id,
            deadline=Deadline.after(PUBLISH_DEADLINE_SECONDS, now=self._clock.monotonic()),
        )

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.now(), UTC)


def version_id_of(staging_key: str) -> VersionId:
    """The id of the version that an upload becomes. Upload keys are random and used once."""
    return VersionId(str(uuid.uuid5(_NAMESPACE, staging_key)))


def check_declared(request: PublishRequest, read: Archive) -> None:
    """Whether the archive is what finalize said of it. Raises Invalid, Unprocessable for another manifest."""
    if request.declared_hash is not None and request.declared_hash != read.content_hash:
        raise Invalid(
            f"declaredHash is {ids.hex_of(request.declared_hash)}, the staged bundle's {ids.hex_of(read.content_hash)}"
        )
    if request.size_bytes is not None and request.size_bytes != read.packed_bytes:
        raise Invalid(f"size is {request.size_bytes}, the staged bundle has {read.packed_bytes} bytes")
    if request.manifest_json is None:
        return
    if not manifests.same_document(request.manifest_json.encode(), read.manifest):
        raise Unprocessable("manifestJson is not the manifest.json in the bundle", code=ErrorCode.MANIFEST_INVALID)


def check_manifest(manifest: Manifest, read: Archive) -> None:
    """Whether the bundle has what its manifest names. Raises Unprocessable, all missing files at once."""
    named = [("sbom", manifest.sbom), ("ui.entry", manifest.ui.entry if manifest.ui else None)]
    named += [(f"precompiled.{triple}", path) for triple, path in manifest.precompiled.items()]
    problems = [
        {"path": where, "message": f"names {path!r}, which is not in the bundle"}
        for where, path in named
        if path is not None and path not in read.files
    ]
    if problems:
        raise Unprocessable(
            f"{problems[0]['path']} {problems[0]['message']}",
            code=ErrorCode.MANIFEST_INVALID,
            extra={"problems": problems},
        )
    if manifest.needs_component and COMPONENT_PATH not in read.files:
        raise Unprocessable(
            f"the bundle has no {COMPONENT_PATH}, and its manifest declares endpoints or events",
            code=ErrorCode.BUNDLE_INVALID,
        )


def memory_mb_of(manifest: Manifest) -> int:
    """With how much memory its component may start: what it asks for, else the default of every install."""
    return manifest.limits.memory_mb or Limits().memory_mb


def _signature(request: PublishRequest) -> Signature:
    if request.signature_text is None:
        raise _unsigned("a signature is required: signature.text is the SIGNATURE document")
    signature = bundle.parse_signature(request.signature_text)
    if request.algorithm is not None and request.algorithm != signature.algorithm:
        raise _unsigned(
            f"signature.algorithm is {request.algorithm[:40]!r}, the document's {signature.algorithm[:40]!r}"
        )
    return signature


def _audited(request: PublishRequest) -> TenantId:
    return request.tenant or audit.PLATFORM


async def _chunks(file: BinaryIO) -> AsyncIterator[bytes]:
    file.seek(0)
    while chunk := await asyncio.to_thread(file.read, _CHUNK_BYTES):
        yield chunk


def _unsigned(message: str) -> Unprocessable:
    return Unprocessable(message, code=ErrorCode.SIGNATURE_INVALID)
