"""A bundle store in a directory, for one machine: a key is a path below the root.

Owns atomicity: an object appears whole or not at all, written beside the others, flushed, then linked into place.
All file work runs in threads. Rules that both stores share are here; S3 is `registry/bundle_store.py`'s.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import stat
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, ParamSpec, TypeVar

import msgspec

from schemas.errors import Conflict, FleetError, Internal, NotFound, TooLarge, Unavailable

CHUNK_BYTES = 1024 * 1024
MAX_OBJECT_BYTES = 256 * 1024 * 1024
MAX_KEY_CHARACTERS = 512
LEFTOVER_SECONDS = 3600
TEMPORARY = "~writing"
"""Where objects are written before they appear; `~` cannot stand in a key."""
_KEY = re.compile(r"[A-Za-z0-9._-]+(?:/[A-Za-z0-9._-]+)*", re.ASCII)


T = TypeVar("T")
P = ParamSpec("P")


class Written(msgspec.Struct, frozen=True):
    """What a stream turned out to be: its size in bytes and the hex SHA-256 of it."""

    size: int
    sha256: str


class Measured:
    """A stream on its way into a store: bounded, counted and hashed. Iterating raises TooLarge over `max_bytes`."""

    def __init__(self, chunks: AsyncIterator[bytes], max_bytes: int) -> None:
        self._chunks, self._max_bytes = chunks, max_bytes
        self._digest, self._size = hashlib.sha256(), 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            self._size += len(chunk)
            if self._size > self._max_bytes:
                raise TooLarge(f"the upload is over the limit of {self._max_bytes} bytes")
            self._digest.update(chunk)
            yield chunk

    @property
    def written(self) -> Written:
        return Written(self._size, self._digest.hexdigest())


def check_key(key: str) -> str:
    """Keys are ours, yet hold tenant and upload ids: segments of `[A-Za-z0-9._-]`, none of dots only."""
    dots_only = any(not segment.strip(".") for segment in key.split("/"))
    if len(key) > MAX_KEY_CHARACTERS or dots_only or not _KEY.fullmatch(key):
        raise Internal("a bundle store key is malformed", detail=f"key {key[:120]!r}")
    return key


def conflict(key: str) -> Conflict:
    return Conflict("an object of this name with other bytes is stored already", detail=f"key {key}")


def not_writable(key: str) -> Internal:
    return Internal("this process may only read the bundle store", detail=f"key {key}")


class DirectoryStore:
    """`registry.bundle_store.BundleStore` over `root`. Several processes may share one directory."""

    def __init__(self, root: Path, *, writable: bool) -> None:
        self._root, self._writable = root, writable

    async def check(self) -> None:
        await _run(str(self._root), _check_root, self._root, self._writable)

    async def put(self, key: str, data: bytes | Path, *, overwrite: bool = False) -> None:
        await _run(key, self._put, self._writable_path(key), data, overwrite)

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Written:
        path = self._writable_path(key)
        measured = Measured(chunks, max_bytes)
        temporary, file = await _run(key, self._temporary)
        try:
            async for chunk in measured:
                await _run(key, file.write, chunk)
            await _run(key, _publish, temporary, file, path, True)
        finally:
            await _run(key, _discard, temporary, file)
        return measured.written

    async def get(self, key: str, *, max_bytes: int = MAX_OBJECT_BYTES) -> bytes:
        return await _run(key, _read, self._path(key), max_bytes)

    async def open(self, key: str) -> AsyncGenerator[bytes, None]:
        file = await _run(key, _open, self._path(key))
        try:
            while chunk := await _run(key, file.read, CHUNK_BYTES):
                yield chunk
        finally:
            file.close()

    def path(self, key: str) -> Path | None:
        return self._path(key)

    async def size(self, key: str) -> int | None:
        return await _run(key, _size, self._path(key))

    async def exists(self, key: str) -> bool:
        return await self.size(key) is not None

    async def delete(self, key: str) -> bool:
        return await _run(key, _delete, self._writable_path(key))

    async def list(self, prefix: str) -> list[str]:
        keys = await _run(prefix, _keys, self._root)
        return sorted(key for key in keys if key.startswith(prefix))

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _writable_path(self, key: str) -> Path:
        if not self._writable:
            raise not_writable(key)
        return self._path(key)

    def _put(self, path: Path, data: bytes | Path, overwrite: bool) -> None:
        temporary, file = self._temporary()
        try:
            _copy(data, file)
            _publish(temporary, file, path, overwrite)
        finally:
            _discard(temporary, file)

    def _temporary(self) -> tuple[Path, BinaryIO]:
        directory = self._root / TEMPORARY
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / secrets.token_hex(16)
        return path, path.open("xb")


def _check_root(root: Path, writable: bool) -> None:
    if writable:
        (root / TEMPORARY).mkdir(parents=True, exist_ok=True)
        _drop_leftovers(root / TEMPORARY)
    if not os.access(root, os.R_OK | os.X_OK | (os.W_OK if writable else 0)):
        raise PermissionError(f"{root} is not {'writable' if writable else 'readable'}")


def _drop_leftovers(directory: Path) -> None:
    """What a killed writer left; nobody writes one object for an hour."""
    for path in directory.iterdir():
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                path.unlink()


def _copy(data: bytes | Path, file: BinaryIO) -> None:
    if isinstance(data, bytes):
        file.write(data)
        return
    with data.open("rb") as source:
        while chunk := source.read(CHUNK_BYTES):
            file.write(chunk)


def _publish(temporary: Path, file: BinaryIO, path: Path, overwrite: bool) -> None:
    """The flushed file under its key. Linking fails where the key is taken, also by a writer in this very moment."""
    file.flush()
    os.fsync(file.fileno())
    path.parent.mkdir(parents=True, exist_ok=True)
    if overwrite:
        temporary.replace(path)
    else:
        try:
            os.link(temporary, path)
        except FileExistsError:
            if not _same_bytes(temporary, path):
                raise conflict(path.name) from None
            return
    _flush_directory(path.parent)


def _flush_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _same_bytes(one: Path, other: Path) -> bool:
    with one.open("rb") as left, _open(other) as right:
        if os.fstat(left.fileno()).st_size != os.fstat(right.fileno()).st_size:
            return False
        while chunk := left.read(CHUNK_BYTES):
            if chunk != right.read(CHUNK_BYTES):
                return False
    return True


def _discard(temporary: Path, file: BinaryIO) -> None:
    file.close()
    temporary.unlink(missing_ok=True)


def _open(path: Path) -> BinaryIO:
    """A regular file only: never through a link, never a pipe that would block."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return os.fdopen(descriptor, "rb")


def _read(path: Path, max_bytes: int) -> bytes:
    with _open(path) as file:
        data = file.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise TooLarge(f"a stored object is over the limit of {max_bytes} bytes", detail=str(path))
    return data


def _size(path: Path) -> int | None:
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _delete(path: Path) -> bool:
    with suppress(FileNotFoundError, NotADirectoryError):
        path.unlink()
        return True
    return False


def _keys(root: Path) -> list[str]:
    keys = []
    for directory, below, files in os.walk(root):
        if Path(directory) == root and TEMPORARY in below:
            below.remove(TEMPORARY)
        keys += [str((Path(directory) / name).relative_to(root)) for name in files]
    return keys


async def _run(key: str, work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Blocking work on the file system, in a thread."""
    with _errors(key):
        return await asyncio.to_thread(work, *arguments, **options)


@contextmanager
def _errors(key: str) -> Iterator[None]:
    """What the file system raises, as ours."""
    try:
        yield
    except FleetError:
        raise
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise NotFound("the bundle store has no such object", detail=f"key {key}") from error
    except OSError as error:
        raise Unavailable(
            "the bundle store cannot be used", detail=f"key {key}: {error}", retry_after_seconds=5
        ) from error
