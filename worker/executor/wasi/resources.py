"""Handles of WASI resources: which kinds exist, and what each number stands for in one store.

A kind belongs to a resource's name, not to a version: minors of WASI mix inside one component and share resources.
"""

from __future__ import annotations

from typing import Any, Final

from worker.executor.crossing import Resource
from worker.executor.running import Running

KINDS: Final = (
    "error",
    "pollable",
    "input-stream",
    "output-stream",
    "terminal-input",
    "terminal-output",
    "descriptor",
    "directory-entry-stream",
    "network",
    "resolve-address-stream",
    "tcp-socket",
    "udp-socket",
    "incoming-datagram-stream",
    "outgoing-datagram-stream",
    "fields",
    "incoming-request",
    "outgoing-request",
    "request-options",
    "response-outparam",
    "incoming-response",
    "incoming-body",
    "future-trailers",
    "outgoing-response",
    "outgoing-body",
    "future-incoming-response",
)
ALIASES: Final = {"headers": "fields", "trailers": "fields", "io-error": "error"}
"""Second names of the same resources, as interfaces export them."""
MAX_HANDLES: Final = 10_000
_NUMBERS: Final = {name: number for number, name in enumerate(KINDS, start=1)}


class TooManyHandles(ValueError):
    """The guest holds more handles than a store may have."""


def kind_of(name: str) -> int:
    """The number of a kind; 0 for a resource that WASI does not have, of which no handle is ever made."""
    return _NUMBERS.get(ALIASES.get(name, name), 0)


def new(running: Running, kind: str, value: Any) -> Resource:
    """A handle that stands for `value` until the guest drops it."""
    handles = running.handles
    if len(handles) >= MAX_HANDLES:
        raise TooManyHandles(f"{MAX_HANDLES} handles")
    rep = next(reversed(handles), 0) + 1
    handles[rep] = (kind, value)
    return Resource(_NUMBERS[kind], rep)


def get(running: Running, kind: str, rep: int) -> Any:
    """Raises LookupError for a number that is no handle of this kind."""
    found, value = running.handles[rep]
    if found != kind:
        raise LookupError(f"handle of {found} where {kind} is due")
    return value


def take(running: Running, kind: str, rep: int) -> Any:
    """`get`, and the handle ends: the guest gave it away."""
    value = get(running, kind, rep)
    del running.handles[rep]
    return value


def drop(running: Running, _: int, rep: int) -> None:
    running.handles.pop(rep, None)
