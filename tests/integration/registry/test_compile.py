"""The compile jail with real children: what compiles, what is refused by name, what costs more than it may."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from wasmtime import component as wasm

from registry.compile import jail, structure
from registry.compile.jail import Jail
from schemas.errors import ErrorCode, Unprocessable
from tests.guests import build
from worker.executor import engine

MIB = 1024 * 1024


@pytest.fixture
async def compile_jail() -> AsyncIterator[Jail]:
    """One jail per test; afterwards none of its children is left."""
    before = children()
    yield Jail(at_once=2)
    assert children() == before


def guest(name: str) -> bytes:
    return build.component(name).read_bytes()


async def test_what_the_jail_compiles_is_what_an_executor_loads(compile_jail: Jail) -> None:
    """The cwasm, its fingerprint, and the imports as the component spells them."""
    result = await compile_jail.compile(guest("world-whole"))

    assert result.fingerprint == engine.fingerprint()
    assert {"alga:extension/context", "alga:extension/storage-v2"} <= set(result.imports)
    wasm.Component.deserialize(engine.build_engine(), result.cwasm)


@pytest.mark.parametrize("name", ["echo", "world-original", "world-first", "extra-export", "wasi-clock", "ask-qjs"])
async def test_honest_guests_compile(compile_jail: Jail, name: str) -> None:
    """Every age of the world, extra exports, WASI, and a JavaScript engine."""
    assert (await compile_jail.compile(guest(name))).cwasm


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("core-module", "core module"),
        ("no-handler", "handler"),
        ("wrong-handler", "handler"),
        ("wrong-import", "alga:extension/storage.get"),
        ("wrong-import-nested", "alga:extension/storage.get"),
        ("unknown-interface", "test:guest/teleport"),
        ("unknown-alga-interface", "alga:extension/root-shell"),
        ("unknown-function", "log-secretly"),
        ("minimum-memory", "over the limit of 128 MiB"),
        ("feature-gc", "gc"),
        ("feature-exceptions", "exceptions"),
        ("feature-threads", "threads"),
        ("feature-memory64", "memory64"),
        ("feature-tail-calls", "tail calls"),
        ("feature-multi-memory", "multi-memory"),
        ("feature-function-references", "function references"),
        ("feature-relaxed-simd", "relaxed SIMD"),
        ("feature-wide-arithmetic", "wide arithmetic"),
        ("feature-custom-page-sizes", "custom page sizes"),
    ],
)
async def test_what_we_do_not_run_is_refused_by_name(compile_jail: Jail, name: str, named: str) -> None:
    """S5, S11, S12, S15, S18: 422 bundle_invalid, and the author reads what it is about."""
    with pytest.raises(Unprocessable, match=named) as refused:
        await compile_jail.compile(guest(name))

    assert refused.value.code is ErrorCode.BUNDLE_INVALID


async def test_a_larger_memory_is_for_the_caller_to_allow(compile_jail: Jail) -> None:
    """An operator's limit above the default reaches the check."""
    assert (await compile_jail.compile(guest("minimum-memory"), memory_mb=1024)).cwasm


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0as",
        b"(component)",
        b"(module)",
        b"\0asm\x0d\x00\x01\x00" + b"\x01\xff\xff\xff\xff\xff\xff\xff\xff\x7f",
        b"\0asm\x0d\x00\x01\x00" + b"\x01" + b"\x80" * 20,
        b"\0asm\x0e\x00\x01\x00",
    ],
)
async def test_what_is_no_component_is_refused_before_any_compiler_sees_it(compile_jail: Jail, data: bytes) -> None:
    """S18, F28: text would be compiled as text; lengths of exabytes are only numbers."""
    with pytest.raises(Unprocessable):
        await compile_jail.compile(data)


async def test_truncated_and_mutated_components_are_refused_or_compile(compile_jail: Jail) -> None:
    """S18 at a small count: never anything else than a verdict."""
    whole, chance = guest("world-first"), random.Random(18)
    verdicts = 0
    for _ in range(15):
        data = bytearray(whole[: chance.randrange(len(whole))] if chance.random() < 0.3 else whole)
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        with contextlib.suppress(Unprocessable):
            await compile_jail.compile(bytes(data))
        verdicts += 1

    assert verdicts == 15


async def test_half_a_million_functions_are_counted_not_compiled(compile_jail: Jail) -> None:
    """S16: a count in a header is enough to refuse them."""
    began = time.monotonic()
    with pytest.raises(Unprocessable, match="functions"):
        await compile_jail.compile(component_of(core_module(functions=500_000, body=b"\x00\x0b")))

    assert time.monotonic() - began < 10


async def test_a_bomb_ends_within_its_budget(compile_jail: Jail) -> None:
    """S16: 20,000 locals alive over every turn of a loop, 210 kB: over within the budget, nothing left behind."""
    bomb = component_of(core_module(functions=1, body=locals_bomb(20_000)))
    began = time.monotonic()
    with pytest.raises(Unprocessable, match="does not compile within"):
        await compile_jail.compile(bomb)

    assert time.monotonic() - began < jail.budget_seconds(len(bomb)) + 5


async def test_a_caller_that_leaves_takes_its_child_with_it(compile_jail: Jail) -> None:
    """Cancelling ends the compiler; the fixture looks for what is left."""
    task = asyncio.create_task(compile_jail.compile(guest("ask-qjs")))
    while not children():
        await asyncio.sleep(0.01)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(("size", "seconds"), [(0, 10), (1, 14), (MIB, 14), (12 * MIB + 1, 62), (200 * MIB, 90)])
def test_the_budget_grows_with_the_component(size: int, seconds: int) -> None:
    """A flat limit refuses real extensions: 10 s + 4 s per MiB begun, at most 90 s."""
    assert jail.budget_seconds(size) == seconds


def test_nested_components_have_an_end() -> None:
    """A depth limit, so that the walk cannot run out of stack."""
    data = structure.MAGIC + structure.COMPONENT_LAYER
    for _ in range(structure.MAX_DEPTH + 2):
        data = structure.MAGIC + structure.COMPONENT_LAYER + b"\x04" + number(len(data)) + data

    with pytest.raises(Unprocessable, match="nested"):
        structure.check(data, memory_mb=128)


def children() -> set[str]:
    """Process ids of the jail's children."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes()
            parent = (path.parent / "stat").read_text().rpartition(")")[2].split()[1]
        except OSError:
            continue
        if b"registry.compile.child" in command and parent == str(os.getpid()):
            found.add(path.parent.name)
    return found


def number(value: int) -> bytes:
    """Unsigned LEB128."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def section(kind: int, content: bytes) -> bytes:
    return bytes((kind,)) + number(len(content)) + content


def core_module(*, functions: int, body: bytes) -> bytes:
    """A module of equal functions without parameters."""
    types = section(1, b"\x01\x60\x00\x00")
    declared = section(3, number(functions) + b"\x00" * functions)
    code = section(10, number(functions) + (number(len(body)) + body) * functions)
    return structure.MAGIC + structure.CORE_LAYER + types + declared + code


def component_of(module: bytes) -> bytes:
    return structure.MAGIC + structure.COMPONENT_LAYER + section(1, module)


def locals_bomb(count: int) -> bytes:
    """`count` i64 locals, set from one another in a loop with as many ways back to its start."""
    back = b"\x20\x00\xa7\x0d\x00"
    lines = b"".join(b"\x20" + number((n + 1) % count) + b"\x21" + number(n) + back for n in range(count))
    return b"\x01" + number(count) + b"\x7e" + b"\x03\x40" + lines + b"\x0c\x00\x0b\x0b"
