"""`wasi:clocks` and `wasi:random`: coarse live clocks, fresh randomness, also behind the insecure names."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any, Final

from worker.executor.crossing import Resource, TooLarge
from worker.executor.running import Running
from worker.executor.wasi import resources

STEP_NANOSECONDS: Final = 1_000_000
"""Clocks move in steps of a millisecond: fine ones tell a guest about its neighbours."""
MAX_RANDOM_BYTES: Final = 1024 * 1024
_SECOND: Final = 1_000_000_000


def _monotonic(_: Running) -> int:
    return _coarse(time.monotonic_ns())


def _wall(_: Running) -> dict[str, int]:
    return _as_datetime(_coarse(time.time_ns()))


def _step(_: Running) -> int:
    return STEP_NANOSECONDS


def _wall_step(_: Running) -> dict[str, int]:
    return _as_datetime(STEP_NANOSECONDS)


def _at_instant(running: Running, instant: int) -> Resource:
    return resources.new(running, "pollable", instant / _SECOND)


def _after(running: Running, duration: int) -> Resource:
    return resources.new(running, "pollable", time.monotonic() + duration / _SECOND)


def _random_bytes(_: Running, size: int) -> bytes:
    if size > MAX_RANDOM_BYTES:
        raise TooLarge(f"{size} random bytes, over the limit of {MAX_RANDOM_BYTES}")
    return os.urandom(size)


def _random_number(_: Running) -> int:
    return int.from_bytes(os.urandom(8))


def _random_pair(_: Running) -> list[int]:
    return [int.from_bytes(os.urandom(8)), int.from_bytes(os.urandom(8))]


def _coarse(nanoseconds: int) -> int:
    return nanoseconds - nanoseconds % STEP_NANOSECONDS


def _as_datetime(nanoseconds: int) -> dict[str, int]:
    return {"seconds": nanoseconds // _SECOND, "nanoseconds": nanoseconds % _SECOND}


FUNCTIONS: Final[Mapping[str, Any]] = {
    "wasi:clocks/monotonic-clock now": _monotonic,
    "wasi:clocks/monotonic-clock resolution": _step,
    "wasi:clocks/monotonic-clock subscribe-instant": _at_instant,
    "wasi:clocks/monotonic-clock subscribe-duration": _after,
    "wasi:clocks/wall-clock now": _wall,
    "wasi:clocks/wall-clock resolution": _wall_step,
    "wasi:random/random get-random-bytes": _random_bytes,
    "wasi:random/random get-random-u64": _random_number,
    "wasi:random/insecure get-insecure-random-bytes": _random_bytes,
    "wasi:random/insecure get-insecure-random-u64": _random_number,
    "wasi:random/insecure-seed insecure-seed": _random_pair,
}
