"""Host functions that the supervisor answers or passes on: the guest asks and waits."""

from __future__ import annotations

from typing import Any

from schemas.capability import Function, Interface
from worker.executor.running import Running


def answer(running: Running, interface: Interface, function: Function, arguments: list[Any]) -> Any:
    """The host value of the answer, or the function's `failed` value when none came by the deadline."""
    heard = running.ask(interface.name, function.name, arguments)
    if heard is None:
        running.warn(f"{interface.name}.{function.name}", "no answer before the deadline")
        return function.failed
    return heard.value
