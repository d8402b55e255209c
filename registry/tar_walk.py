"""A tar stream, member by member: USTAR, GNU long names, and PAX records of which only `path` counts.

Owns the format. Where two tar readers could see different members in the same bytes, the stream is refused: sizes or
names given twice, unreadable numbers, bytes behind a name's end or behind the end of the archive. What a path may be
is `schemas/bundle_path.py`'s. Nothing touches a disk here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from schemas.errors import Unprocessable

BLOCK = 512
MAX_EXTRA_BYTES = 64 * 1024
"""Of one extended header; our longest path is 255 bytes."""
_ZEROS = bytes(BLOCK)
_PASSED_OVER = (slice(100, 108), slice(108, 116), slice(116, 124), slice(136, 148), slice(329, 337), slice(337, 345))
"""Mode, owner, group, time, device: not used, but a reader that uses them may take an unreadable one for the end."""
_BINARY = (0x80, 0xFF)
"""First byte of a number too large for octal digits, as GNU tar writes it."""
_OCTAL = re.compile(rb"[0-7]*")
_RECORD = re.compile(rb"([1-9][0-9]{0,7}) ")
_UTF8 = b"ISO-IR 10646 2000 UTF-8"
_REFUSED = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a fifo",
    b"S": "a sparse file",
}


class Member:
    """A regular file or a directory. `path` as the archive spells it; `pieces` is its content, to be read once."""

    def __init__(self, path: str, *, is_directory: bool, size: int, pieces: Iterator[memoryview]) -> None:
        self.path, self.is_directory, self.size, self.pieces = path, is_directory, size, pieces


class _Header(msgspec.Struct, frozen=True):
    name: bytes
    size: int
    kind: bytes


class _Extra(msgspec.Struct, frozen=True):
    """What extended headers say about the next member. `others`: there was one that says nothing we use."""

    long_name: bytes | None = None
    pax: dict[bytes, bytes] | None = None
    others: bool = False


class _Stream:
    """Exact counts of bytes out of chunks of any size."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._have = chunks, memoryview(b"")

    def pieces(self, count: int) -> Iterator[memoryview]:
        while count:
            if not self._fill():
                raise refused("ends in the middle of an entry")
            piece, self._have = self._have[:count], self._have[count:]
            count -= len(piece)
            yield piece

    def take(self, count: int) -> bytes:
        return b"".join(self.pieces(count))

    def rest_is_zero(self) -> bool:
        while self._fill():
            if any(self._have):
                return False
            self._have = memoryview(b"")
        return True

    def _fill(self) -> bool:
        """Whether there is a byte left."""
        while not self._have:
            chunk = next(self._chunks, None)
            if chunk is None:
                return False
            self._have = memoryview(chunk)
        return True


def members(chunks: Iterator[bytes]) -> Iterator[Member]:
    """Every regular file and directory, in order, to the last byte of `chunks`.

    Raises Unprocessable (bundle_invalid) for links, devices, sparse files, unknown kinds and malformed headers.
    """
    stream, extra = _Stream(chunks), _Extra()
    while (block := stream.take(BLOCK)) != _ZEROS:
        header = _header(block)
        if header.kind in b"LKxXg":
            extra = _extended(header, _extension_data(stream, header), extra)
            continue
        yield from _member(stream, header, extra)
        extra = _Extra()
    if extra != _Extra():
        raise refused("has an extended header without an entry")
    if not stream.rest_is_zero():
        raise refused("has bytes after its end")


def refused(message: str) -> Unprocessable:
    """bundle_invalid; `message` continues "the archive …"."""
    return Unprocessable(f"the archive {message}")


def _header(block: bytes) -> _Header:
    if _octal(block[148:156], "checksum") != sum(block[:148]) + sum(block[156:]) + 8 * ord(" "):
        raise refused("has an entry header with a wrong checksum")
    name, magic = _field(block[:100]), block[257:265]
    if magic == b"ustar\x0000":
        prefix = _field(block[345:500])
        name = prefix + b"/" + name if prefix else name
    elif magic not in (b"ustar  \0", bytes(8)):
        raise refused("has an entry header of an unknown format")
    for field in _PASSED_OVER:
        if block[field.start] not in _BINARY:
            _octal(block[field], f"number at byte {field.start}")
    return _Header(name, _octal(block[124:136], "size"), block[156:157])


def _field(raw: bytes) -> bytes:
    text, _, behind = raw.partition(b"\0")
    if behind.strip(b"\0"):
        raise refused("has an entry name with a NUL in it")
    return text


def _octal(raw: bytes, what: str) -> int:
    digits = raw.rstrip(b" \0").lstrip(b" ")
    if not _OCTAL.fullmatch(digits):
        raise refused(f"has an entry header whose {what} is not an octal number")
    return int(digits or b"0", 8)


def _extension_data(stream: _Stream, header: _Header) -> bytes:
    if header.size > MAX_EXTRA_BYTES:
        raise refused(f"has an extended header of {header.size} bytes, over the limit of {MAX_EXTRA_BYTES}")
    data = stream.take(header.size)
    stream.take(-header.size % BLOCK)
    return data


def _extended(header: _Header, data: bytes, extra: _Extra) -> _Extra:
    if header.kind == b"K":
        return replace(extra, others=True)
    if header.kind == b"L":
        if extra.long_name is not None:
            raise refused("has two long names for one entry")
        return replace(extra, long_name=data.rstrip(b"\0"))
    records = _pax_records(data)
    if header.kind == b"g":
        if records.keys() & {b"path", b"size"}:
            raise refused("has a global header with a path or a size")
        return replace(extra, others=True)
    if extra.pax is not None:
        raise refused("has two PAX headers for one entry")
    return replace(extra, pax=records)


def _pax_records(data: bytes) -> dict[bytes, bytes]:
    """The records that count: `path` and `size`; all others are passed over."""
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        match = _RECORD.match(data, at)
        end = at + int(match[1]) if match else 0
        key, separator, value = data[match.end() : end - 1].partition(b"=") if match else (b"", b"", b"")
        if end > len(data) or not separator or data[end - 1 : end] != b"\n":
            raise refused("has a PAX header that is not made of records")
        if key.startswith(b"GNU.sparse"):
            raise refused("has a sparse file")
        if key in records or (key == b"hdrcharset" and value != _UTF8):
            raise refused("has a PAX header with a record twice, or names that are not UTF-8")
        if key in (b"path", b"size"):
            records[key] = value
        at = end
    return records


def _member(stream: _Stream, header: _Header, extra: _Extra) -> Iterator[Member]:
    path = _path(header, extra)
    is_directory = header.kind == b"5"
    if not is_directory and header.kind not in (b"0", b"\0"):
        kind = _REFUSED.get(header.kind, f"an entry of the unknown kind {header.kind!r}")
        raise refused(f"has {kind}: {path[:200]!r}")
    pieces = stream.pieces(header.size)
    yield Member(path, is_directory=is_directory, size=header.size, pieces=pieces)
    for _ in pieces:
        pass
    stream.take(-header.size % BLOCK)


def _path(header: _Header, extra: _Extra) -> str:
    pax = extra.pax or {}
    if b"path" in pax and extra.long_name is not None:
        raise refused("has two long names for one entry")
    if pax.get(b"size", b"%d" % header.size) != b"%d" % header.size:
        raise refused("has an entry with two sizes")
    raw = pax.get(b"path", header.name if extra.long_name is None else extra.long_name)
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise refused("has an entry name that is not UTF-8") from error
