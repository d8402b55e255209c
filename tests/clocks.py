"""A clock that tests move: the real `service.clock.Clock`, with time that stands still until it is told."""

from __future__ import annotations


class ManualClock:
    """Both clocks advance together, by `advance` only."""

    def __init__(self, *, now: float = 1_800_000_000.0, monotonic: float = 1_000.0) -> None:
        self._now, self._monotonic = now, monotonic

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds
