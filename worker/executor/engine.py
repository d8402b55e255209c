"""The Engine of an executor, and the ticker that moves its epoch.

Owns how guest time passes: one thread per process, started after the fork, that advances the epoch every
`EPOCH_TICK_SECONDS` while a call runs. Idle, it parks; a parked executor costs nothing.
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
    """Advances the epoch between `begin` and `end`. Not re-entrant: one call at a time."""

    def __init__(self, engine: Engine) -> None:
        self._engine = ctypes.cast(engine.ptr(), ctypes.c_void_p).value
        self._wanted = threading.Event()
        self._running = False
        self._thread = threading.Thread(target=self._tick, name="epoch ticker", daemon=True)

    def start(self) -> None:
        """Once, after the fork and before threads are forbidden."""
        self._thread.start()

    def begin(self) -> None:
        self._running = True
        if not self._wanted.is_set():
            self._wanted.set()

    def end(self) -> None:
        self._running = False

    def _tick(self) -> None:
        idle = 0
        while True:
            time.sleep(engine_settings.EPOCH_TICK_SECONDS)
            if self._running:
                native.increment_epoch(self._engine)
                idle = 0
                continue
            idle += 1
            if idle > IDLE_TICKS_BEFORE_PARKING:
                self._park()
                idle = 0

    def _park(self) -> None:
        """A call may begin between the two lines; then it has seen the event unset, set it, and we go on."""
        self._wanted.clear()
        if not self._running:
            self._wanted.wait()
