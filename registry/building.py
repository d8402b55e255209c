"""From a component whose author was verified to a cwasm and its signed load record in the store.

Owns the order in which the two objects are written, and the build key. Which component may be compiled is decided by
who calls; the compiling itself happens in the compile jail.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry import signing
from registry.bundle_store import BundleStore
from registry.candidates import Build
from registry.compile.jail import Jail
from registry.signing import Verified
from schemas import bundle
from schemas.bundle import LoadRecord, SignedLoadRecord
from schemas.errors import Corrupt, Internal, NotFound, TooLarge
from schemas.ids import ContentHash
from service.clock import Clock
from service.metrics import Metrics


class Builder:
    """Builds for the one engine of this process, named by `fingerprint`."""

    def __init__(
        self,
        jail: Jail,
        store: BundleStore,
        build_key: Ed25519PrivateKey,
        *,
        fingerprint: str,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._jail, self._store, self._build_key = jail, store, build_key
        self._build_keys = signing.build_keys_of([signing.spki_of(build_key.public_key())])
        self._clock, self._metrics = clock, metrics
        self.fingerprint = fingerprint

    async def find_intact(self, content_hash: ContentHash) -> Build | None:
        """What the store has, if a worker would accept it: a load record of ours, and the cwasm it speaks of."""
        try:
            data = await self._store.get(
                bundle.load_record_key(self.fingerprint, content_hash), max_bytes=signing.MAX_LOAD_RECORD_BYTES
            )
            record = signing.verify_load_record(
                data, build_keys=self._build_keys, content_hash=content_hash, engine_fingerprint=self.fingerprint
            )
            sha256 = await self._digest_of(bundle.cwasm_key(self.fingerprint, content_hash))
        except (NotFound, Corrupt, TooLarge):
            return None
        return _build(record, data, imports=()) if sha256 == record.cwasm_sha256 else None

    async def build(self, verified: Verified, component: bytes, *, memory_mb: int) -> Build:
        """Compile and store. The caller has verified that `component` is in the bundle of the statement.

        `memory_mb`: what the component may start with. Raises Unprocessable (bundle_invalid) for a component that is
        refused, Unavailable when the store cannot be used.
        """
        started = time.monotonic()
        result = await self._jail.compile(component, memory_mb=memory_mb)
        self._metrics.compile_seconds.observe(time.monotonic() - started)
        if result.fingerprint != self.fingerprint:
            raise Internal(
                "the compile jail has another engine", detail=f"{result.fingerprint}, not {self.fingerprint}"
            )
        sha256 = await asyncio.to_thread(_digest, result.cwasm)
        record = signing.load_record_of(
            verified,
            cwasm_sha256=sha256,
            cwasm_bytes=len(result.cwasm),
            engine_fingerprint=self.fingerprint,
            built_at=datetime.fromtimestamp(self._clock.now(), UTC),
        )
        data = signing.sign_load_record(record, self._build_key)
        content_hash = ContentHash(verified.statement.content_hash)
        # The record last: whoever reads a record finds the cwasm it speaks of.
        await self._store.put(bundle.cwasm_key(self.fingerprint, content_hash), result.cwasm, overwrite=True)
        await self._store.put(bundle.load_record_key(self.fingerprint, content_hash), data, overwrite=True)
        return _build(record, data, imports=result.imports)

    async def _digest_of(self, key: str) -> str:
        digest = hashlib.sha256()
        async with contextlib.aclosing(self._store.open(key)) as chunks:
            async for chunk in chunks:
                await asyncio.to_thread(digest.update, chunk)
        return digest.hexdigest()


def _build(record: LoadRecord, data: bytes, *, imports: tuple[str, ...]) -> Build:
    """A record and its stored form, as the row says it."""
    signed = msgspec.json.decode(data, type=SignedLoadRecord)
    return Build(
        content_hash=ContentHash(record.content_hash),
        engine_fingerprint=record.engine_fingerprint,
        sha256=record.cwasm_sha256,
        size_bytes=record.cwasm_bytes,
        signature=signed.signature,
        build_key_id=signed.key_id,
        built_at=datetime.strptime(record.built_at, bundle.ISSUED_FORMAT).replace(tzinfo=UTC),
        imports=imports,
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
