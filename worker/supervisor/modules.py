"""Compiled components by content_hash: verified, in sealed memory, on disk, fetched once however many ask.

Owns the order of places (memory, disk, bundle store, a rebuild by the registry) and what is believed of them: nothing.
Whatever the place, the load record's signatures, names and fingerprint are verified and the cwasm's hash is compared
while it is copied into a sealed memfd. Damage is deleted, counted and got past; nothing is compiled here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import structlog

from registry import signing
from registry.bundle_store import ReadableStore
from registry.signing import BuildKeys
from schemas import bundle
from schemas.bundle import LoadRecord
from schemas.errors import Corrupt, FleetError, NotFound, TooLarge, Unavailable
from schemas.ids import ContentHash
from service.clock import Clock
from service.lifecycle import TaskOwner
from service.metrics import Metrics
from worker.supervisor import sealing
from worker.supervisor.disk_cache import DiskCache
from worker.supervisor.rebuilding import Rebuilder

log = structlog.get_logger()

LONGEST_WAIT_SECONDS = 4.0
"""A caller gets 503 dependency_unavailable rather than wait longer; the fetch goes on without it."""
KEEP_FAILURE_SECONDS = 1.0
MAX_FAILURES = 1_000


@dataclass(eq=False)
class Module:
    """A verified cwasm. `descriptor` is a sealed memfd, closed once it is `forgotten` and nobody holds it."""

    content_hash: ContentHash
    descriptor: int
    size: int
    sha256: str
    holders: int = 0
    forgotten: bool = False

    def release(self) -> None:
        """One holder less."""
        self.holders -= 1
        self.close_if_free()

    def forget(self) -> None:
        self.forgotten = True
        self.close_if_free()

    def close_if_free(self) -> None:
        if self.forgotten and self.holders == 0:
            os.close(self.descriptor)


class Modules:
    """Modules for one engine. `fingerprint` is that of the executors' engine."""

    def __init__(
        self,
        store: ReadableStore,
        disk: DiskCache,
        rebuilder: Rebuilder,
        build_keys: BuildKeys,
        owner: TaskOwner,
        *,
        fingerprint: str,
        max_bytes: int,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._store, self._disk, self._rebuilder, self._build_keys = store, disk, rebuilder, build_keys
        self._owner, self._fingerprint, self._max_bytes = owner, fingerprint, max_bytes
        self._clock, self._metrics = clock, metrics
        self._memory: OrderedDict[ContentHash, Module] = OrderedDict()
        self._bytes = 0
        self._loading: dict[ContentHash, asyncio.Task[Module | FleetError]] = {}
        self._failures: OrderedDict[ContentHash, tuple[float, FleetError]] = OrderedDict()

    async def hold(self, content_hash: ContentHash, *, wait_seconds: float) -> Module:
        """The module, kept open until its `release`. Raises Unavailable when there is none in time, Corrupt when what
        is stored is not what was signed."""
        while (module := self._memory.get(content_hash)) is None:
            await self._load(content_hash, wait_seconds)
        self._memory.move_to_end(content_hash)
        module.holders += 1
        return module

    async def reject(self, module: Module) -> None:
        """An engine would not load it although it verified: forget it everywhere here and ask for a rebuild."""
        self._metrics.modules_refused.labels("engine").inc()
        self._forget(module.content_hash)
        await asyncio.to_thread(self._disk.delete, self._fingerprint, module.content_hash)
        await self._rebuilder.rebuild(module.content_hash, self._fingerprint, refused_sha256=module.sha256)

    def close(self) -> None:
        """What is still held is closed by its last holder."""
        for name in tuple(self._memory):
            self._forget(name)

    async def _load(self, content_hash: ContentHash, wait_seconds: float) -> None:
        self._raise_recent_failure(content_hash)
        loading = self._loading.get(content_hash)
        if loading is None:
            loading = self._owner.start(self._load_once(content_hash), name="load module")
            self._loading[content_hash] = loading
            loading.add_done_callback(lambda _: self._loading.pop(content_hash, None))
        try:
            async with asyncio.timeout(min(wait_seconds, LONGEST_WAIT_SECONDS)):
                loaded = await asyncio.shield(loading)
        except TimeoutError:
            raise Unavailable("the extension's code is still being fetched", retry_after_seconds=2.0) from None
        if isinstance(loaded, FleetError):
            raise loaded

    async def _load_once(self, content_hash: ContentHash) -> Module | FleetError:
        """Errors are values here: several callers wait for the one answer, and a failure is kept for a moment."""
        try:
            module = await self._from_disk(content_hash) or await self._from_store(content_hash)
        except FleetError as error:
            log.warning("a module cannot be loaded", content_hash=content_hash, code=error.code, detail=error.detail)
            self._failures[content_hash] = (self._clock.monotonic() + KEEP_FAILURE_SECONDS, error)
            if len(self._failures) > MAX_FAILURES:
                self._failures.popitem(last=False)
            return error
        self._remember(module)
        return module

    def _raise_recent_failure(self, content_hash: ContentHash) -> None:
        until, error = self._failures.get(content_hash, (0.0, None))
        if error is not None and self._clock.monotonic() < until:
            raise type(error)(error.message, code=error.code, retry_after_seconds=error.retry_after_seconds)

    async def _from_disk(self, content_hash: ContentHash) -> Module | None:
        cached = await asyncio.to_thread(self._disk.find, self._fingerprint, content_hash)
        if cached is None:
            return None
        try:
            record = self._verify(cached.record, content_hash)
            descriptor = await asyncio.to_thread(
                sealing.seal_file,
                cached.path,
                expected_sha256=record.cwasm_sha256,
                expected_bytes=record.cwasm_bytes,
            )
        except (Corrupt, OSError) as error:
            self._found_damage("disk", content_hash, error)
            await asyncio.to_thread(self._disk.delete, self._fingerprint, content_hash)
            return None
        self._metrics.modules.labels("disk").inc()
        return Module(content_hash, descriptor, record.cwasm_bytes, record.cwasm_sha256)

    async def _from_store(self, content_hash: ContentHash) -> Module:
        """From the bundle store; when the cwasm is not there or damaged, once more after the registry rebuilt it.

        A load record that does not verify is not got past: that is Corrupt.
        """
        try:
            return await self._fetch(content_hash)
        except NotFound:
            log.info("a cwasm for this engine is not in the store", content_hash=content_hash)
        except _Damaged as error:
            self._found_damage("store", content_hash, error)
        await self._rebuilder.rebuild(content_hash, self._fingerprint)
        try:
            return await self._fetch(content_hash)
        except (NotFound, _Damaged) as error:
            raise Unavailable("the extension's code is not available", retry_after_seconds=5.0) from error

    async def _fetch(self, content_hash: ContentHash) -> Module:
        try:
            raw = await self._store.get(
                bundle.load_record_key(self._fingerprint, content_hash), max_bytes=signing.MAX_LOAD_RECORD_BYTES
            )
            record = self._verify(raw, content_hash)
        except (Corrupt, TooLarge) as error:
            self._found_damage("record", content_hash, error)
            raise Corrupt("the load record of the extension's code does not verify") from error
        try:
            descriptor = await self._copy(record, content_hash)
        except Corrupt as error:
            raise _Damaged(error.message) from error
        self._metrics.modules.labels("store").inc()
        module = Module(content_hash, descriptor, record.cwasm_bytes, record.cwasm_sha256)
        if self._path(content_hash) is None:
            self._owner.start(self._keep_on_disk(module, raw), name="cache module on disk")
        return module

    def _path(self, content_hash: ContentHash) -> Path | None:
        """Of a store that is a directory here: then the disk has it already."""
        return self._store.path(bundle.cwasm_key(self._fingerprint, content_hash))

    async def _copy(self, record: LoadRecord, content_hash: ContentHash) -> int:
        """The cwasm out of the store into a sealed memfd."""
        path = self._path(content_hash)
        if path is None:
            return await self._stream(record, content_hash)
        try:
            return await asyncio.to_thread(
                sealing.seal_file, path, expected_sha256=record.cwasm_sha256, expected_bytes=record.cwasm_bytes
            )
        except FileNotFoundError as error:
            raise NotFound("the bundle store has no such object") from error
        except OSError as error:
            raise Unavailable("the bundle store cannot be used", detail=str(error), retry_after_seconds=5.0) from error

    async def _stream(self, record: LoadRecord, content_hash: ContentHash) -> int:
        """The next block is fetched while the last is written and hashed."""
        chunks = self._store.open(bundle.cwasm_key(self._fingerprint, content_hash))
        loop = asyncio.get_running_loop()
        pending: list[bytes] = []
        writing: asyncio.Future[None] | None = None
        with sealing.sealing(expected_sha256=record.cwasm_sha256, expected_bytes=record.cwasm_bytes) as sealer:
            try:
                async with contextlib.aclosing(chunks):
                    async for chunk in chunks:
                        pending.append(chunk)
                        if sum(map(len, pending)) < sealing.BLOCK_BYTES:
                            continue
                        if writing is not None:
                            await writing
                        writing, pending = loop.run_in_executor(None, sealer.write, pending), []
            finally:
                if writing is not None:
                    await asyncio.wait([writing])
            if writing is not None:
                writing.result()
            return await loop.run_in_executor(None, _finish, sealer, pending)

    async def _keep_on_disk(self, module: Module, record: bytes) -> None:
        """From a descriptor of its own, since the thread may outlive everything here."""
        descriptor = os.dup(module.descriptor)
        await asyncio.to_thread(
            self._disk.put, self._fingerprint, module.content_hash, record=record, descriptor=descriptor
        )

    def _verify(self, raw: bytes, content_hash: ContentHash) -> LoadRecord:
        return signing.verify_load_record(
            raw, build_keys=self._build_keys, content_hash=content_hash, engine_fingerprint=self._fingerprint
        )

    def _found_damage(self, place: str, content_hash: ContentHash, error: Exception) -> None:
        self._metrics.modules_refused.labels(place).inc()
        log.error("a stored cwasm does not verify", place=place, content_hash=content_hash, reason=str(error))

    def _remember(self, module: Module) -> None:
        self._failures.pop(module.content_hash, None)
        self._memory[module.content_hash] = module
        self._bytes += module.size
        for name in [name for name, kept in self._memory.items() if kept is not module]:
            if self._bytes <= self._max_bytes:
                return
            self._forget(name)

    def _forget(self, content_hash: ContentHash) -> None:
        module = self._memory.pop(content_hash, None)
        if module is not None:
            self._bytes -= module.size
            module.forget()


class _Damaged(Corrupt):
    """A cwasm in the store is not what its load record says."""


def _finish(sealer: sealing.Sealer, last: list[bytes]) -> int:
    sealer.write(last)
    return sealer.finish()
