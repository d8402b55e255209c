"""`python -m registry.compile.child`: one component, compiled in a process that then ends.

Reads the component from one descriptor, writes the cwasm to another and one JSON line to stdout: what it imports, or
why it is refused. Everything a component can do to its compiler it does here, where nothing is worth having: no
environment, no network, no user, bounded memory and time. `jail.py` starts it and believes nothing but its bytes.
"""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import resource
import signal
import sys
from importlib import metadata
from typing import Final

import msgspec
import orjson
from wasmtime import Config, Engine, WasmtimeError, _bindings
from wasmtime import component as wasm

from registry.compile import structure, wit_check
from registry.compile.verdict import ADDRESS_SPACE_BYTES, MAX_CWASM_BYTES, Verdict
from schemas import engine as engine_settings
from schemas.errors import FleetError

NICENESS: Final = 10
NOBODY: Final = 65_534
MAX_MESSAGE_CHARACTERS: Final = 300
_CLONE_NEWUSER, _CLONE_NEWIPC, _CLONE_NEWNET = 0x10000000, 0x08000000, 0x40000000
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38


def main(*, source: int, target: int, cpu_seconds: int, memory_mb: int, parent: int) -> None:
    """Compile what `source` holds into `target`; both are open descriptors."""
    _confine(cpu_seconds, parent)
    wit_check.world()
    fingerprint = engine_settings.fingerprint(metadata.version("wasmtime"))
    _leave_identity()
    try:
        imports = _compile(_component(source), target, memory_mb)
        verdict = Verdict(imports=tuple(imports), fingerprint=fingerprint)
    except FleetError as error:
        verdict = Verdict(error=error.message)
    except MemoryError:
        verdict = Verdict(error=f"the component needs more than {ADDRESS_SPACE_BYTES} bytes to compile")
    os.write(1, orjson.dumps(msgspec.to_builtins(verdict)) + b"\n")


def _component(source: int) -> bytes:
    size = os.fstat(source).st_size
    if not size:
        raise structure.refused("the component is empty")
    with mmap.mmap(source, size, prot=mmap.PROT_READ) as mapped:
        return mapped[:]


def _compile(data: bytes, target: int, memory_mb: int) -> list[str]:
    structure.check(data, memory_mb=memory_mb)
    config = Config()
    engine_settings.apply(config, _bindings)
    engine = Engine(config)
    try:
        component = wasm.Component(engine, data)
    except WasmtimeError as error:
        raise structure.refused(f"the component does not compile: {_reason(error)}") from None
    imports = wit_check.Reference(engine).check(component)
    _write(target, component.serialize())
    return imports


def _reason(error: WasmtimeError) -> str:
    """The last line of wasmtime's text, which says what is wrong; names in it are the author's own."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[-1].removeprefix("1: ") if lines else "no reason given"
    return "".join(
        char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text[:MAX_MESSAGE_CHARACTERS]
    )


def _write(target: int, cwasm: bytearray) -> None:
    if len(cwasm) > MAX_CWASM_BYTES:
        raise structure.refused(f"the compiled component is {len(cwasm)} bytes, over the limit of {MAX_CWASM_BYTES}")
    view = memoryview(cwasm)
    while view:
        view = view[os.write(target, view) :]


def _confine(cpu_seconds: int, parent: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the parent is gone")
    os.nice(NICENESS)
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWIPC):
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET | _CLONE_NEWIPC)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for name, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 32),
        (resource.RLIMIT_FSIZE, MAX_CWASM_BYTES),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, ADDRESS_SPACE_BYTES),
    ):
        resource.setrlimit(name, (value, value))


def _leave_identity() -> None:
    """After the last import: the files of this program may not be readable to nobody."""
    with contextlib.suppress(PermissionError):
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


if __name__ == "__main__":
    _source, _target, _seconds, _memory, _parent = map(int, sys.argv[1:])
    main(source=_source, target=_target, cpu_seconds=_seconds, memory_mb=_memory, parent=_parent)
