"""Where bundles, cwasm and load records lie: S3, or a directory, by key.

Owns the store's interface, the S3 form of it and the translation of botocore's errors. Keys are made in
`schemas/bundle.py`. Stores verify nothing: whoever reads compares hashes. The worker borrows this file to read.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

from registry.bundle_directory import (
    CHUNK_BYTES,
    MAX_OBJECT_BYTES,
    DirectoryStore,
    Measured,
    Written,
    check_key,
    conflict,
    not_writable,
)
from schemas.errors import FleetError, Internal, Invalid, NotFound, TooLarge, Unavailable
from service.settings import StoreSettings

CONNECT_SECONDS = 3
READ_SECONDS = 10
ATTEMPTS = 3
PART_BYTES = 8 * 1024 * 1024
"""Of a streamed upload; what is in memory at once."""
_ABSENT = frozenset({"404", "NoSuchKey", "NotFound", "NoSuchUpload"})
_TAKEN = frozenset({"412", "PreconditionFailed"})


class ReadableStore(Protocol):
    """What a worker gets. All raise NotFound for an absent key, Unavailable when the store cannot be reached."""

    async def check(self) -> None:
        """Whether the store answers; for start-up and readiness."""

    async def get(self, key: str, *, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        """The whole object. Raises TooLarge over `max_bytes`."""

    def open(self, key: str) -> AsyncGenerator[bytes, None]:
        """The object in chunks, at most about 1 MiB each; close it (`contextlib.aclosing`) when leaving early."""

    def path(self, key: str) -> Path | None:
        """Where the object is as a file of this machine, if it exists; None: this store has no files."""

    async def size(self, key: str) -> int | None:
        """Bytes, or None when there is no such object."""

    async def exists(self, key: str) -> bool: ...

    async def list(self, prefix: str) -> list[str]:
        """All keys that start with `prefix`, sorted."""


class BundleStore(ReadableStore, Protocol):
    """What the gateway and the registry process get."""

    async def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        """Store an object, whole or not at all. The same bytes again are fine; others raise Conflict."""

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Written:
        """Store what comes, replacing what was there; nothing is stored when it is over `max_bytes` (TooLarge)."""

    async def delete(self, key: str) -> bool:
        """Whether there was something to delete; S3 may say so of an object that just went."""


@asynccontextmanager
async def open_store(settings: StoreSettings) -> AsyncIterator[BundleStore]:
    """The store of `settings.url`, `file:///directory` or `s3://bucket/prefix`. Raises Invalid for another url."""
    async with _opened(settings, writable=True) as store:
        yield store


@asynccontextmanager
async def open_reader(settings: StoreSettings) -> AsyncIterator[ReadableStore]:
    """As `open_store`, for a process that must not write; its credentials should not be able to either."""
    async with _opened(settings, writable=False) as store:
        yield store


@asynccontextmanager
async def _opened(settings: StoreSettings, *, writable: bool) -> AsyncIterator[BundleStore]:
    url = urlsplit(settings.url)
    if url.scheme == "file" and url.netloc in ("", "localhost") and len(url.path) > 1:
        yield DirectoryStore(Path(unquote(url.path)), writable=writable)
    elif url.scheme == "s3" and url.netloc:
        async with _client(settings) as client:
            yield S3Store(client, url.netloc, prefix=url.path.strip("/"), writable=writable)
    else:
        raise Invalid("ALGA_STORE_URL must be file:///directory or s3://bucket/prefix")


@asynccontextmanager
async def _client(settings: StoreSettings) -> AsyncIterator[Any]:
    """Retries are ours: botocore's would hide how long a request took. Checksums only where S3 asks for them, since
    other servers of the protocol do not know the trailing ones."""
    config = AioConfig(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 1},
        max_pool_connections=50,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        s3={"addressing_style": "path" if settings.endpoint else "auto"},
    )
    async with get_session().create_client(
        "s3",
        endpoint_url=settings.endpoint,
        region_name=settings.region,
        aws_access_key_id=settings.access_key,
        aws_secret_access_key=settings.secret_key,
        config=config,
    ) as client:
        yield client


class S3Store:
    """A bucket, below `prefix`. `client` is an aiobotocore S3 client and belongs to the caller."""

    def __init__(self, client: Any, bucket: str, *, prefix: str, writable: bool) -> None:
        self._client, self._bucket, self._writable = client, bucket, writable
        self._prefix = f"{prefix}/" if prefix else ""

    async def check(self) -> None:
        with _errors(self._bucket):
            await self._client.head_bucket(Bucket=self._bucket)

    async def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        where = self._writable_at(key)
        body = data if isinstance(data, bytes) else await asyncio.to_thread(data.read_bytes)
        condition = {} if overwrite else {"IfNoneMatch": "*"}
        try:
            await self._request("put_object", where, Body=body, **condition)
        except _TakenError:
            if not await self._holds(key, body):
                raise conflict(key) from None

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Written:
        where = self._writable_at(key)
        measured = Measured(chunks, max_bytes)
        upload = (await self._request("create_multipart_upload", where))["UploadId"]
        async with AsyncExitStack() as undo:
            undo.push_async_callback(self._abort, where, upload)
            parts = [await self._part(where, upload, number, body) async for number, body in _parts(measured)]
            complete = {"UploadId": upload, "MultipartUpload": {"Parts": parts}}
            await self._request("complete_multipart_upload", where, **complete)
            undo.pop_all()
        return measured.written

    async def get(self, key: str, *, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        data = bytearray()
        async for chunk in self.open(key):
            data += chunk
            if len(data) > max_bytes:
                raise TooLarge(f"a stored object is over the limit of {max_bytes} bytes", detail=f"key {key}")
        return bytes(data)

    async def open(self, key: str) -> AsyncGenerator[bytes, None]:
        answer = await self._request("get_object", self._at(key))
        with _errors(key):
            async with answer["Body"] as body:
                while chunk := await body.read(CHUNK_BYTES):
                    yield chunk

    def path(self, key: str) -> Path | None:
        return None

    async def size(self, key: str) -> int | None:
        try:
            return int((await self._request("head_object", self._at(key)))["ContentLength"])
        except NotFound:
            return None

    async def exists(self, key: str) -> bool:
        return await self.size(key) is not None

    async def delete(self, key: str) -> bool:
        existed = await self.exists(key)
        await self._request("delete_object", self._writable_at(key))
        return existed

    async def list(self, prefix: str) -> list[str]:
        keys: list[str] = []
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=self._prefix + prefix
        )
        with _errors(prefix):
            async for page in pages:
                keys += [item["Key"].removeprefix(self._prefix) for item in page.get("Contents", ())]
        return sorted(keys)

    async def _holds(self, key: str, body: bytes) -> bool:
        if await self.size(key) != len(body):
            return False
        return await self.get(key, max_bytes=len(body)) == body

    async def _part(self, where: dict[str, str], upload: str, number: int, body: bytes) -> dict[str, Any]:
        answer = await self._request("upload_part", where, UploadId=upload, PartNumber=number, Body=body)
        return {"PartNumber": number, "ETag": answer["ETag"]}

    async def _abort(self, where: dict[str, str], upload: str) -> None:
        """Parts of an upload that nobody completes cost storage; a store that is gone cannot be asked."""
        with suppress(FleetError):
            await self._request("abort_multipart_upload", where, UploadId=upload)

    async def _request(self, operation: str, where: dict[str, str], **arguments: Any) -> Any:
        """One S3 operation, repeated when the store was not reached or is busy; all that we use may be repeated."""
        async for attempt in AsyncRetrying(
            retry=retry_if_exception_type(Unavailable),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.1, max=1),
            reraise=True,
        ):
            with attempt, _errors(where["Key"]):
                return await getattr(self._client, operation)(**where, **arguments)
        raise Internal("unreachable: the last attempt raises")

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._prefix + check_key(key)}

    def _writable_at(self, key: str) -> dict[str, str]:
        if not self._writable:
            raise not_writable(key)
        return self._at(key)


async def _parts(chunks: AsyncIterable[bytes]) -> AsyncIterator[tuple[int, bytes]]:
    """Numbered parts as S3 wants them: all of one size but the last, and at least one."""
    number, pending = 1, bytearray()
    async for chunk in chunks:
        pending += chunk
        while len(pending) >= PART_BYTES:
            yield number, bytes(pending[:PART_BYTES])
            del pending[:PART_BYTES]
            number += 1
    if pending or number == 1:
        yield number, bytes(pending)


class _TakenError(Internal):
    """If-None-Match found an object there."""


@contextmanager
def _errors(key: str) -> Iterator[None]:
    """What botocore and the connection below it raise, as ours."""
    try:
        yield
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _ABSENT:
            raise NotFound("the bundle store has no such object", detail=f"key {key}") from error
        if code in _TAKEN:
            raise _TakenError("the key is taken", detail=f"key {key}") from error
        raise _unavailable(key, error) from error
    except (BotoCoreError, HTTPClientError, aiohttp.ClientError, TimeoutError, OSError) as error:
        raise _unavailable(key, error) from error


def _unavailable(key: str, error: Exception) -> Unavailable:
    return Unavailable("the bundle store cannot be used", detail=f"key {key}: {error}", retry_after_seconds=5)
