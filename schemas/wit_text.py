"""The guest world as the text of a component that imports it: what wasmtime can compare other components with.

Owns the way back from the values of `wit_types.py` to text; every interface is one imported instance under its own
name, the world's exports are one more. Nothing runs that text.
"""

from __future__ import annotations

from typing import Final

from schemas.wit_types import (
    Enum,
    FunctionType,
    ListOf,
    Option,
    Primitive,
    Record,
    Result,
    TupleOf,
    Type,
    WitError,
    World,
)

EXPORTS: Final = "exports"
"""The instance that has the world's exports."""


def component_text(world: World) -> str:
    """Component text with one import for each interface that has functions, and `EXPORTS`."""
    interfaces = {**world.interfaces, EXPORTS: world.exports}
    return f"(component {' '.join(_Instance().text(name, functions) for name, functions in interfaces.items())})"


class _Instance:
    """One instance type while it is written. Records and enums get a name, as the component model wants."""

    def __init__(self) -> None:
        self._names: dict[Type, str] = {}
        self._lines: list[str] = []

    def text(self, name: str, functions: dict[str, FunctionType]) -> str:
        for function, type_ in functions.items():
            parameters = [f'(param "p{n}" {self._type(parameter)})' for n, parameter in enumerate(type_.parameters)]
            result = [] if type_.result is None else [f"(result {self._type(type_.result)})"]
            self._lines.append(f'(export "{function}" (func {" ".join(parameters + result)}))')
        return f'(import "{name}" (instance {" ".join(self._lines)}))'

    def _type(self, type_: Type) -> str:
        match type_:
            case Primitive(name):
                return name
            case ListOf(element):
                return f"(list {self._type(element)})"
            case Option(some):
                return f"(option {self._type(some)})"
            case TupleOf(elements):
                return f"(tuple {' '.join(map(self._type, elements))})"
            case Result(ok, err):
                cases = [self._type(ok)] if ok is not None else []
                return f"(result {' '.join(cases + ([f'(error {self._type(err)})'] if err is not None else []))})"
            case Record() | Enum():
                return self._named(type_)
        raise WitError(f"{type(type_).__name__} is not used in the guest world")

    def _named(self, type_: Record | Enum) -> str:
        if type_ not in self._names:
            body = self._body(type_)
            number = len(self._names)
            self._names[type_] = f"$t{number}"
            self._lines.append(f'(type $d{number} {body}) (export "t{number}" (type $t{number} (eq $d{number})))')
        return self._names[type_]

    def _body(self, type_: Record | Enum) -> str:
        if isinstance(type_, Enum):
            names = [f'"{name}"' for name in type_.names]
            return f"(enum {' '.join(names)})"
        fields = [f'(field "{name}" {self._type(field)})' for name, field in type_.fields]
        return f"(record {' '.join(fields)})"
