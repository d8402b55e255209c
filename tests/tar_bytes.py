"""Tar and zstd bytes made by hand: what no honest packer writes, for the tests of archives."""

from __future__ import annotations

import zstandard

BLOCK = 512
END = bytes(2 * BLOCK)
REGULAR = b"0"
MANIFEST = b'{"name":"com.acme.x","publisher":"Acme","version":"1.0.0","runtime":"wasm-component@1"}'


def header(
    name: bytes,
    size: int,
    *,
    kind: bytes = REGULAR,
    link: bytes = b"",
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    size_field: bytes | None = None,
    mode: bytes = b"0000644\0",
) -> bytes:
    """One header block with a right checksum. `name` may hold anything that fits in 100 bytes."""
    block = bytearray(BLOCK)
    block[0 : len(name)] = name
    block[100:108] = mode
    block[108:116] = block[116:124] = b"0000000\0"
    block[124:136] = size_field if size_field is not None else b"%011o\0" % size
    block[136:148] = b"%011o\0" % 0
    block[156:157] = kind
    block[157 : 157 + len(link)] = link
    block[257:265] = magic
    block[345 : 345 + len(prefix)] = prefix
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def entry(name: bytes, data: bytes = b"x", **fields: bytes) -> bytes:
    """A header, its data and the padding."""
    return header(name, len(data), **fields) + data + bytes(-len(data) % BLOCK)  # type: ignore[arg-type]


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    """A PAX header before the entry it belongs to."""
    return entry(b"././@PaxHeader", b"".join(_record(key, value) for key, value in records), kind=kind)


def long_name(name: bytes) -> bytes:
    """A GNU long name before the entry it belongs to."""
    return entry(b"././@LongLink", name + b"\0", kind=b"L", magic=b"ustar  \0")


def bundle(*entries: bytes, end: bytes = END, manifest: bool = True) -> bytes:
    """A packed bundle of these entries behind a manifest."""
    first = entry(b"manifest.json", MANIFEST) if manifest else b""
    return zstandard.compress(first + b"".join(entries) + end)


def _record(key: bytes, value: bytes) -> bytes:
    rest = b" " + key + b"=" + value + b"\n"
    length = len(rest)
    while length != len(rest) + len(b"%d" % length):
        length = len(rest) + len(b"%d" % length)
    return b"%d" % length + rest
