"""`bundle.tar.zst` in and out, within caps: what is in it, which entries are dropped, which refuse it.

Owns the caps, the index of files and packing. The tar format is `registry/tar_walk.py`'s, the manifest's meaning
`schemas/manifest.py`'s. Everything here blocks and belongs in a thread, except `spool`. Nothing is ever written at a
path that an archive names, except by `extract`, below a directory that the caller made for it.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec
import zstandard

from registry import tar_walk
from registry.tar_walk import Member, refused
from schemas import bundle_path, manifest
from schemas.bundle import COMPONENT_PATH, MANIFEST_PATH
from schemas.errors import Corrupt, Invalid
from schemas.ids import ContentHash

MIB = 1024 * 1024
MAX_PACKED_BYTES = 200 * MIB
"""The most an operator may allow."""
ENTRIES_PER_FILE = 4
"""Directories and dropped AppleDouble entries count too, but not as files."""
_MAGIC = b"\x28\xb5\x2f\xfd"
_READ_BYTES = 256 * 1024
_SLICE_BYTES = 1024
"""Fed to the decompressor at once: a block of 4 bytes can become 128 KiB, so this bounds memory to 32 MiB."""

Sink = Callable[[memoryview], object]


class Caps(msgspec.Struct, frozen=True, kw_only=True):
    """What one bundle may be. Bytes, but `ratio`: unpacked bytes per packed byte."""

    packed_bytes: int = 32 * MIB
    unpacked_bytes: int = 128 * MIB
    files: int = 2_000
    ratio: int = 200
    window_bytes: int = 8 * MIB

    def __post_init__(self) -> None:
        if not 0 < self.packed_bytes <= MAX_PACKED_BYTES:
            raise Invalid(f"the cap of packed bytes must be 1 to {MAX_PACKED_BYTES}, not {self.packed_bytes}")


DEFAULT_CAPS = Caps()


class File(msgspec.Struct, frozen=True):
    """One file of a bundle: bytes, and the hex SHA-256 of them."""

    size: int
    sha256: str


class Archive(msgspec.Struct, frozen=True, kw_only=True):
    """What was read. `files` by path, in the archive's order; `component` is None where there is no code."""

    content_hash: ContentHash
    packed_bytes: int
    unpacked_bytes: int
    files: dict[str, File]
    manifest: bytes
    component: bytes | None


@asynccontextmanager
async def spool(chunks: AsyncIterator[bytes], *, caps: Caps = DEFAULT_CAPS) -> AsyncIterator[BinaryIO]:
    """An unnamed temporary file of what comes, at its start again. Raises Unprocessable over the packed cap."""
    file: BinaryIO = await asyncio.to_thread(tempfile.TemporaryFile)
    try:
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            _check_packed(size, caps)
            await asyncio.to_thread(file.write, chunk)
        file.seek(0)
        yield file
    finally:
        file.close()


def read(source: BinaryIO, *, caps: Caps = DEFAULT_CAPS) -> Archive:
    """Everything about a bundle, its manifest and component in memory. Raises Unprocessable (bundle_invalid)."""
    component = bytearray()
    archive = _collect(source, caps, lambda path: component.extend if path == COMPONENT_PATH else None)
    return msgspec.structs.replace(archive, component=bytes(component)) if COMPONENT_PATH in archive.files else archive


def extract(
    source: BinaryIO, directory: Path, *, prefix: str, expected: ContentHash, caps: Caps = DEFAULT_CAPS
) -> Archive:
    """Write the files below `prefix` (`ui/`) under `directory`, new and the caller's own; `component` is left None.

    `source` must be seekable: its bytes are compared with `expected` before anything is unpacked. Raises Corrupt.
    """
    verify_hash(source, expected)
    open_files: list[BinaryIO] = []

    def sink(path: str) -> Sink | None:
        _close(open_files)
        if not path.startswith(prefix):
            return None
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        open_files.append(target.open("xb"))
        return open_files[-1].write

    try:
        return _collect(source, caps, sink)
    finally:
        _close(open_files)


def verify_hash(source: BinaryIO, expected: ContentHash) -> None:
    """Compare a seekable source with its content_hash and rewind it. Raises Corrupt (bundle_integrity)."""
    digest = hashlib.sha256()
    source.seek(0)
    while piece := source.read(_READ_BYTES):
        digest.update(piece)
    source.seek(0)
    found = f"sha256:{digest.hexdigest()}"
    if found != expected:
        raise Corrupt("the stored bundle is not what was signed", detail=f"{found} under the name {expected}")


class _Packed:
    """The compressed side: hashed and counted while it is unpacked."""

    def __init__(self, source: BinaryIO, caps: Caps) -> None:
        self._source, self._caps = source, caps
        self._digest = hashlib.sha256()
        self.packed_bytes = self.unpacked_bytes = 0

    @property
    def content_hash(self) -> ContentHash:
        return ContentHash(f"sha256:{self._digest.hexdigest()}")

    def chunks(self) -> Iterator[bytes]:
        """The unpacked bytes of exactly one zstd frame that ends with the source."""
        frame = zstandard.ZstdDecompressor(max_window_size=self._caps.window_bytes).decompressobj()
        for piece in self._slices():
            if frame.eof:
                raise refused("has bytes after its zstd frame")
            try:
                chunk = frame.decompress(piece)
            except zstandard.ZstdError as error:
                window = self._caps.window_bytes // MIB
                raise refused(f"is not a valid zstd frame with a window of at most {window} MiB") from error
            if frame.unused_data:
                raise refused("has bytes after its zstd frame")
            self._count(len(chunk))
            if chunk:
                yield chunk
        if not frame.eof:
            raise refused("ends in the middle of its zstd frame")
        if self.unpacked_bytes > self._caps.ratio * self.packed_bytes:
            raise refused(f"unpacks to more than {self._caps.ratio} times its size")

    def _slices(self) -> Iterator[bytes]:
        while piece := self._source.read(_READ_BYTES):
            if not self.packed_bytes and not piece.startswith(_MAGIC):
                raise refused("is not compressed with zstd")
            self.packed_bytes += len(piece)
            _check_packed(self.packed_bytes, self._caps)
            self._digest.update(piece)
            yield from (piece[at : at + _SLICE_BYTES] for at in range(0, len(piece), _SLICE_BYTES))

    def _count(self, more: int) -> None:
        self.unpacked_bytes += more
        if self.unpacked_bytes > self._caps.unpacked_bytes:
            raise refused(f"unpacks to more than {self._caps.unpacked_bytes} bytes")


class _Names:
    """Files and directories seen so far; what some file system would take for one another is refused."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._directories: set[str] = set()

    def add_file(self, path: str) -> None:
        folded = bundle_path.fold(path)
        parents = _parents(folded)
        if folded in self._files:
            raise refused(f"has the same path twice, or differing in case only: {path[:200]!r}")
        if folded in self._directories or parents & self._files:
            raise refused(f"has a file that is also a directory: {path[:200]!r}")
        self._files.add(folded)
        self._directories |= parents

    def add_directory(self, path: str) -> None:
        folded = bundle_path.fold(path)
        directories = {folded} | _parents(folded)
        if directories & self._files:
            raise refused(f"has a file that is also a directory: {path[:200]!r}")
        self._directories |= directories


def _parents(path: str) -> set[str]:
    return {path[:at] for at, character in enumerate(path) if character == "/"}


def _collect(source: BinaryIO, caps: Caps, sink_of: Callable[[str], Sink | None]) -> Archive:
    packed, names = _Packed(source, caps), _Names()
    files: dict[str, File] = {}
    text = bytearray()
    for number, member in enumerate(tar_walk.members(packed.chunks()), start=1):
        if number > caps.files * ENTRIES_PER_FILE:
            raise refused(f"has more than {caps.files * ENTRIES_PER_FILE} entries")
        path = _path_of(member)
        if path is None:
            continue
        if member.is_directory:
            names.add_directory(path)
            continue
        names.add_file(path)
        if len(files) == caps.files:
            raise refused(f"has more than {caps.files} files")
        if path == MANIFEST_PATH and member.size > manifest.MAX_BYTES:
            raise refused(f"has a manifest.json of {member.size} bytes, over the limit of {manifest.MAX_BYTES}")
        files[path] = _file(member, text.extend if path == MANIFEST_PATH else sink_of(path))
    if MANIFEST_PATH not in files:
        raise refused("has no manifest.json at its root")
    return Archive(
        content_hash=packed.content_hash,
        packed_bytes=packed.packed_bytes,
        unpacked_bytes=packed.unpacked_bytes,
        files=files,
        manifest=bytes(text),
        component=None,
    )


def _path_of(member: Member) -> str | None:
    """The member's path in a bundle, None where it is dropped. Bad paths are refused even where they would be."""
    path = bundle_path.without_dot_slash(member.path)
    if member.is_directory:
        if member.size:
            raise refused(f"has a directory with content: {path[:200]!r}")
        path = path.removesuffix("/")
        if not path:
            return None
    problem = bundle_path.problem_of(path)
    if problem:
        raise refused(f"has an entry whose path {problem}: {path[:200]!r}")
    return None if bundle_path.is_hidden(path) else path


def _file(member: Member, sink: Sink | None) -> File:
    digest = hashlib.sha256()
    for piece in member.pieces:
        digest.update(piece)
        if sink is not None:
            sink(piece)
    return File(member.size, digest.hexdigest())


def _check_packed(size: int, caps: Caps) -> None:
    if size > caps.packed_bytes:
        raise refused(f"is over the limit of {caps.packed_bytes} bytes")


def _close(files: list[BinaryIO]) -> None:
    while files:
        files.pop().close()
