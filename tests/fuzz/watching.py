"""What the interpreter is asked to do while code under test runs: one audit hook, heard by one listener at a time.

A witness that the code under test cannot pass by: it sits below every library written in Python.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

Listener = Callable[[str, tuple[Any, ...]], None]
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = frozenset(
    f"os.{name}"
    for name in (
        "mkdir",
        "rename",
        "link",
        "symlink",
        "remove",
        "rmdir",
        "truncate",
        "chmod",
        "chown",
        "utime",
        "mknod",
    )
)
_listeners: list[Listener] = []


@contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Hand every audit event to `listener`, which may refuse one by raising."""
    _install()
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def only_writes_below(directory: Path) -> Iterator[list[str]]:
    """The list fills with every attempt to change the file system outside of `directory`."""
    outside: list[str] = []
    root = os.path.realpath(directory)

    def hear(event: str, arguments: tuple[Any, ...]) -> None:
        for path in _changed_paths(event, arguments):
            real = os.path.realpath(os.fsdecode(path))
            if real != root and not real.startswith(root + os.sep):
                outside.append(f"{event} {path!r}")

    with heard_by(hear):
        yield outside


@cache
def _install() -> None:
    """Once: a hook cannot be taken out again."""
    sys.addaudithook(_hear)


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    for listener in _listeners:
        listener(event, arguments)


def _changed_paths(event: str, arguments: tuple[Any, ...]) -> list[str | bytes]:
    if event == "open":
        path, _, flags = arguments
        return [path] if isinstance(path, str | bytes) and flags & _WRITING else []
    if event not in _CHANGES:
        return []
    return [path for path in arguments if isinstance(path, str | bytes)]
