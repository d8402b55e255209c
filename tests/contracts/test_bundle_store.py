"""Both bundle stores keep one contract: the same tests against a directory and against a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import msgspec
import psutil
import pytest
import pytest_asyncio

from deploy.embedded import s3
from deploy.embedded.s3 import S3Server
from registry import bundle_directory, bundle_store
from registry.bundle_store import BundleStore
from schemas.errors import Conflict, FleetError, Internal, Invalid, NotFound, TooLarge, Unavailable
from service.settings import StoreSettings

MIB = 1024 * 1024
CONTENT = bytes(range(256)) * 40


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def s3_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[S3Server]:
    async with s3.start(tmp_path_factory.mktemp("s3") / "data") as server:
        yield server


@pytest.fixture(params=["directory", "s3"])
def store_settings(request: pytest.FixtureRequest, tmp_path: Path) -> StoreSettings:
    """A place of this test alone, in either store."""
    if request.param == "directory":
        return StoreSettings(url=f"file://{tmp_path}/a store")
    server: S3Server = request.getfixturevalue("s3_server")
    return StoreSettings(
        url=f"s3://{server.bucket}/{uuid.uuid4()}",
        endpoint=server.endpoint,
        region=server.region,
        access_key=server.access_key,
        secret_key=server.secret_key,
    )


@pytest_asyncio.fixture(loop_scope="session")
async def store(store_settings: StoreSettings) -> AsyncIterator[BundleStore]:
    async with bundle_store.open_store(store_settings) as opened:
        await opened.check()
        yield opened


async def _chunks(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def test_what_is_put_is_got_whole_in_chunks_and_in_size(store: BundleStore) -> None:
    """Bytes come back as they were, an empty object and one over a chunk too."""
    for name, data in {"empty": b"", "small": CONTENT, "large": os.urandom(3 * MIB + 1)}.items():
        await store.put(f"sha256/{name}", data)
        assert await store.get(f"sha256/{name}") == data
        assert b"".join([chunk async for chunk in store.open(f"sha256/{name}")]) == data
        assert await store.size(f"sha256/{name}") == len(data)
        assert await store.exists(f"sha256/{name}")


async def test_a_file_is_put_without_being_read_by_the_caller(store: BundleStore, tmp_path: Path) -> None:
    """A cwasm of 40 MB goes from disk to the store."""
    (tmp_path / "file").write_bytes(CONTENT)
    await store.put("cwasm/f/x", tmp_path / "file")
    assert await store.get("cwasm/f/x") == CONTENT


async def test_an_absent_object_is_not_found(store: BundleStore) -> None:
    """Reading, whole or in chunks; asking for it is no error, nor is deleting it."""
    with pytest.raises(NotFound):
        await store.get("sha256/absent")
    with pytest.raises(NotFound):
        [chunk async for chunk in store.open("sha256/absent")]
    assert await store.size("sha256/absent") is None
    assert not await store.exists("sha256/absent")
    assert not await store.delete("sha256/absent")


async def test_an_object_never_changes_unless_it_is_overwritten_on_purpose(store: BundleStore) -> None:
    """Bundles are immutable: the same bytes again are fine, others are a conflict."""
    await store.put("sha256/x", b"first")
    await store.put("sha256/x", b"first")
    for other in (b"other", b"first and more", b""):
        with pytest.raises(Conflict):
            await store.put("sha256/x", other)
    assert await store.get("sha256/x") == b"first"
    await store.put("sha256/x", b"second", overwrite=True)
    assert await store.get("sha256/x") == b"second"


async def test_of_concurrent_writers_of_one_key_exactly_one_wins(store: BundleStore) -> None:
    """Whoever loses is told so; nobody reads a mixture."""
    bodies = [bytes([number]) * 50_000 for number in range(8)]
    results = await asyncio.gather(*(store.put("sha256/race", body) for body in bodies), return_exceptions=True)
    won = [body for body, result in zip(bodies, results, strict=True) if result is None]
    assert len(won) == 1
    assert sum(isinstance(result, Conflict) for result in results) == len(bodies) - 1
    assert await store.get("sha256/race") == won[0]


async def test_a_stream_is_stored_and_measured(store: BundleStore) -> None:
    """Uploads arrive in pieces of any size; their hash is known at the end."""
    pieces = [b"", os.urandom(5 * MIB), os.urandom(9 * MIB), b"end"]
    written = await store.put_stream("tenants/t/_staging/u/bundle.tar.zst", _chunks(*pieces), max_bytes=14 * MIB + 3)
    data = b"".join(pieces)
    assert (written.size, written.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert await store.get("tenants/t/_staging/u/bundle.tar.zst") == data
    assert (await store.put_stream("tenants/t/_staging/v/bundle.tar.zst", _chunks(), max_bytes=1)).size == 0
    assert await store.get("tenants/t/_staging/v/bundle.tar.zst") == b""


async def test_a_stream_over_its_limit_or_cut_stores_nothing(store: BundleStore) -> None:
    """What was promised to be small and is not, and a sender who leaves."""

    async def cut() -> AsyncIterator[bytes]:
        yield CONTENT
        raise ConnectionResetError("the sender left")

    with pytest.raises(TooLarge, match="limit of 10 bytes"):
        await store.put_stream("staging/large", _chunks(b"x" * 6, b"x" * 6), max_bytes=10)
    with pytest.raises(ConnectionResetError):
        await store.put_stream("staging/cut", cut(), max_bytes=MIB)
    assert await store.list("") == []


async def test_a_cancelled_stream_stores_nothing(store: BundleStore) -> None:
    """A caller who leaves takes the upload along."""
    started = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield CONTENT
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.put_stream("staging/x", endless(), max_bytes=MIB), name="upload")
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.list("") == []


async def test_reading_is_bounded(store: BundleStore) -> None:
    """A reader says what it can hold."""
    await store.put("sha256/x", b"12345")
    assert await store.get("sha256/x", max_bytes=5) == b"12345"
    with pytest.raises(TooLarge):
        await store.get("sha256/x", max_bytes=4)


async def test_a_reader_that_leaves_early_leaves_nothing_open(store: BundleStore) -> None:
    """Closing in the middle frees the file or the connection, and the object is still readable."""
    await store.put("sha256/x", os.urandom(4 * MIB))
    before = psutil.Process().num_fds()
    for _ in range(60):
        async with aclosing(store.open("sha256/x")) as chunks:
            assert await anext(chunks)
    assert psutil.Process().num_fds() <= before + 5
    assert len(await store.get("sha256/x")) == 4 * MIB


async def test_listing_is_by_literal_prefix_and_sorted(store: BundleStore) -> None:
    """A prefix may end within a name."""
    for key in ("b/2", "a/1", "b/10", "b.json", "ba/1"):
        await store.put(key, b"x")
    assert await store.list("") == ["a/1", "b.json", "b/10", "b/2", "ba/1"]
    assert await store.list("b/") == ["b/10", "b/2"]
    assert await store.list("b") == ["b.json", "b/10", "b/2", "ba/1"]
    assert await store.list("c") == []


async def test_a_deleted_object_is_gone_and_may_be_written_anew(store: BundleStore) -> None:
    """A damaged cwasm is deleted and built again."""
    await store.put("cwasm/f/x", b"damaged")
    assert await store.delete("cwasm/f/x")
    assert not await store.exists("cwasm/f/x")
    await store.put("cwasm/f/x", b"rebuilt")
    assert await store.get("cwasm/f/x") == b"rebuilt"


@pytest.mark.parametrize(
    "key",
    [
        "",
        "/",
        "/etc/passwd",
        "../x",
        "a/../../x",
        "a/./b",
        "a//b",
        "a/",
        "a\\b",
        "a\0b",
        "a b",
        "é",
        "~writing/x",
        "x" * 600,
    ],
)
async def test_a_key_leads_nowhere_else(store: BundleStore, key: str) -> None:
    """Keys are ours, and still every operation refuses one that is not plainly a key."""
    for operation in (store.put(key, b"x"), store.get(key), store.size(key), store.delete(key)):
        with pytest.raises(Internal):
            await operation
    with pytest.raises(Internal):
        await store.put_stream(key, _chunks(b"x"), max_bytes=9)
    with pytest.raises(Internal):
        [chunk async for chunk in store.open(key)]


async def test_a_reader_cannot_write(store: BundleStore, store_settings: StoreSettings) -> None:
    """A worker holds a store that refuses, whatever its credentials could do."""
    await store.put("sha256/x", b"x")
    async with bundle_store.open_reader(store_settings) as reader:
        await reader.check()
        assert await reader.get("sha256/x") == b"x"
        for operation in (reader.put("sha256/y", b""), reader.delete("sha256/x")):  # type: ignore[attr-defined]
            with pytest.raises(Internal):
                await operation
        with pytest.raises(Internal):
            await reader.put_stream("sha256/y", _chunks(), max_bytes=1)  # type: ignore[attr-defined]
    assert await store.list("") == ["sha256/x"]


@pytest.mark.parametrize(
    "url", ["", "/data", "file://", "file:///", "file://host/data", "http://x/y", "s3://", "s3:///prefix"]
)
async def test_a_url_that_names_no_store_is_refused(url: str) -> None:
    """At start, naming the setting."""
    with pytest.raises(Invalid, match="ALGA_STORE_URL"):
        async with bundle_store.open_store(StoreSettings(url=url)):
            pytest.fail("it opened")


async def test_a_wrong_secret_or_an_absent_bucket_is_unavailable(s3_server: S3Server) -> None:
    """Start-up says that the store cannot be used; the reason is in the log's detail, not in the message."""
    good = StoreSettings(
        url=f"s3://{s3_server.bucket}",
        endpoint=s3_server.endpoint,
        access_key=s3_server.access_key,
        secret_key=s3_server.secret_key,
    )
    wrong = msgspec.structs.replace(good, secret_key="wrong")
    async with bundle_store.open_store(wrong) as store:
        with pytest.raises(Unavailable) as refused:
            await store.put("sha256/x", b"x")
        assert refused.value.message == "the bundle store cannot be used"
        assert "SignatureDoesNotMatch" in (refused.value.detail or "")
    async with bundle_store.open_store(msgspec.structs.replace(good, url="s3://no-such-bucket")) as store:
        with pytest.raises(FleetError):
            await store.check()


async def test_a_store_that_is_gone_is_unavailable_and_works_again_when_it_is_back(tmp_path: Path) -> None:
    """Nobody needs a restart."""
    async with s3.start(tmp_path / "s3") as server:
        settings = StoreSettings(
            url=f"s3://{server.bucket}",
            endpoint=server.endpoint,
            access_key=server.access_key,
            secret_key=server.secret_key,
        )
        async with bundle_store.open_store(settings) as store:
            await store.put("sha256/x", b"x")
            os.kill(server.server.pid, signal.SIGKILL)
            with pytest.raises(Unavailable) as gone:
                await store.get("sha256/x")
            assert gone.value.retry_after_seconds
            await server.server.restart()
            assert await _eventually_get(store, "sha256/x") == b"x"


async def _eventually_get(store: BundleStore, key: str) -> bytes:
    async with asyncio.timeout(30):
        while True:
            try:
                return await store.get(key)
            except (Unavailable, NotFound):
                await asyncio.sleep(0.2)


async def test_a_directory_store_follows_no_link_and_reads_no_pipe(tmp_path: Path) -> None:
    """Whoever can place a link in the directory still cannot make a process read another file."""
    (tmp_path / "secret").write_bytes(b"secret")
    root = tmp_path / "store"
    async with bundle_store.open_store(StoreSettings(url=f"file://{root}")) as store:
        await store.put("sha256/x", b"x")
        (root / "sha256" / "link").symlink_to(tmp_path / "secret")
        os.mkfifo(root / "sha256" / "pipe")
        for key in ("sha256/link", "sha256/pipe", "sha256"):
            with pytest.raises((NotFound, Unavailable)):
                await store.get(key)
            assert await store.size(key) is None


async def test_a_directory_store_leaves_no_half_written_file_behind(tmp_path: Path) -> None:
    """What a killed writer left is dropped at the next start, and is never an object."""
    root = tmp_path / "store"
    leftover, fresh = root / bundle_directory.TEMPORARY / "old", root / bundle_directory.TEMPORARY / "new"
    leftover.parent.mkdir(parents=True)
    leftover.write_bytes(b"half")
    fresh.write_bytes(b"being written")
    os.utime(leftover, (0, 0))
    async with bundle_store.open_store(StoreSettings(url=f"file://{root}")) as store:
        await store.check()
        assert await store.list("") == []
    assert not leftover.exists()
    assert fresh.exists()


async def test_a_directory_that_cannot_be_used_is_unavailable(tmp_path: Path) -> None:
    """Absent for a reader, or a file where the directory should be."""
    async with bundle_store.open_reader(StoreSettings(url=f"file://{tmp_path}/absent")) as reader:
        with pytest.raises(Unavailable):
            await reader.check()
    (tmp_path / "file").write_bytes(b"")
    async with bundle_store.open_store(StoreSettings(url=f"file://{tmp_path}/file")) as store:
        with pytest.raises((Unavailable, NotFound)):
            await store.put("sha256/x", b"x")
