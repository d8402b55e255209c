"""`logging` and `metrics`: told to the supervisor, nothing comes back."""

from __future__ import annotations

from typing import Any, Final

from schemas.capability import Function, Interface
from worker.executor.running import Running

MAX_METRIC_CALLS: Final = 200
"""The supervisor takes 100 per invocation and counts the rest; beyond this it need not hear of them."""


def answer(running: Running, interface: Interface, function: Function, arguments: list[Any]) -> None:
    if interface.name == "logging":
        running.log(interface.name, function.name, arguments[0])
    elif running.count_metric() <= MAX_METRIC_CALLS:
        running.note(interface.name, function.name, arguments)
