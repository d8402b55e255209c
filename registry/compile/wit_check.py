"""A component's types equal `schemas/wit`: asked at publish, and again by the executor before it links.

wasmtime checks names when it links host functions written in Python, never types, so a guest may declare any
signature under our name. Owns the comparison and the list of imports that exist; binds and runs nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any, Final

from wasmtime import Engine
from wasmtime import component as wasm

from schemas import wit_text, wit_types
from schemas.errors import ErrorCode, Unprocessable
from schemas.wit_types import FunctionType, Type, World

PACKAGE: Final = "alga:extension/"
HANDLER: Final = "handler"
MAX_TYPE_NODES: Final = 2_000
"""The largest function of WASI 0.2 has under 200."""
WASI: Final = {
    "cli": (
        "environment",
        "exit",
        "run",
        "stderr",
        "stdin",
        "stdout",
        "terminal-input",
        "terminal-output",
        "terminal-stderr",
        "terminal-stdin",
        "terminal-stdout",
    ),
    "clocks": ("monotonic-clock", "timezone", "wall-clock"),
    "filesystem": ("preopens", "types"),
    "http": ("outgoing-handler", "types"),
    "io": ("error", "poll", "streams"),
    "random": ("insecure", "insecure-seed", "random"),
    "sockets": (
        "instance-network",
        "ip-name-lookup",
        "network",
        "tcp",
        "tcp-create-socket",
        "udp",
        "udp-create-socket",
    ),
}
"""Interfaces of WASI 0.2 that a guest may import; every one is answered, none reaches network or files."""

_WASI_NAME = re.compile(r"wasi:([a-z]+)/([a-z-]+)@0\.2\.[0-9]{1,4}", re.ASCII)
_SHOWN_CHARACTERS = 120


@cache
def world() -> World:
    """The guest world as `schemas/wit` has it; read once, before an executor locks itself in."""
    folder = resources.files("schemas") / "wit"
    return wit_types.parse_world(file.read_text() for file in folder.iterdir() if file.name.endswith(".wit"))


class Reference:
    """Our world in the types of one engine, to compare with. Made once per process; wasmtime compares structurally."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        component = wasm.Component(engine, wit_text.component_text(world()))
        self._functions = {
            name: _functions_of(extern.ty, engine) for name, extern in component.type.imports(engine).items()
        }

    def check(self, component: wasm.Component) -> list[str]:
        """The imports of a component, sorted, once every type of it is ours.

        Raises Unprocessable (bundle_invalid) that names the first import or export which is not.
        """
        type_ = component.type
        imports = type_.imports(self._engine)
        for name, item in imports.items():
            self._check_import(name, item.ty)
        handler = type_.exports(self._engine).get(HANDLER)
        if handler is None:
            raise _refused(f"the component does not export {HANDLER!r}")
        if not _same(handler.ty, self._functions[wit_text.EXPORTS][HANDLER]):
            raise _refused(f"export {HANDLER!r} is not func(request: execute-request) -> execute-response")
        return sorted(imports)

    def _check_import(self, name: str, item: Any) -> None:
        interface = interface_of(name)
        if interface is None and not is_wasi(name):
            raise _refused(f"import {_shown(name)} is not part of the world")
        if not isinstance(item, wasm.ComponentInstanceType):
            raise _refused(f"import {_shown(name)} is not an interface")
        if interface is None:
            return
        ours = self._functions[interface]
        for member, type_ in _functions_of(item, self._engine).items():
            if member not in ours:
                raise _refused(f"import {_shown(name)} has no function {_shown(member)}")
            if not _same(type_, ours[member]):
                raise _refused(f"import {_shown(f'{name}.{member}')} has other types than the world")


def is_wasi(name: str) -> bool:
    """Whether an import names an interface of WASI 0.2 that guests may have, in any 0.2 version."""
    match = _WASI_NAME.fullmatch(name)
    return match is not None and match[2] in WASI.get(match[1], ())


def interface_of(name: str) -> str | None:
    """Our interface behind an import's name, or None."""
    interface = name.removeprefix(PACKAGE)
    return interface if name.startswith(PACKAGE) and interface in world().interfaces else None


def _functions_of(instance: Any, engine: Engine) -> dict[str, wasm.FuncType]:
    types = {name: extern.ty for name, extern in instance.exports(engine).items()}
    return {name: type_ for name, type_ in types.items() if isinstance(type_, wasm.FuncType)}


def _same(theirs: Any, ours: wasm.FuncType) -> bool:
    """Whether both are functions of the same types; names of parameters are not compared."""
    if not isinstance(theirs, wasm.FuncType):
        return False
    parameters = [[type_ for _, type_ in function.params] for function in (theirs, ours)]
    return parameters[0] == parameters[1] and theirs.result == ours.result


def _refused(message: str) -> Unprocessable:
    return Unprocessable(message, code=ErrorCode.BUNDLE_INVALID)


def _shown(name: str) -> str:
    return repr(name[:_SHOWN_CHARACTERS])


def describe_function(type_: wasm.FuncType) -> FunctionType:
    """A component function's type as plain values. Raises Unprocessable for one too large to be sensible."""
    return _Description().function(type_)


class _Description:
    """One walk over a type. Types share parts, so a small file can describe a tree without end: nodes are counted."""

    def __init__(self) -> None:
        self._left = MAX_TYPE_NODES

    def function(self, type_: wasm.FuncType) -> FunctionType:
        parameters = tuple(self.value(parameter) for _, parameter in type_.params)
        return FunctionType(parameters, self._maybe(type_.result))

    def value(self, type_: Any) -> Type:
        self._left -= 1
        if self._left < 0:
            raise _refused(f"a type has more than {MAX_TYPE_NODES} parts")
        if type(type_) in _PRIMITIVES:
            return _PRIMITIVES[type(type_)]
        read = _READERS.get(type(type_))
        return wit_types.Unsupported(type(type_).__name__) if read is None else read(self, type_)

    def _maybe(self, type_: Any) -> Type | None:
        return None if type_ is None else self.value(type_)

    def list_(self, type_: wasm.ListType) -> Type:
        return wit_types.ListOf(self.value(type_.element))

    def record(self, type_: wasm.RecordType) -> Type:
        return wit_types.Record(tuple((name, self.value(field)) for name, field in type_.fields))

    def tuple_(self, type_: wasm.TupleType) -> Type:
        return wit_types.TupleOf(tuple(self.value(element) for element in type_.elements))

    def variant(self, type_: wasm.VariantType) -> Type:
        return wit_types.Variant(tuple((name, self._maybe(payload)) for name, payload in type_.cases))

    def enum(self, type_: wasm.EnumType) -> Type:
        return wit_types.Enum(tuple(type_.names))

    def option(self, type_: wasm.OptionType) -> Type:
        return wit_types.Option(self.value(type_.payload))

    def result(self, type_: wasm.ResultType) -> Type:
        return wit_types.Result(self._maybe(type_.ok), self._maybe(type_.err))

    def flags(self, type_: wasm.FlagsType) -> Type:
        return wit_types.Flags(tuple(type_.names))

    def own(self, _: wasm.OwnType) -> Type:
        return wit_types.Handle(owned=True)

    def borrow(self, _: wasm.BorrowType) -> Type:
        return wit_types.Handle(owned=False)


_PRIMITIVES: Final[dict[type, Type]] = {
    wasm.Bool: wit_types.Primitive("bool"),
    wasm.S8: wit_types.Primitive("s8"),
    wasm.U8: wit_types.Primitive("u8"),
    wasm.S16: wit_types.Primitive("s16"),
    wasm.U16: wit_types.Primitive("u16"),
    wasm.S32: wit_types.Primitive("s32"),
    wasm.U32: wit_types.Primitive("u32"),
    wasm.S64: wit_types.Primitive("s64"),
    wasm.U64: wit_types.Primitive("u64"),
    wasm.F32: wit_types.Primitive("f32"),
    wasm.F64: wit_types.Primitive("f64"),
    wasm.Char: wit_types.Primitive("char"),
    wasm.String: wit_types.Primitive("string"),
}
_READERS: Final[dict[type, Callable[[_Description, Any], Type]]] = {
    wasm.ListType: _Description.list_,
    wasm.RecordType: _Description.record,
    wasm.TupleType: _Description.tuple_,
    wasm.VariantType: _Description.variant,
    wasm.EnumType: _Description.enum,
    wasm.OptionType: _Description.option,
    wasm.ResultType: _Description.result,
    wasm.FlagsType: _Description.flags,
    wasm.OwnType: _Description.own,
    wasm.BorrowType: _Description.borrow,
}
