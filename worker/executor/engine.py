"""The Engine of an executor, and the ticker that moves its epoch.

Owns how guest time ends: one thread per process, started after the fork, that looks at the clock every
`EPOCH_TICK_SECONDS` while a call runs, and advances the epoch once per look when the call's deadline has passed. It
counts no ticks towards a deadline: on a busy machine each comes late, and five hundred late ticks are a late end.
Idle, it parks; a parked executor costs nothing.
"""

from __future__ import annotations

import ctypes
import threading
import time
from importlib import metadata
from typing import Final

from wasmtime import Config, Engine, _bindings

from schemas import engine as engine_settings
from worker.executor import native

WASMTIME_VERSION: Final = metadata.version("wasmtime")
IDLE_TICKS_BEFORE_PARKING: Final = 10
"""Waking a parked thread costs more than ten idle ticks do; calls in a row find it awake."""


def build_engine() -> Engine:
    config = Config()
    engine_settings.apply(config, _bindings)
    return Engine(config)


def fingerprint() -> str:
    """The name of what this process can load."""
    return engine_settings.fingerprint(WASMTIME_VERSION)


class Ticker:
    """Advances the epoch after the deadline of the call between `begin` and `end`. One call at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = ctypes.cast(engine.ptr(), ctypes.c_void_p).value
        self._wanted = threading.Event()
        self._deadline: float | None = None
        self._thread = threading.Thread(target=self._tick, name="epoch ticker", daemon=True)

    def start(self) -> None:
        """Once, after the fork and before threads are forbidden."""
        self._thread.start()

    def begin(self, deadline: float) -> None:
        """A call runs until this instant of time.monotonic."""
        self._deadline = deadline
        if not self._wanted.is_set():
            self._wanted.set()

    def end(self) -> None:
        self._deadline = None

    def _tick(self) -> None:
        idle = 0
        while True:
            time.sleep(engine_settings.EPOCH_TICK_SECONDS)
            deadline = self._deadline
            if deadline is not None:
                idle = 0
                if time.monotonic() >= deadline:
                    native.increment_epoch(self._engine)
                continue
            idle += 1
            if idle > IDLE_TICKS_BEFORE_PARKING:
                self._park()
                idle = 0

    def _park(self) -> None:
        """A call may begin between the two lines; then it has seen the event unset, set it, and we go on."""
        self._wanted.clear()
        if self._deadline is None:
            self._wanted.wait()
