"""Compiled code on its way from S3: streamed, kept on disk, believed in nothing, served on when the store is away."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deploy.embedded import s3
from deploy.embedded.s3 import S3Server
from schemas import bundle
from schemas.errors import ErrorCode
from service.settings import StoreSettings
from tests import worker_stack
from tests.worker_stack import Bench


@pytest.fixture(scope="module")
async def s3_server() -> AsyncIterator[S3Server]:
    with tempfile.TemporaryDirectory(prefix="alga-s3-") as directory:
        async with s3.start(Path(directory) / "data") as server:
            yield server


@pytest.fixture(scope="module")
async def bench(s3_server: S3Server) -> AsyncIterator[Bench]:
    store = StoreSettings(
        url=f"s3://{s3_server.bucket}/worker",
        endpoint=s3_server.endpoint,
        region=s3_server.region,
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
    )
    async with worker_stack.start_in_temporary_directory(store) as started:
        yield started


async def test_code_from_s3_runs_and_is_kept_on_disk_for_the_next_start(bench: Bench, tmp_path: Path) -> None:
    """A large cwasm comes in blocks; a worker that starts again fetches nothing."""
    install = await bench.install("ask-qjs")
    async with bench.worker(cache_directory=str(tmp_path)) as (_, metrics):
        assert (await bench.call(install)).response is not None
        await _cached(tmp_path)
        assert b'alga_module_loads_total{source="store"} 1.0' in metrics.render()
    async with bench.worker(cache_directory=str(tmp_path)) as (_, metrics):
        assert (await bench.call(install)).response is not None
        page = metrics.render()

    assert b'alga_module_loads_total{source="disk"} 1.0' in page
    assert b'source="store"' not in page


@pytest.mark.parametrize("damage", ["bit", "cut", "longer", "record"])
async def test_a_damaged_disk_cache_is_deleted_and_fetched_again(bench: Bench, tmp_path: Path, damage: str) -> None:
    """S19: found before use, counted, and the call answers 200."""
    install = await bench.install("echo")
    async with bench.worker(cache_directory=str(tmp_path)):
        assert (await bench.call(install)).response is not None
        record = await _cached(tmp_path)
    _damage(record, damage)
    async with bench.worker(cache_directory=str(tmp_path)) as (_, metrics):
        assert (await bench.call(install)).response is not None
        page = metrics.render()

    assert b'alga_modules_refused_total{reason="disk"} 1.0' in page
    assert b'alga_module_loads_total{source="store"} 1.0' in page


async def test_a_damaged_object_in_s3_is_never_loaded(bench: Bench) -> None:
    """Without a registry to rebuild it: 503 dependency_unavailable, for as long as that lasts."""
    install = await bench.install("status")
    key = bundle.cwasm_key(bench.fingerprint, install.content_hash)
    good = await bench.store.get(key)
    for damaged in (good[:-1], good + b"\0", good[:1000] + bytes([good[1000] ^ 1]) + good[1001:]):
        await bench.store.put(key, damaged, overwrite=True)
        async with bench.worker() as (_, metrics):
            outcome = await bench.call(install, "/?200")
            assert (outcome.code, outcome.executed) == (ErrorCode.DEPENDENCY_UNAVAILABLE, False)
            assert b'alga_modules_refused_total{reason="store"} 1.0' in metrics.render()


async def test_the_cache_stays_within_its_bytes(bench: Bench, tmp_path: Path) -> None:
    """Least recently used first out; memory keeps to its own bound as well."""
    guests = ("echo", "status", "burn")
    sizes = [len(worker_stack.compiled(guest)) for guest in guests]
    bound = sum(sizes) - min(sizes) // 2
    async with bench.worker(cache_directory=str(tmp_path), cache_bytes=bound, memory_bytes=max(sizes)) as (_, metrics):
        for guest in guests:
            assert (await bench.call(await bench.install(guest), "/?200")).response is not None
            await _cached(tmp_path)
        async with asyncio.timeout(5):
            while b'source="store"} 3.0' not in metrics.render():
                await asyncio.sleep(0.02)
        kept = sum(file.stat().st_size for file in tmp_path.glob("*/*.cwasm"))

    assert kept <= bound


async def test_s3_away_cached_code_runs_and_cold_code_is_unavailable(bench: Bench, s3_server: S3Server) -> None:
    """O5: cold ones 503 dependency_unavailable in at most five seconds, cached ones run."""
    cached, cold = await bench.install("echo"), await bench.install("burn")
    async with bench.worker():
        assert (await bench.call(cached)).response is not None
        await s3_server.server.stop()
        try:
            async with asyncio.timeout(5):
                outcome = await bench.call(cold, "/?1")
            again = await bench.call(cached)
        finally:
            await s3_server.server.start()

    assert (outcome.code, outcome.executed) == (ErrorCode.DEPENDENCY_UNAVAILABLE, False)
    assert again.response is not None


async def _cached(directory: Path) -> Path:
    """The load record on disk, once it is there."""
    async with asyncio.timeout(5):
        while not (records := list(directory.glob("*/*.json"))):
            await asyncio.sleep(0.01)
    return records[0]


def _damage(record: Path, way: str) -> None:
    cwasm = record.with_suffix(".cwasm")
    data = bytearray(cwasm.read_bytes())
    if way == "bit":
        data[len(data) // 2] ^= 1
    elif way == "cut":
        del data[-1]
    elif way == "longer":
        data.append(0)
    else:
        record.write_bytes(record.read_bytes()[:-2])
    cwasm.write_bytes(data)
