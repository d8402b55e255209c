"""Packing a bundle: the same files give the same bytes, whoever packs and whenever.

Owns what reproducibility needs: order, header fields, compression settings. Which files of a project go in is
`alga pack`'s to say. The zstd library's version is pinned (`requirements.lock`): another one may compress otherwise.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import zstandard

from registry import archive
from registry.archive import DEFAULT_CAPS, Caps
from registry.tar_walk import refused
from schemas import bundle_path
from schemas.ids import ContentHash, hex_of

LEVEL = 19
WINDOW_LOG = 23
"""2^23 bytes: the 8 MiB window that every reader accepts."""
MODE = 0o644


def pack(files: Mapping[str, bytes | Path], *, caps: Caps = DEFAULT_CAPS) -> bytes:
    """`bundle.tar.zst` of files by their path in the bundle; hidden ones are left out.

    Raises Unprocessable (bundle_invalid) for whatever reading the result would refuse.
    """
    packed = _compressed(_tar(files))
    archive.read(io.BytesIO(packed), caps=caps)
    return packed


def sidecar(content_hash: ContentHash) -> bytes:
    """The content of `bundle.sha256`."""
    return f"{hex_of(content_hash)}\n".encode()


def _tar(files: Mapping[str, bytes | Path]) -> bytes:
    shown = [path for path in files if not bundle_path.is_hidden(path)]
    for path in shown:
        if problem := bundle_path.problem_of(path):
            raise refused(f"has an entry whose path {problem}: {path[:200]!r}")
    out = io.BytesIO()
    for path in sorted(shown, key=str.encode):
        content = files[path]
        data = content if isinstance(content, bytes) else content.read_bytes()
        out.write(_header(path, len(data)))
        out.write(data)
        out.write(bytes(-len(data) % tarfile.BLOCKSIZE))
    out.write(bytes(2 * tarfile.BLOCKSIZE))
    return out.getvalue()


def _header(path: str, size: int) -> bytes:
    """USTAR, and a PAX header only for a name that USTAR cannot hold."""
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.mtime, info.uid, info.gid = size, MODE, 0, 0, 0
    try:
        return info.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict")
    except ValueError:
        return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "strict")


def _compressed(data: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(LEVEL, window_log=WINDOW_LOG, threads=0)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)
