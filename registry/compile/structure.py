"""The outside of a component binary, looked at before any compiler is: magic, layer, sections, a few counts.

Owns what can be told without understanding code: that it is a component, that its sections end where they say, and
that no module in it holds more memories or functions than we take. Pure; reads bytes, allocates nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from schemas.errors import ErrorCode, Unprocessable

MAGIC: Final = b"\0asm"
COMPONENT_LAYER: Final = b"\x0d\x00\x01\x00"
CORE_LAYER: Final = b"\x01\x00\x00\x00"
MAX_DEPTH: Final = 8
MAX_SECTIONS: Final = 20_000
MAX_MODULES: Final = 200
MAX_FUNCTIONS: Final = 200_000
"""All modules together; the largest toolchain we know makes 40,000."""
MAX_IMPORTS: Final = 20_000
PAGE_BYTES: Final = 64 * 1024
_CORE_MODULE, _COMPONENT = 1, 4
_IMPORTS, _FUNCTIONS, _MEMORIES, _TAGS = 2, 3, 5, 13
_LIMITS_WITH_MAXIMUM, _SHARED, _WIDE, _CUSTOM_PAGES = 1, 2, 4, 8
_SIMPLE_REFERENCES: Final = frozenset({0x70, 0x6F})


@dataclass
class _Counts:
    sections: int = 0
    modules: int = 0
    functions: int = 0


def check(data: bytes, *, memory_mb: int) -> None:
    """Raises Unprocessable (bundle_invalid) naming the item; `memory_mb` is what one memory may start with."""
    if data[:4] != MAGIC:
        raise refused("the component does not start with the magic of WebAssembly")
    if data[4:8] == CORE_LAYER:
        raise refused("a core module stands where a component is due")
    _component(_Reader(data, 0, len(data), "component"), _Counts(), memory_mb=memory_mb, depth=0)


def refused(message: str) -> Unprocessable:
    return Unprocessable(message, code=ErrorCode.BUNDLE_INVALID)


class _Reader:
    """A stretch of bytes with a name for messages."""

    def __init__(self, data: bytes, start: int, end: int, name: str) -> None:
        self.data, self.at, self.end, self.name = data, start, end, name

    def __bool__(self) -> bool:
        return self.at < self.end

    def byte(self) -> int:
        if self.at >= self.end:
            raise refused(f"{self.name} is truncated at byte {self.at}")
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        """An unsigned LEB128 number of at most 64 bits."""
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
            if shift > 63:
                raise refused(f"{self.name} has a number without end at byte {self.at}")

    def skip(self, size: int) -> int:
        """Where what was skipped began."""
        if size > self.end - self.at:
            raise refused(
                f"{self.name} is truncated: {size} bytes are due at byte {self.at}, {self.end - self.at} left"
            )
        self.at += size
        return self.at - size

    def part(self, size: int, name: str) -> _Reader:
        start = self.skip(size)
        return _Reader(self.data, start, start + size, name)


def _component(reader: _Reader, counts: _Counts, *, memory_mb: int, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise refused(f"components are nested deeper than {MAX_DEPTH}")
    start = reader.skip(8)
    if reader.data[start : start + 8] != MAGIC + COMPONENT_LAYER:
        raise refused(f"{reader.name} is not a component of the known version")
    while reader:
        kind, part = _section(reader, counts)
        if kind == _COMPONENT:
            _component(part, counts, memory_mb=memory_mb, depth=depth + 1)
        elif kind == _CORE_MODULE:
            _module(part, counts, memory_mb=memory_mb)


def _section(reader: _Reader, counts: _Counts) -> tuple[int, _Reader]:
    counts.sections += 1
    if counts.sections > MAX_SECTIONS:
        raise refused(f"more than {MAX_SECTIONS} sections")
    kind = reader.byte()
    return kind, reader.part(reader.number(), f"section {kind} of {reader.name}"[:80])


def _module(reader: _Reader, counts: _Counts, *, memory_mb: int) -> None:
    counts.modules += 1
    if counts.modules > MAX_MODULES:
        raise refused(f"more than {MAX_MODULES} core modules")
    reader.name = f"core module {counts.modules - 1}"
    start = reader.skip(8)
    if reader.data[start : start + 8] != MAGIC + CORE_LAYER:
        raise refused(f"{reader.name} is not a core module of the known version")
    memories = 0
    while reader:
        kind, part = _section(reader, counts)
        if kind == _FUNCTIONS:
            counts.functions += part.number()
            if counts.functions > MAX_FUNCTIONS:
                raise refused(f"more than {MAX_FUNCTIONS} functions")
        elif kind == _IMPORTS:
            memories += _imported_memories(part, memory_mb)
        elif kind == _MEMORIES:
            memories += _own_memories(part, memory_mb)
        elif kind == _TAGS:
            raise refused(f"{reader.name} uses exceptions, which are not supported")
    if memories > 1:
        raise refused(f"{reader.name} has {memories} memories: multi-memory is not supported")


def _own_memories(part: _Reader, memory_mb: int) -> int:
    count = part.number()
    for _ in range(min(count, 2)):
        _memory(part, memory_mb)
    return count


def _imported_memories(part: _Reader, memory_mb: int) -> int:
    count = part.number()
    if count > MAX_IMPORTS:
        raise refused(f"{part.name} has more than {MAX_IMPORTS} imports")
    memories = 0
    for _ in range(count):
        part.skip(part.number())
        part.skip(part.number())
        memories += _import(part, part.byte(), memory_mb)
    return memories


def _import(part: _Reader, kind: int, memory_mb: int) -> int:
    """Read one import's type; 1 for a memory."""
    match kind:
        case 0:
            part.number()
        case 1:
            if part.byte() not in _SIMPLE_REFERENCES:
                raise refused(f"{part.name} uses typed references, which are not supported")
            _limits(part)
        case 2:
            _memory(part, memory_mb)
            return 1
        case 3:
            part.skip(2)
        case _:
            raise refused(f"{part.name} imports something of kind {kind}, which is not supported")
    return 0


def _memory(part: _Reader, memory_mb: int) -> None:
    pages = _limits(part)
    if pages * PAGE_BYTES > memory_mb * 1024 * 1024:
        raise refused(f"{part.name} needs a memory of {pages} pages, over the limit of {memory_mb} MiB")


def _limits(part: _Reader) -> int:
    """The minimum."""
    flags = part.byte()
    for flag, feature in ((_SHARED, "threads"), (_WIDE, "memory64"), (_CUSTOM_PAGES, "custom page sizes")):
        if flags & flag:
            raise refused(f"{part.name} uses {feature}, which is not supported")
    minimum = part.number()
    if flags & _LIMITS_WITH_MAXIMUM:
        part.number()
    return minimum
