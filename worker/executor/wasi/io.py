"""`wasi:io`: polls that end with the deadline, an empty stdin, a stdout that is the live log.

A pollable is the monotonic instant at which it is ready, or None where it always is. An output stream is the name of
its log stream, or None for the body of a request that is never sent: what is written there goes nowhere, and whoever
waits for room waits for ever (StarlingMonkey writes on after a refused request, and traps when it may).
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any, Final

from schemas.capability import Err, Ok
from worker.executor import traps
from worker.executor.crossing import Resource
from worker.executor.running import Running
from worker.executor.wasi import resources

WRITE_PERMIT_BYTES: Final = 64 * 1024


def _ready(running: Running, pollable: int) -> bool:
    return _is_ready(resources.get(running, "pollable", pollable))


def _block(running: Running, pollable: int) -> None:
    _poll(running, [pollable])


def _poll(running: Running, pollables: list[int]) -> list[int]:
    instants = [resources.get(running, "pollable", pollable) for pollable in pollables]
    if not instants:
        raise ValueError("an empty poll")
    if not any(map(_is_ready, instants)):
        _sleep_until(running, min(instants))
    return [index for index, instant in enumerate(instants) if _is_ready(instant)]


def _sleep_until(running: Running, instant: float) -> None:
    """Ends the guest where the deadline comes first."""
    if instant > running.run.deadline:
        time.sleep(max(0.0, running.seconds_left()))
        raise traps.GuestEnded(traps.INTERRUPTED)
    while (left := instant - time.monotonic()) > 0:
        time.sleep(left)


def _is_ready(instant: float | None) -> bool:
    return instant is None or instant <= time.monotonic()


def _always(running: Running, _: int) -> Resource:
    return resources.new(running, "pollable", None)


def _room(running: Running, stream: int) -> Resource:
    name = resources.get(running, "output-stream", stream)
    return resources.new(running, "pollable", math.inf if name is None else None)


def _read(running: Running, stream: int, _: int) -> Err:
    resources.get(running, "input-stream", stream)
    return Err(("closed", None))


def _permit(running: Running, stream: int) -> Ok:
    resources.get(running, "output-stream", stream)
    return Ok(WRITE_PERMIT_BYTES)


def _write(running: Running, stream: int, data: bytes) -> Ok:
    name = resources.get(running, "output-stream", stream)
    if name is not None:
        running.write(name, data)
    return Ok()


def _flush(running: Running, stream: int) -> Ok:
    resources.get(running, "output-stream", stream)
    return Ok()


def _zeroes(running: Running, stream: int, size: int) -> Ok:
    return _write(running, stream, bytes(min(size, WRITE_PERMIT_BYTES)))


_IN: Final = "wasi:io/streams [method]input-stream."
_OUT: Final = "wasi:io/streams [method]output-stream."
FUNCTIONS: Final[Mapping[str, Any]] = {
    "wasi:io/poll [method]pollable.ready": _ready,
    "wasi:io/poll [method]pollable.block": _block,
    "wasi:io/poll poll": _poll,
    f"{_IN}read": _read,
    f"{_IN}blocking-read": _read,
    f"{_IN}skip": _read,
    f"{_IN}blocking-skip": _read,
    f"{_IN}subscribe": _always,
    f"{_OUT}check-write": _permit,
    f"{_OUT}write": _write,
    f"{_OUT}blocking-write-and-flush": _write,
    f"{_OUT}flush": _flush,
    f"{_OUT}blocking-flush": _flush,
    f"{_OUT}subscribe": _room,
    f"{_OUT}write-zeroes": _zeroes,
    f"{_OUT}blocking-write-zeroes-and-flush": _zeroes,
}
