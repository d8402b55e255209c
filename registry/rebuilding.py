"""Compiling a published bundle again: after an engine upgrade, or when a worker found stored code damaged.

Starts from the canonical bundle and trusts nothing that was kept beside it: its bytes against its content_hash, the
author's signature as it was at publication, then the same build as at publication. A key that was revoked or that
expired later does not stop it: whether a version may still run is the front's to say.

A bundle whose bytes are not those of its name is moved out of the way, so that it is evidence and nobody's input.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from registry import archive, publishing, signing
from registry.archive import Archive, Caps
from registry.building import Builder
from registry.bundle_store import BundleStore
from registry.bundles import Bundles, Source
from registry.candidates import Build
from registry.certificates import Roots
from registry.publishers import Publishers
from registry.publishing import Step
from registry.signing import Bound, Verified
from schemas import bundle, ids, manifest
from schemas.errors import Corrupt, FleetError, NotFound, Unavailable, Unprocessable
from schemas.ids import ContentHash
from schemas.publishing import Precompiled, PrecompileRequest

log = structlog.get_logger()

AHEAD_AT_ONCE = 5


class Rebuilding:
    """Makes the cwasm of published bundles anew. `publishers` knows the keys, `roots` are the operator's."""

    def __init__(
        self,
        bundles: Bundles,
        publishers: Publishers,
        store: BundleStore,
        builder: Builder,
        *,
        roots: Roots,
        caps: Caps,
    ) -> None:
        self._bundles, self._publishers = bundles, publishers
        self._store, self._builder = store, builder
        self._roots, self._caps = roots, caps
        self._failed: set[ContentHash] = set()

    async def rebuild(self, request: PrecompileRequest, *, step: Step) -> Precompiled:
        """Raises NotFound for what was never published, Corrupt for a stored bundle that is not what was signed,
        Unavailable where this process builds for another engine."""
        if request.engine_fingerprint != self._builder.fingerprint:
            raise Unavailable(
                f"this registry process compiles for engine {self._builder.fingerprint}, not the one asked for",
                retry_after_seconds=30,
            )
        source = await self._bundles.get_source(request.content_hash)
        step("looking at what is stored")
        build = await self._builder.find_intact(source.content_hash)
        if build is None or build.sha256 == request.refused_sha256:
            build = await self._build(source, step)
        await self._bundles.put_cwasm(build)
        return Precompiled(content_hash=request.content_hash, engine_fingerprint=request.engine_fingerprint)

    async def rebuild_missing(self) -> int:
        """Compile ahead what was published for another engine, the newest first; how many were tried.

        One that failed is left for a worker to ask for, so that it does not stand in the way of the others.
        """
        fingerprint = self._builder.fingerprint
        missing = await self._bundles.list_uncompiled(fingerprint, limit=AHEAD_AT_ONCE + len(self._failed))
        wanted = [content_hash for content_hash in missing if content_hash not in self._failed][:AHEAD_AT_ONCE]
        for content_hash in wanted:
            request = PrecompileRequest(content_hash=content_hash, engine_fingerprint=fingerprint)
            try:
                await self.rebuild(request, step=_unseen)
            except FleetError as error:
                self._failed.add(content_hash)
                log.warning("a bundle could not be compiled ahead", content_hash=content_hash, code=error.code)
        return len(wanted)

    async def _build(self, source: Source, step: Step) -> Build:
        step("reading the archive")
        read = await self._read(source.content_hash)
        step("verifying the signature")
        verified = await self._verify(source, read)
        if read.component is None:
            raise NotFound(f"the bundle {source.content_hash} has no component")
        step("compiling")
        memory_mb = publishing.memory_mb_of(manifest.parse(read.manifest))
        return await self._builder.build(verified, read.component, memory_mb=memory_mb)

    async def _read(self, content_hash: ContentHash) -> Archive:
        key = bundle.bundle_key(content_hash)
        try:
            async with (
                contextlib.aclosing(self._store.open(key)) as chunks,
                archive.spool(chunks, caps=self._caps) as file,
            ):
                await asyncio.to_thread(archive.verify_hash, file, content_hash)
                return await asyncio.to_thread(archive.read, file, caps=self._caps)
        except NotFound as error:
            raise Corrupt("the stored bundle is missing", detail=error.detail) from error
        except (Corrupt, Unprocessable) as error:
            await self._quarantine(content_hash)
            raise Corrupt("the stored bundle is not what was signed", detail=error.detail or error.message) from error

    async def _quarantine(self, content_hash: ContentHash) -> None:
        key, aside = bundle.bundle_key(content_hash), quarantine_key(content_hash)
        async with contextlib.aclosing(self._store.open(key)) as chunks:
            await self._store.put_stream(aside, chunks, max_bytes=archive.MAX_PACKED_BYTES)
        await self._store.delete(key)
        log.error("a stored bundle is damaged and was moved aside", content_hash=content_hash, key=aside)

    async def _verify(self, source: Source, read: Archive) -> Verified:
        signature = bundle.parse_signature(source.signature)
        key = await self._publishers.find_key(signature.key_id)
        bound = Bound(
            publisher=source.publisher,
            name=source.name,
            version=source.version,
            manifest_sha256=manifest.parse(read.manifest).sha256,
            content_hash=source.content_hash,
        )
        return await asyncio.to_thread(
            signing.verify_bundle,
            signature,
            bound=bound,
            keys=() if key is None else (key,),
            roots=self._roots,
            now=source.verified_at,
        )


def _unseen(_: str) -> None:
    """Nobody watches work that nobody asked for."""


def quarantine_key(content_hash: ContentHash) -> str:
    """Where a damaged bundle is kept for whoever looks into it; nothing reads it."""
    return f"quarantine/sha256/{ids.hex_of(content_hash)}/bundle.tar.zst"
