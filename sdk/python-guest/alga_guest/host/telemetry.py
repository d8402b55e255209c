"""The live log, metrics and emitted events."""

import json
from collections.abc import Mapping
from typing import Any

from alga_guest.host.calling import call


class Log:
    """Lines of the live log, at most 8 KiB each. `print` lands there too."""

    def __init__(self, imports: Any) -> None:
        self._raw = imports.logging

    def info(self, message: str) -> None:
        self._raw.log_info(message)

    def warn(self, message: str) -> None:
        self._raw.log_warn(message)

    def error(self, message: str) -> None:
        self._raw.log_error(message)


class Metrics:
    """Names are `[a-z][a-z0-9_]{0,63}`, labels at most five; what breaks the rules is dropped by the host."""

    def __init__(self, imports: Any) -> None:
        self._raw = imports.metrics

    def add_counter(self, name: str, value: float = 1, **labels: str) -> None:
        self._raw.add_counter(name, float(value), list(labels.items()))

    def set_gauge(self, name: str, value: float, **labels: str) -> None:
        self._raw.set_gauge(name, float(value), list(labels.items()))

    def record_histogram(self, name: str, value: float, **labels: str) -> None:
        self._raw.record_histogram(name, float(value), list(labels.items()))


class Events:
    def __init__(self, imports: Any) -> None:
        self._raw = imports.events

    def emit(
        self,
        topic: str,
        payload: Mapping[str, object],
        *,
        id: str | None = None,
        subject: str | None = None,
        ordering_key: str | None = None,
    ) -> str:
        """The event's id. It is published as ext.<extension name>.<topic> in this tenant; the same `id` counts once."""
        event = self._raw.OutgoingEvent(
            topic=topic, payload=json.dumps(payload), id=id, subject=subject, ordering_key=ordering_key
        )
        return str(call("events", self._raw.emit, event))
