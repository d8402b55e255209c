"""Time, handed in: wall clock for what is stored and sent, monotonic for what is measured and bounded."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What everything that reads time is given."""

    def now(self) -> float:
        """Unix seconds."""
        ...

    def monotonic(self) -> float:
        """Seconds of CLOCK_MONOTONIC, the same for all processes of one machine."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()
