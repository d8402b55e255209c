"""Components made to be fed to a compiler: honest guests taken apart, changed and put together again.

Owns the making of inputs, from plain flipped bytes to modules that are valid and strange. Judges nothing.
"""

from __future__ import annotations

import random
import subprocess
from functools import cache

from tests.fuzz.mutation import mutate
from tests.guests import build

GUESTS = (
    *("echo", "remember", "status", "burn", "host-calls", "host-string", "host-bytes", "world-whole", "body-size"),
    *("wasi-poll", "wasi-stdout", "wasi-random", "wasi-clock", "loop", "grow", "recurse", "table-grow", "trap-table"),
    *("extra-export", "wrong-record", "no-handler", "unknown-function", "feature-gc", "feature-threads"),
)
"""Small ones: their compilation takes milliseconds."""
HEAD_BYTES = 8
CORE_MODULE, CORE_INSTANCE, CUSTOM = 1, 2, 0
MUTATION_FUEL = "1000"
SMITH = (
    *("--max-imports", "0", "--max-memories", "1", "--max-memory32-bytes", "16777216", "--max-table-elements", "10000"),
    *("--threads-enabled", "false", "--memory64-enabled", "false", "--gc-enabled", "false", "--max-tags", "0"),
    *("--exceptions-enabled", "false", "--custom-page-sizes-enabled", "false", "--wide-arithmetic-enabled", "false"),
    *("--shared-everything-threads-enabled", "false", "--export-everything", "true", "--tail-call-enabled", "false"),
)
"""Of wasm-tools smith: modules an engine of ours may take, that need nothing from outside."""

Section = tuple[int, bytes]


def make(rng: random.Random) -> tuple[str, bytes]:
    """How it was made, and the bytes."""
    kind = rng.choice(
        ("bytes", "bytes", "bytes", "sections", "sections", "mutate", "mutate", "mutate", "smith", "smith")
    )
    data = _guest(rng.choice(GUESTS))
    match kind:
        case "bytes":
            return kind, mutate(rng, data, most=4)
        case "sections":
            return kind, _with_other_sections(rng, data)
        case "mutate":
            return kind, _with_mutated_module(rng, data)
        case _:
            return kind, _with_strange_module(rng, data)


def split(data: bytes) -> list[Section]:
    """The top-level sections of a component that is well-formed."""
    sections, at = [], HEAD_BYTES
    while at < len(data):
        size, start = _number(data, at + 1)
        sections.append((data[at], data[start : start + size]))
        at = start + size
    return sections


def join(sections: list[Section], *, head: bytes) -> bytes:
    return head + b"".join(bytes((kind,)) + _leb(len(body)) + body for kind, body in sections)


@cache
def _guest(name: str) -> bytes:
    return build.component(name).read_bytes()


def _with_other_sections(rng: random.Random, data: bytes) -> bytes:
    sections, others = split(data), split(_guest(rng.choice(GUESTS)))
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(sections))
        match rng.randrange(5):
            case 0:
                del sections[at]
            case 1:
                sections.insert(rng.randrange(len(sections) + 1), sections[at])
            case 2:
                sections[at] = rng.choice(others)
            case 3:
                sections.insert(at, rng.choice(others))
            case _:
                kind, body = sections[at]
                sections[at] = (kind, mutate(rng, body, most=2))
        if not sections:
            sections = others
    return join(sections, head=data[:HEAD_BYTES])


def _with_mutated_module(rng: random.Random, data: bytes) -> bytes:
    """Valid code of another shape: what wasm-tools makes of a module of the guest, several times over."""
    sections = split(data)
    modules = [at for at, (kind, _) in enumerate(sections) if kind == CORE_MODULE]
    at = rng.choice(modules)
    for _ in range(rng.randint(1, 4)):
        arguments = ("mutate", "--seed", str(rng.getrandbits(63)), "--fuel", MUTATION_FUEL)
        changed = _wasm_tools(*arguments, given=sections[at][1])
        if changed:
            sections[at] = (CORE_MODULE, changed)
    return join(sections, head=data[:HEAD_BYTES])


def _with_strange_module(rng: random.Random, data: bytes) -> bytes:
    """A guest with one more module, of random valid code, instantiated beside its own."""
    module = _wasm_tools("smith", *SMITH, given=rng.randbytes(rng.choice((200, 1000, 4000))))
    sections = split(data)
    number = sum(kind == CORE_MODULE for kind, _ in sections)
    instance = b"\x01\x00" + _leb(number) + b"\x00"
    return join([*sections, (CORE_MODULE, module), (CORE_INSTANCE, instance)], head=data[:HEAD_BYTES])


def _wasm_tools(*arguments: str, given: bytes) -> bytes:
    """What it prints; empty where it finds nothing to do."""
    done = subprocess.run([build.WASM_TOOLS, *arguments], input=given, capture_output=True, check=False, timeout=60)
    return done.stdout if done.returncode == 0 else b""


def _number(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _leb(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*encoded, value))
