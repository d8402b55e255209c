"""What is counted of each invocation that ran, with the labelled children looked up once."""

from __future__ import annotations

from typing import NamedTuple

from prometheus_client import Counter, Histogram

from schemas.errors import ErrorCode
from schemas.invocation import Outcome, Trigger
from service.metrics import Metrics


class _OfTrigger(NamedTuple):
    seconds: Histogram
    queue: Histogram


class Counters:
    """The invocation metrics of this worker."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._triggers = {
            trigger: _OfTrigger(metrics.invocation_seconds.labels(trigger), metrics.queue_seconds.labels(trigger))
            for trigger in Trigger
        }
        self._codes: dict[tuple[Trigger, ErrorCode | None], Counter] = {}

    def count(self, trigger: Trigger, outcome: Outcome) -> None:
        usage, of_trigger = outcome.usage, self._triggers[trigger]
        self._code(trigger, outcome.code).inc()
        of_trigger.seconds.observe(usage.duration_ms / 1000)
        of_trigger.queue.observe(usage.queue_ms / 1000)
        self._metrics.invocation_memory.observe(usage.memory_mb)
        self._metrics.invocation_fuel.observe(usage.fuel)

    def _code(self, trigger: Trigger, code: ErrorCode | None) -> Counter:
        counter = self._codes.get((trigger, code))
        if counter is None:
            counter = self._codes[trigger, code] = self._metrics.invocations.labels(trigger, code or "ok")
        return counter
