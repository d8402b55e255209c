"""S19: compiled code that is not what was signed is found out before it is used, wherever it is stored.

The store is S3, so that the worker has copies on its disk too. It keeps one component in memory: calling another one
makes it read the first anew each time.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
import wasmtime
from wasmtime.component import Component

from registry import bundle_store, signing
from registry.bundle_store import BundleStore
from schemas import bundle, ids
from schemas.bundle import LoadRecord, SignedLoadRecord
from schemas.ids import ContentHash
from tests import faults
from tests.fleet import UNMETERED, Answer, Installed, TestFleet
from tests.fleet_on_s3 import open_fleet_on_s3, settings_of
from tests.guests import build

pytestmark = [pytest.mark.case("S19"), pytest.mark.timeout(600)]

BODY = b"the right answer"
CACHED_WITHIN_SECONDS = 10.0
STORES = ("a bit flipped", "truncated", "another tenant's", "gone")


@dataclass(frozen=True)
class Stored:
    """A fleet, its store, and an extension that only serves to push others out of memory."""

    fleet: TestFleet
    store: BundleStore
    other: Installed
    fingerprint: str

    async def call(self, install: Installed) -> Answer:
        """The answer of a worker that has it neither in memory nor, in a process, loaded from before."""
        pushed = await self.fleet.call(self.other)
        assert pushed.status == 200, pushed.body
        return await self.fleet.call(install, method="POST", body=BODY)

    async def refused(self, reason: str) -> float:
        (worker,) = self.fleet.fleet.workers
        return await faults.metric(worker, f'alga_modules_refused_total{{reason="{reason}"}}')

    def cached(self, install: Installed) -> Path:
        """The worker's copy on disk; its load record is beside it."""
        (worker,) = self.fleet.fleet.workers
        root = self.fleet.fleet.stack.data_directory / "processes" / worker.name / "cache"
        return root / self.fingerprint / f"{ids.hex_of(_hash_of(install))}.cwasm"

    async def until_cached(self, install: Installed) -> Path:
        path = self.cached(install)
        async with asyncio.timeout(CACHED_WITHIN_SECONDS):
            while not path.with_suffix(".json").exists():
                await asyncio.sleep(faults.POLL_SECONDS)
        return path

    async def forget_on_disk(self, install: Installed) -> None:
        path = await self.until_cached(install)
        path.with_suffix(".json").unlink()
        path.unlink()


@pytest_asyncio.fixture(scope="module")
async def stored() -> AsyncIterator[Stored]:
    with tempfile.TemporaryDirectory(prefix="alga-s19-") as directory:
        extra = {"gateway": UNMETERED, "worker": {"ALGA_WORKER_MEMORY_BYTES": "1"}}
        async with (
            open_fleet_on_s3(Path(directory), extra=extra) as (fleet, server),
            bundle_store.open_store(settings_of(server)) as store,
        ):
            other = await _install(fleet)
            (key,) = [key for key in await store.list("cwasm/") if key.endswith(".json")]
            yield Stored(fleet, store, other, key.split("/")[1])


async def test_S19_every_flipped_bit_on_the_workers_disk_is_found(stored: Stored, count: Callable[[int], int]) -> None:
    """Deleted, counted, fetched again: each call answers 200 with the right bytes."""
    install = await _install(stored.fleet)
    assert (await stored.call(install)).body == BODY
    rng, before, flips = _seeded(), await stored.refused("disk"), count(400)
    for _ in range(flips):
        _flip(await stored.until_cached(install), rng)
        answer = await stored.call(install)
        assert (answer.status, answer.body) == (200, BODY)

    assert await stored.refused("disk") - before == flips


@pytest.mark.parametrize("damage", STORES)
async def test_S19_damage_in_the_store_is_found_and_rebuilt(stored: Stored, damage: str) -> None:
    """The registry compiles the signed bundle anew; meanwhile 503, never a wrong answer; damage is counted."""
    install, stranger = await _install(stored.fleet), await _install(stored.fleet, guest="status")
    key = bundle.cwasm_key(stored.fingerprint, _hash_of(install))
    good = await stored.store.get(key)
    assert (await stored.call(install)).body == BODY
    before = await stored.refused("store")
    await _damage(stored, key, good, damage, stranger)
    await stored.forget_on_disk(install)

    answer = await _once_available(stored, install)

    assert (answer.status, answer.body) == (200, BODY)
    assert await stored.refused("store") - before == (0 if damage == "gone" else 1)
    rebuilt = await stored.store.get(key)
    record = _record(await stored.store.get(bundle.load_record_key(stored.fingerprint, _hash_of(install))))
    assert record.cwasm_sha256 == sha256(rebuilt).hexdigest()


async def test_S19_code_of_another_configuration_is_never_loaded_though_it_is_signed(stored: Stored) -> None:
    """The engine's own refusal is the last wall: deleted, counted, rebuilt."""
    install = await _install(stored.fleet)
    foreign = bytes(Component(wasmtime.Engine(wasmtime.Config()), build.component("echo").read_bytes()).serialize())
    record_key = bundle.load_record_key(stored.fingerprint, _hash_of(install))
    record = msgspec.structs.replace(
        _record(await stored.store.get(record_key)),
        cwasm_sha256=sha256(foreign).hexdigest(),
        cwasm_bytes=len(foreign),
    )
    await stored.store.put(bundle.cwasm_key(stored.fingerprint, _hash_of(install)), foreign, overwrite=True)
    await stored.store.put(record_key, _signed(stored, record), overwrite=True)
    before = await stored.refused("engine")

    answer = await _once_available(stored, install)

    assert (answer.status, answer.body) == (200, BODY)
    assert await stored.refused("engine") - before == 1


async def test_S19_a_load_record_of_another_bundle_is_an_integrity_failure(stored: Stored) -> None:
    """Both files of two tenants swapped: 502 bundle_integrity for either, as R1 says of records."""
    first, second = await _install(stored.fleet), await _install(stored.fleet, guest="status")
    pairs = [
        (make(stored.fingerprint, _hash_of(first)), make(stored.fingerprint, _hash_of(second)))
        for make in (bundle.cwasm_key, bundle.load_record_key)
    ]
    for one, other in pairs:
        ours, theirs = await stored.store.get(one), await stored.store.get(other)
        await stored.store.put(one, theirs, overwrite=True)
        await stored.store.put(other, ours, overwrite=True)

    for install in (first, second):
        answer = await stored.fleet.call(install)
        assert (answer.status, answer.code) == (502, "bundle_integrity")


async def _install(fleet: TestFleet, guest: str = "echo") -> Installed:
    """A bundle of its own, installed by a tenant of its own: the same component under another name."""
    return await fleet.install(await fleet.tenant(), await fleet.publish(build.component(guest)))


async def _damage(stored: Stored, key: str, good: bytes, damage: str, stranger: Installed) -> None:
    if damage == "gone":
        await stored.store.delete(key)
        return
    flipped = bytearray(good)
    flipped[len(good) // 2] ^= 1
    bad = {
        "a bit flipped": bytes(flipped),
        "truncated": good[:-100],
        "another tenant's": await stored.store.get(bundle.cwasm_key(stored.fingerprint, _hash_of(stranger))),
    }[damage]
    await stored.store.put(key, bad, overwrite=True)


async def _once_available(stored: Stored, install: Installed) -> Answer:
    """The first answer that is not 503 dependency_unavailable."""
    async with asyncio.timeout(60):
        while True:
            answer = await stored.call(install)
            if answer.status != 503:
                return answer
            assert answer.code == "dependency_unavailable"
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.2)


def _flip(path: Path, rng: random.Random) -> None:
    """One bit of the file, anywhere."""
    with path.open("r+b") as file:
        at = rng.randrange(path.stat().st_size)
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1 << rng.randrange(8)]))


def _seeded() -> random.Random:
    seed = secrets.randbits(64)
    print(f"seed {seed}")
    return random.Random(seed)


def _hash_of(install: Installed) -> ContentHash:
    return ContentHash(install.extension.content_hash)


def _record(stored: bytes) -> LoadRecord:
    signed = msgspec.json.decode(stored, type=SignedLoadRecord)
    return msgspec.json.decode(bundle.decode_base64(signed.record, field="record"), type=LoadRecord)


def _signed(stored: Stored, record: LoadRecord) -> bytes:
    """With the fleet's own build key: what a mistake of ours, and nobody else, could do."""
    pem = stored.fleet.fleet.keys.build_private.read_bytes()
    return signing.sign_load_record(record, signing.load_build_key(pem))
