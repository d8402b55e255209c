"""Component values to and from host values: one compiled codec per function type.

Owns the two directions of a call and who frees what. wasmtime copies the arguments of a call before it runs, so they
are lowered into memory of ours and borrowed; a result that wasmtime will free is made by one deep clone of the
borrowed value. Sizes are checked before anything is converted (`Crossing.left`).

Host values are those of `schemas/capability.py`; a variant is `(case, payload)`, flags are a set of names, a handle is
a `Resource` going in and its rep coming out.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wasmtime import _ffi as ffi

from schemas import wit_types
from schemas.capability import Err
from worker.executor import native, plans
from worker.executor.crossing import Crossing, TooLarge, Unfit
from worker.executor.native import bytes_at
from worker.executor.plans import FIELD_BYTES, PAYLOAD_OFFSET, VALUE_BYTES, Lift, Lower


@dataclass(frozen=True, slots=True)
class Codec:
    """One function's conversions. `results_are_flat`: the result holds no memory that wasmtime would free."""

    type: wit_types.FunctionType
    _lower_parameters: tuple[Lower, ...]
    _lift_parameters: tuple[Lift, ...]
    _lower_result: Lower | None
    _lift_result: Lift | None
    results_are_flat: bool

    def lower_parameters(self, values: Sequence[Any], crossing: Crossing) -> int:
        """Address of the argument array, valid as long as the crossing. Raises Unfit."""
        if len(values) != len(self._lower_parameters):
            raise Unfit(f"{len(values)} arguments for {len(self._lower_parameters)} parameters")
        with _Conversion():
            cells = [lower(value, crossing) for lower, value in zip(self._lower_parameters, values, strict=True)]
        return crossing.adopt(bytearray(b"".join(cells)))

    def lift_result(self, address: int, crossing: Crossing) -> Any:
        """The host value at `address`. Raises Unfit, TooLarge."""
        if self._lift_result is None:
            return None
        with _Conversion():
            return self._lift_result(bytes_at(address, VALUE_BYTES), 0, crossing)

    def lift_parameters(self, address: int, count: int, crossing: Crossing) -> list[Any]:
        """The host values of an argument array. Raises Unfit, TooLarge."""
        if count != len(self._lift_parameters):
            raise Unfit(f"{count} arguments for {len(self._lift_parameters)} parameters")
        raw = bytes_at(address, count * VALUE_BYTES) if count else b""
        with _Conversion():
            return [lift(raw, n * VALUE_BYTES, crossing) for n, lift in enumerate(self._lift_parameters)]

    def lower_result(self, value: Any, address: int, crossing: Crossing) -> None:
        """Write the result where wasmtime will take it from, and free it. Raises Unfit before anything is written."""
        if self._lower_result is None:
            return
        with _Conversion():
            cell = self._lower_result(value, crossing)
        if self.results_are_flat:
            ctypes.memmove(address, cell, VALUE_BYTES)
        else:
            native.value_clone(crossing.adopt(bytearray(cell)), address)


class _Conversion:
    """Whatever a conversion stumbles over is Unfit; TooLarge passes."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if kind is None or issubclass(kind, (Unfit, TooLarge)):
            return
        if issubclass(kind, (TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError, struct.error)):
            raise Unfit(f"a value does not have its type ({kind.__name__})") from None


def compile_codec(function: wit_types.FunctionType) -> Codec:
    """Raises Unfit for a type that the fleet never exchanges with a guest."""
    parameters = [plans.plan(type_) for type_ in function.parameters]
    result = None if function.result is None else plans.plan(function.result)
    return Codec(
        type=function,
        _lower_parameters=tuple(lower for lower, _ in parameters),
        _lift_parameters=tuple(lift for _, lift in parameters),
        _lower_result=None if result is None else result[0],
        _lift_result=None if result is None else result[1],
        results_are_flat=isinstance(function.result, wit_types.Primitive) and function.result.name != "string",
    )


def check_layout() -> None:
    """Refuse a wasmtime whose value layout is not the one this file packs; called once at start."""
    value: Any = ffi.wasmtime_component_val_t
    variant: Any = ffi.wasmtime_component_valvariant_t
    result: Any = ffi.wasmtime_component_valresult_t
    facts = (
        ctypes.sizeof(value) == VALUE_BYTES,
        value.of.offset == PAYLOAD_OFFSET,
        ctypes.sizeof(ffi.wasmtime_component_valrecord_entry_t) == FIELD_BYTES,
        variant.val.offset == 16,
        result.val.offset == 8,
        ffi.WASMTIME_COMPONENT_U8.value == 2,
    )
    if not all(facts):
        raise RuntimeError("wasmtime's component values are not laid out as worker/executor/values.py expects")


def blank(type_: wit_types.Type | None) -> Any:
    """The emptiest value of a type: what a function without a refusal of its own answers when it is refused."""
    match type_:
        case None | wit_types.Option():
            return None
        case wit_types.Primitive(name):
            return {"string": "", "char": "\0", "bool": False, "f32": 0.0, "f64": 0.0}.get(name, 0)
        case wit_types.ListOf(wit_types.Primitive("u8")):
            return b""
        case wit_types.ListOf():
            return []
        case wit_types.Record(fields):
            return {name.replace("-", "_"): blank(field) for name, field in fields}
        case wit_types.TupleOf(elements):
            return [blank(element) for element in elements]
        case wit_types.Enum(names):
            return names[0]
        case wit_types.Result(_, err):
            return Err(blank(err))
    raise Unfit("a type without an empty value")
