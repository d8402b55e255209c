"""Which file of `imports` answers each interface of the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from schemas.capability import INTERFACES, Answerer, Function, Interface
from worker.executor.imports import broker, context, notes, user
from worker.executor.running import Running

Answer = Callable[[Running, Interface, Function, list[Any]], Any]

_OWN: Final[dict[str, Answer]] = {
    "context": context.answer,
    "context-v2": context.answer,
    "user": user.answer,
    "user-v2": user.answer,
    "logging": notes.answer,
    "metrics": notes.answer,
}


def answering(interface: str) -> Answer:
    """Raises LookupError for an interface that says it is answered here and is not."""
    if interface in _OWN:
        return _OWN[interface]
    if INTERFACES[interface].answerer is Answerer.EXECUTOR:
        raise LookupError(f"nothing in the executor answers {interface}")
    return broker.answer
