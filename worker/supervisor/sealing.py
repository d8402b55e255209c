"""A cwasm into a sealed memfd, hashed on the way: what was checked is what will be loaded, and nobody can change it.

Owns the copy. Copying and hashing overlap, in this call's thread and one of its own, since both let go of the
interpreter (hazards F30). Blocking: called in a thread, never on the loop.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from schemas.errors import Corrupt

BLOCK_BYTES, BUFFER_BYTES = 4 * 1024 * 1024, 1024 * 1024
_SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


class Sealer:
    """One memfd on its way to be sealed. `finish` gives the descriptor away; `close` throws it away."""

    def __init__(self, *, expected_sha256: str, expected_bytes: int) -> None:
        self._expected_sha256, self._expected_bytes = expected_sha256, expected_bytes
        self._descriptor = os.memfd_create("cwasm", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        self._hash = hashlib.sha256()
        self._buffer = memoryview(bytearray(BUFFER_BYTES))
        self._hasher = ThreadPoolExecutor(1, thread_name_prefix="cwasm hash")
        self._hashing: list[Future[None]] = []
        self._size = 0

    def write(self, blocks: Sequence[bytes]) -> None:
        """Append. Raises Corrupt as soon as there is more than there should be."""
        self._grow(sum(map(len, blocks)))
        self._settle()
        for block in blocks:
            self._hashing.append(self._hasher.submit(self._hash.update, block))
            view = memoryview(block)
            while view:
                view = view[os.write(self._descriptor, view) :]

    def copy(self, file: int) -> None:
        """Append all of an open file, from its beginning: moved inside the kernel, hashed where it arrived."""
        while count := os.sendfile(self._descriptor, file, self._size, BLOCK_BYTES):
            start = self._size
            self._grow(count)
            self._hashing.append(self._hasher.submit(self._hash_arrived, start, self._size))

    def finish(self) -> int:
        """The sealed descriptor, the caller's to close. Raises Corrupt when it is not what the load record says."""
        self._settle()
        if self._size != self._expected_bytes:
            raise Corrupt(f"cwasm has {self._size} bytes, its load record says {self._expected_bytes}")
        if self._hash.hexdigest() != self._expected_sha256:
            raise Corrupt("cwasm does not have the SHA-256 of its load record")
        fcntl.fcntl(self._descriptor, fcntl.F_ADD_SEALS, _SEALS)
        descriptor, self._descriptor = self._descriptor, -1
        return descriptor

    def close(self) -> None:
        """After `finish` only the thread is left to end."""
        self._hasher.shutdown(wait=True)
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _grow(self, count: int) -> None:
        self._size += count
        if self._size > self._expected_bytes:
            raise Corrupt(f"cwasm has more than the {self._expected_bytes} bytes of its load record")

    def _hash_arrived(self, start: int, end: int) -> None:
        """One buffer for all of it: fresh memory for every block costs more than the copy out of the memfd."""
        while start < end:
            count = os.preadv(self._descriptor, [self._buffer[: end - start]], start)
            self._hash.update(self._buffer[:count])
            start += count

    def _settle(self) -> None:
        for hashing in self._hashing:
            hashing.result()
        self._hashing.clear()


@contextlib.contextmanager
def sealing(*, expected_sha256: str, expected_bytes: int) -> Iterator[Sealer]:
    """A Sealer that leaves nothing behind."""
    sealer = Sealer(expected_sha256=expected_sha256, expected_bytes=expected_bytes)
    try:
        yield sealer
    finally:
        sealer.close()


def seal_file(path: Path, *, expected_sha256: str, expected_bytes: int) -> int:
    """The sealed copy of a file. Raises Corrupt, OSError."""
    with sealing(expected_sha256=expected_sha256, expected_bytes=expected_bytes) as sealer, path.open("rb", 0) as file:
        sealer.copy(file.fileno())
        return sealer.finish()
