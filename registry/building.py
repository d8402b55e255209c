"""From a component whose author was verified to a cwasm and its signed load record in the store.

Owns the order in which the two objects are written, and the build key. Which component may be compiled is decided by
who calls; the compiling itself happens in the compile jail.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry import signing
from registry.bundle_store import BundleStore
from registry.bundles import Build
from registry.compile.jail import Jail
from registry.signing import Verified
from schemas import bundle
from schemas.bundle import SignedLoadRecord
from schemas.errors import Internal
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
        self._clock, self._metrics = clock, metrics
        self.fingerprint = fingerprint

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
        built_at = datetime.fromtimestamp(self._clock.now(), UTC)
        record = signing.load_record_of(
            verified,
            cwasm_sha256=sha256,
            cwasm_bytes=len(result.cwasm),
            engine_fingerprint=self.fingerprint,
            built_at=built_at,
        )
        data = signing.sign_load_record(record, self._build_key)
        content_hash = ContentHash(verified.statement.content_hash)
        # The record last: whoever reads a record finds the cwasm it speaks of.
        await self._store.put(bundle.cwasm_key(self.fingerprint, content_hash), result.cwasm, overwrite=True)
        await self._store.put(bundle.load_record_key(self.fingerprint, content_hash), data, overwrite=True)
        signed = msgspec.json.decode(data, type=SignedLoadRecord)
        return Build(
            content_hash=content_hash,
            engine_fingerprint=self.fingerprint,
            sha256=sha256,
            size_bytes=len(result.cwasm),
            signature=signed.signature,
            build_key_id=signed.key_id,
            built_at=built_at,
            imports=tuple(result.imports),
        )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
