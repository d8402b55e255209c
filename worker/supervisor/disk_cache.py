"""Load records and cwasms on this worker's disk, bounded in bytes, least recently used first out.

Owns files and their eviction; trusts none of them: `modules.py` verifies on every load. A full or broken disk makes a
cache that misses, never a failed call. Blocking: called in a thread.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

import structlog

from schemas.ids import ContentHash, hex_of

log = structlog.get_logger()

COPY_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True)
class Cached:
    """What the disk has of one bundle: the load record's bytes, and where the cwasm is."""

    record: bytes
    path: Path


class DiskCache:
    """`root` is this worker's own; files of other engines in it only age."""

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        self._root, self._max_bytes = root, max_bytes

    def check(self) -> None:
        """Raises OSError when the directory cannot be made or written."""
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=self._root):
            pass

    def find(self, fingerprint: str, content_hash: ContentHash) -> Cached | None:
        cwasm, record = self._paths(fingerprint, content_hash)
        try:
            found = Cached(record.read_bytes(), cwasm)
            os.utime(cwasm)
        except OSError:
            return None
        return found

    def put(self, fingerprint: str, content_hash: ContentHash, *, record: bytes, descriptor: int) -> None:
        """Keep a verified cwasm, read from its sealed memfd, which is closed. The record comes last: without it
        nothing is found."""
        cwasm, record_path = self._paths(fingerprint, content_hash)
        try:
            cwasm.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._evict(os.fstat(descriptor).st_size)
            _write(cwasm, descriptor)
            fresh = record_path.with_suffix(".new")
            fresh.write_bytes(record)
            fresh.replace(record_path)
        except OSError as error:
            log.warning("a cwasm was not cached on disk", reason=error.strerror, content_hash=content_hash)
            self.delete(fingerprint, content_hash)
        finally:
            os.close(descriptor)

    def delete(self, fingerprint: str, content_hash: ContentHash) -> None:
        for path in reversed(self._paths(fingerprint, content_hash)):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)

    def _evict(self, coming: int) -> None:
        """Make room for `coming` bytes; records go with their cwasm."""
        files = [(entry.stat(), entry) for entry in self._root.glob("*/*.cwasm")]
        size = sum(stat.st_size for stat, _ in files) + coming
        for stat, path in sorted(files, key=lambda item: item[0].st_mtime):
            if size <= self._max_bytes:
                return
            path.with_suffix(".json").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            size -= stat.st_size

    def _paths(self, fingerprint: str, content_hash: ContentHash) -> tuple[Path, Path]:
        base = self._root / fingerprint / hex_of(content_hash)
        return base.with_suffix(".cwasm"), base.with_suffix(".json")


def _write(path: Path, descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    file, name = tempfile.mkstemp(dir=path.parent, suffix=".new")
    try:
        at = 0
        while at < size:
            at += os.sendfile(file, descriptor, at, min(COPY_BYTES, size - at))
        Path(name).replace(path)
    except OSError:
        Path(name).unlink(missing_ok=True)
        raise
    finally:
        os.close(file)
