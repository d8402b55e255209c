"""The data directory of one stack: who uses it, where its parts are, its secret and its last ports.

Owns the exclusive lock (held by the kernel for as long as the process lives, so that a stale one cannot exist)
and the one random secret from which every password of the stack is derived. Passwords never change while the
directory lives.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from schemas.errors import Conflict

_SECRET_BYTES = 32


@dataclass(frozen=True)
class DataDirectory:
    """A directory this process holds the lock of."""

    root: Path
    _secret: bytes = field(repr=False)

    @property
    def nats(self) -> Path:
        return self.root / "nats"

    @property
    def postgres(self) -> Path:
        return self.root / "postgres"

    @property
    def bundles(self) -> Path:
        return self.root / "bundles"

    @property
    def s3(self) -> Path:
        return self.root / "s3"

    def log(self, name: str) -> Path:
        """A fresh log file for this run; the one of the run before is kept beside it."""
        logs = self.root / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        log = logs / f"{name}.log"
        if log.exists():
            log.rename(log.with_suffix(".log.previous"))
        log.touch(mode=0o600)
        return log

    def password(self, purpose: str) -> str:
        """43 characters of base64url, the same for the same purpose as long as the directory lives."""
        digest = hmac.digest(self._secret, purpose.encode(), hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()

    def last_ports(self, server: str) -> tuple[int, ...]:
        """The ports `server` had last time: a hint, so that addresses tend to stay."""
        try:
            return tuple(int(port) for port in orjson.loads(self._ports_file(server).read_bytes()))
        except (OSError, ValueError, TypeError):
            # A hint that cannot be read is no hint.
            return ()

    def remember_ports(self, server: str, ports: tuple[int, ...]) -> None:
        self._ports_file(server).write_bytes(orjson.dumps(ports))

    def _ports_file(self, server: str) -> Path:
        return self.root / f"{server}.ports.json"


@contextlib.contextmanager
def hold(root: Path) -> Iterator[DataDirectory]:
    """Create `root` (mode 0700) if needed and hold it. Raises Conflict, naming the pid, while a living process does."""
    root = root.expanduser().absolute()
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    root = root.resolve()
    descriptor = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _lock(descriptor, root)
        yield DataDirectory(root, _load_secret(root / "secret"))
    finally:
        os.close(descriptor)


def write_private(file: Path, content: bytes) -> None:
    """Write a file that only we may read, replacing one there was as a whole."""
    fresh = file.with_name(f"{file.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    fresh.rename(file)


def _lock(descriptor: int, root: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        raise Conflict(f"the data directory {root} is in use by process {holder}") from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _load_secret(file: Path) -> bytes:
    if not file.exists():
        write_private(file, secrets.token_bytes(_SECRET_BYTES))
    return file.read_bytes()
