"""What a worker is told by its environment. Frozen; read once in `__main__`."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

import msgspec

from schemas.errors import Invalid
from schemas.ids import WorkerId, new_id
from service.settings import LogSettings, NatsSettings, ProbeSettings, StoreSettings

ALL_SHARDS = "all"
SLOTS_PER_CORE = 4
_GIB = 1024**3
_WORKER = re.compile(r"[a-z0-9]{8,32}", re.ASCII)


class SupervisorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_WORKER_*.

    `shards`: `all`, or numbers with commas. `slots`: calls at once, default 4 for each core. `executors`: processes
    that belong to a tenant, at least as many as slots; `clean_executors` more stand ready. `cache_bytes` bounds
    compiled components on disk, `memory_bytes` those in memory. `egress_allow_addresses`: networks that extensions
    may reach although they are not public. `egress_ceiling`: domains beyond which no egress list counts.
    """

    id: str | None = None
    shards: tuple[str, ...] = (ALL_SHARDS,)
    slots: int | None = None
    executors: int = 32
    clean_executors: int = 2
    cache_directory: str | None = None
    cache_bytes: int = 8 * _GIB
    memory_bytes: int = _GIB
    egress_allow_addresses: tuple[str, ...] = ()
    egress_ceiling: tuple[str, ...] = ()
    drain_seconds: float = 65.0


class PublicKeySettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_TICKET_*, ALGA_BUILD_*: a PEM file of the Ed25519 public keys that are trusted, one or more."""

    public_keys_file: str


class WorkerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """All settings of a worker process. No Postgres, no private key, no KEK."""

    nats: NatsSettings
    store: StoreSettings
    ticket: PublicKeySettings
    build: PublicKeySettings
    worker: SupervisorSettings = SupervisorSettings()
    probe: ProbeSettings = ProbeSettings()
    log: LogSettings = LogSettings()


def worker_id(settings: SupervisorSettings) -> WorkerId:
    """The worker's own name, or a random one. Raises Invalid."""
    if settings.id is None:
        return WorkerId(f"w{new_id().replace('-', '')[:19]}")
    if not _WORKER.fullmatch(settings.id):
        raise Invalid(f"setting ALGA_WORKER_ID must be 8 to 32 of a-z 0-9, not {settings.id[:60]!r}")
    return WorkerId(settings.id)


def shards(settings: SupervisorSettings, *, shard_count: int) -> tuple[int, ...] | None:
    """The shards to serve; None: all of them. Raises Invalid."""
    if settings.shards == (ALL_SHARDS,):
        return None
    numbers = []
    for text in settings.shards:
        if not re.fullmatch(r"[0-9]{1,4}", text, re.ASCII) or int(text) >= shard_count:
            raise Invalid(
                f"setting ALGA_WORKER_SHARDS must be all, or numbers from 0 to {shard_count - 1}, not {text[:20]!r}"
            )
        numbers.append(int(text))
    return tuple(sorted(set(numbers)))


def slots(settings: SupervisorSettings) -> int:
    """Calls at once. Raises Invalid when there are not executors enough for them."""
    count = (os.cpu_count() or 1) * SLOTS_PER_CORE if settings.slots is None else settings.slots
    if not 1 <= count <= settings.executors:
        raise Invalid(f"setting ALGA_WORKER_SLOTS must be 1 to ALGA_WORKER_EXECUTORS {settings.executors}, not {count}")
    return count


def cache_directory(settings: SupervisorSettings) -> Path:
    """Where compiled components are kept between runs."""
    return Path(settings.cache_directory or Path(tempfile.gettempdir()) / f"alga-worker-cache-{os.getuid()}")
