"""One crossing between host and guest: the memory that lowered values stand in, and the bytes it may take.

Owns that memory for as long as wasmtime reads it. What is written into it is `plans.py`'s.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, Final

CHUNK_BYTES: Final = 16 * 1024
"""What the strings and records of an ordinary request take; larger pieces get memory of their own."""


class Unfit(ValueError):
    """A value does not have the type it should have, or no conversion exists. Carries no value, only the type."""


class TooLarge(ValueError):
    """A value is over the budget of its crossing, found before it was converted."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A handle to give to a guest: which kind of host resource, and the number it stands for."""

    kind: int
    rep: int


class Crossing:
    """Memory and budget of one crossing between host and guest.

    `left`: bytes that may still be converted; a list element of any type counts as 32. `context`: address of the
    store's context, needed for handles only.
    """

    __slots__ = ("_at", "_base", "_chunk", "_kept", "context", "left")

    def __init__(self, *, budget: int, context: int = 0) -> None:
        self.left = budget
        self.context = context
        self._kept: list[Any] = []
        self._chunk = bytearray()
        self._base = 0
        self._at = 0

    def spend(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise TooLarge(f"a value is {-self.left} bytes over its budget")

    def put(self, data: bytes) -> int:
        """Copy into this crossing's memory, aligned to 8; the address."""
        size = len(data)
        at = (self._at + 7) & ~7
        if at + size > len(self._chunk):
            if size > CHUNK_BYTES // 4:
                return self.adopt(bytearray(data))
            self._base = self.adopt(bytearray(CHUNK_BYTES))
            self._chunk, at = self._kept[-1][0], 0
        self._chunk[at : at + size] = data
        self._at = at + size
        return self._base + at

    def adopt(self, buffer: bytearray) -> int:
        """Keep a buffer as long as this crossing; its address, 0 for an empty one."""
        if not buffer:
            return 0
        view = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        self._kept.append((buffer, view))
        return ctypes.addressof(view)

    def own(self, keep: Any) -> None:
        """Keep any object as long as this crossing."""
        self._kept.append(keep)
