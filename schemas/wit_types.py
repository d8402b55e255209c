"""Component types as plain values, and the WIT of the guest world read into them.

Owns the subset of WIT that `schemas/wit` is written in: enums, records, `use`, functions, one world. Types are
structural, as components are: two types with the same fields, cases and order are equal, whatever they are called.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

PRIMITIVES: Final = frozenset(
    {"bool", "s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64", "f32", "f64", "char", "string"}
)


@dataclass(frozen=True, slots=True)
class Primitive:
    name: str


@dataclass(frozen=True, slots=True)
class ListOf:
    element: Type


@dataclass(frozen=True, slots=True)
class Record:
    fields: tuple[tuple[str, Type], ...]


@dataclass(frozen=True, slots=True)
class TupleOf:
    elements: tuple[Type, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    cases: tuple[tuple[str, Type | None], ...]


@dataclass(frozen=True, slots=True)
class Enum:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Option:
    some: Type


@dataclass(frozen=True, slots=True)
class Result:
    ok: Type | None
    err: Type | None


@dataclass(frozen=True, slots=True)
class Flags:
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Handle:
    """A resource, owned or borrowed; which resource it is does not show in a component's structure."""

    owned: bool


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A type the fleet never exchanges with a guest: futures, streams, maps, error contexts."""

    kind: str


Type = Primitive | ListOf | Record | TupleOf | Variant | Enum | Option | Result | Flags | Handle | Unsupported


@dataclass(frozen=True, slots=True)
class FunctionType:
    """Parameter types in order (their names are not ABI) and the result, if there is one."""

    parameters: tuple[Type, ...]
    result: Type | None


@dataclass(frozen=True, slots=True)
class World:
    """What a guest may import, by interface and function, and what it exports."""

    interfaces: dict[str, dict[str, FunctionType]]
    exports: dict[str, FunctionType]


_TOKEN = re.compile(r"//[^\n]*|\s+|(->|[A-Za-z][A-Za-z0-9-]*|[{}()<>.,;:=_@/]|[0-9.]+)")


class WitError(ValueError):
    """The text is not in the subset of WIT that this parser reads; a mistake in `schemas/wit`, never a guest's."""


def parse_world(texts: Iterable[str]) -> World:
    """The world that a set of WIT files describes together; `types` first or not does not matter.

    Raises WitError where a text is outside the subset.
    """
    sources = {name: tokens for text in texts for name, tokens in _sections(_Tokens(text)).items()}
    types = _Scope(_declared(sources.pop("interface types", []), _Scope({})).types)
    interfaces: dict[str, dict[str, FunctionType]] = {"types": {}}
    exports: dict[str, FunctionType] = {}
    for name, tokens in sources.items():
        kind, _, identifier = name.partition(" ")
        scope = _declared(tokens, _Scope(dict(types.types)))
        if kind == "world":
            exports |= scope.functions
        else:
            interfaces[identifier] = scope.functions
    return World(interfaces, exports)


class _Scope:
    """Names of types and functions while one interface is read."""

    def __init__(self, types: dict[str, Type]) -> None:
        self.types = types
        self.functions: dict[str, FunctionType] = {}


class _Tokens:
    def __init__(self, text: str | list[str]) -> None:
        self._items = text if isinstance(text, list) else [m[1] for m in _TOKEN.finditer(text) if m[1]]
        self._at = 0

    def __bool__(self) -> bool:
        return self._at < len(self._items)

    def peek(self) -> str:
        return self._items[self._at] if self else ""

    def take(self, expected: str | None = None) -> str:
        if not self:
            raise WitError(f"the text ends where {expected or 'a word'} is due")
        item = self._items[self._at]
        if expected is not None and item != expected:
            raise WitError(f"{item!r} stands where {expected!r} is due")
        self._at += 1
        return item

    def skip(self, item: str) -> bool:
        if self.peek() != item:
            return False
        self._at += 1
        return True

    def until(self, closing: str) -> list[str]:
        """What stands before `closing`, nested braces included; `closing` is consumed."""
        taken: list[str] = []
        depth = 0
        while depth or self.peek() != closing:
            item = self.take()
            depth += {"{": 1, "}": -1}.get(item, 0)
            taken.append(item)
        self.take(closing)
        return taken


def _sections(tokens: _Tokens) -> dict[str, list[str]]:
    """`interface name` or `world name` -> the tokens between its braces."""
    found: dict[str, list[str]] = {}
    while tokens:
        word = tokens.take()
        if word == "package":
            tokens.until(";")
        elif word in ("interface", "world"):
            name = f"{word} {tokens.take()}"
            tokens.take("{")
            found[name] = tokens.until("}")
        else:
            raise WitError(f"{word!r} is neither package, interface nor world")
    return found


def _declared(items: list[str], scope: _Scope) -> _Scope:
    tokens = _Tokens(items)
    while tokens:
        word = tokens.take()
        if word in ("use", "import"):
            tokens.until(";")
        elif word == "enum":
            name = tokens.take()
            scope.types[name] = Enum(tuple(case for case in _braced(tokens) if case != ","))
        elif word == "record":
            name = tokens.take()
            scope.types[name] = _record(_Tokens(_braced(tokens)), scope)
        else:
            name = tokens.take() if word == "export" else word
            tokens.take(":")
            scope.functions[name] = _function(tokens, scope)
    return scope


def _braced(tokens: _Tokens) -> list[str]:
    tokens.take("{")
    return tokens.until("}")


def _record(tokens: _Tokens, scope: _Scope) -> Record:
    fields: list[tuple[str, Type]] = []
    while tokens:
        name = tokens.take()
        tokens.take(":")
        fields.append((name, _type(tokens, scope)))
        tokens.skip(",")
    return Record(tuple(fields))


def _function(tokens: _Tokens, scope: _Scope) -> FunctionType:
    tokens.take("func")
    tokens.take("(")
    parameters: list[Type] = []
    while not tokens.skip(")"):
        tokens.take()
        tokens.take(":")
        parameters.append(_type(tokens, scope))
        tokens.skip(",")
    result = _type(tokens, scope) if tokens.skip("->") else None
    tokens.take(";")
    return FunctionType(tuple(parameters), result)


def _type(tokens: _Tokens, scope: _Scope) -> Type:
    name = tokens.take()
    if name in PRIMITIVES:
        return Primitive(name)
    if name == "result":
        return _result(tokens, scope)
    if name in ("list", "option", "tuple"):
        inner = _arguments(tokens, scope)
        return TupleOf(inner) if name == "tuple" else ListOf(inner[0]) if name == "list" else Option(inner[0])
    if name not in scope.types:
        raise WitError(f"type {name!r} is not declared before its use")
    return scope.types[name]


def _arguments(tokens: _Tokens, scope: _Scope) -> tuple[Type, ...]:
    tokens.take("<")
    inner: list[Type] = []
    while not tokens.skip(">"):
        inner.append(_type(tokens, scope))
        tokens.skip(",")
    return tuple(inner)


def _result(tokens: _Tokens, scope: _Scope) -> Result:
    if not tokens.skip("<"):
        return Result(None, None)
    ok = None if tokens.skip("_") else _type(tokens, scope)
    err = _type(tokens, scope) if tokens.skip(",") else None
    tokens.take(">")
    return Result(ok, err)
