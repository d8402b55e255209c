"""How each kind of type is packed and unpacked: the layout of `wasmtime_component_val_t`, and nothing else.

A plan is a pair of functions made once per type: `lower` gives the 32 bytes of a value and puts what they point to
into the crossing; `lift` reads memory that wasmtime owns and copies out of it, and never frees. Lists of bytes cross
in bulk: 32 bytes of value for each byte, filled and read by strides.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from ctypes import byref, c_void_p
from typing import Any, Final

from wasmtime import _ffi as ffi

from schemas import wit_types
from schemas.capability import Err, Ok
from worker.executor import native
from worker.executor.crossing import Crossing, Resource, Unfit
from worker.executor.native import bytes_at, text_at

VALUE_BYTES: Final = 32
PAYLOAD_OFFSET: Final = 8
FIELD_BYTES: Final = 48

_PAIR = struct.Struct("<B7xQQ8x")
_POINTER = struct.Struct("<B7xQ16x")
_RESULT = struct.Struct("<B7xB7xQ8x")
_VARIANT = struct.Struct("<B7xQQQ")
_NAME = struct.Struct("<QQ")
_U8_CELL = bytes((ffi.WASMTIME_COMPONENT_U8.value,)) + bytes(VALUE_BYTES - 1)

_SCALARS: Final = {
    "bool": (ffi.WASMTIME_COMPONENT_BOOL.value, "?23x", bool),
    "s8": (ffi.WASMTIME_COMPONENT_S8.value, "b23x", int),
    "u8": (ffi.WASMTIME_COMPONENT_U8.value, "B23x", int),
    "s16": (ffi.WASMTIME_COMPONENT_S16.value, "h22x", int),
    "u16": (ffi.WASMTIME_COMPONENT_U16.value, "H22x", int),
    "s32": (ffi.WASMTIME_COMPONENT_S32.value, "i20x", int),
    "u32": (ffi.WASMTIME_COMPONENT_U32.value, "I20x", int),
    "s64": (ffi.WASMTIME_COMPONENT_S64.value, "q16x", int),
    "u64": (ffi.WASMTIME_COMPONENT_U64.value, "Q16x", int),
    "f32": (ffi.WASMTIME_COMPONENT_F32.value, "f20x", float),
    "f64": (ffi.WASMTIME_COMPONENT_F64.value, "d16x", float),
}
_STRING = ffi.WASMTIME_COMPONENT_STRING.value
_CHAR = ffi.WASMTIME_COMPONENT_CHAR.value
_LIST = ffi.WASMTIME_COMPONENT_LIST.value
_RECORD = ffi.WASMTIME_COMPONENT_RECORD.value
_TUPLE = ffi.WASMTIME_COMPONENT_TUPLE.value
_VARIANT_KIND = ffi.WASMTIME_COMPONENT_VARIANT.value
_ENUM = ffi.WASMTIME_COMPONENT_ENUM.value
_OPTION = ffi.WASMTIME_COMPONENT_OPTION.value
_RESULT_KIND = ffi.WASMTIME_COMPONENT_RESULT.value
_FLAGS = ffi.WASMTIME_COMPONENT_FLAGS.value
_RESOURCE = ffi.WASMTIME_COMPONENT_RESOURCE.value

Lower = Callable[[Any, Crossing], bytes]
Lift = Callable[[bytes, int, Crossing], Any]


def plan(type_: wit_types.Type) -> tuple[Lower, Lift]:
    match type_:
        case wit_types.Primitive("string"):
            return _lower_string, _lift_string
        case wit_types.Primitive("char"):
            return _lower_char, _lift_char
        case wit_types.Primitive(name):
            return _scalar(name)
        case wit_types.ListOf(wit_types.Primitive("u8")):
            return _lower_bytes, _lift_bytes
        case wit_types.ListOf(element):
            return _list(element)
        case wit_types.Record(fields):
            return _record(fields)
        case wit_types.TupleOf(elements):
            return _tuple(elements)
        case wit_types.Enum(names):
            return _enum(names)
        case wit_types.Option(some):
            return _option(some)
        case wit_types.Result(ok, err):
            return _result(ok, err)
        case wit_types.Variant(cases):
            return _variant(cases)
        case wit_types.Flags(names):
            return _flags(names)
        case wit_types.Handle():
            return _lower_handle, _lift_handle
    raise Unfit(f"type {type(type_).__name__} is never exchanged with a guest")


def _scalar(name: str) -> tuple[Lower, Lift]:
    kind, layout, python = _SCALARS[name]
    cell = struct.Struct(f"<B7x{layout}")
    accepted = (int, float) if python is float else python

    def lower(value: Any, _: Crossing) -> bytes:
        if not isinstance(value, accepted) or (python is not bool and isinstance(value, bool)):
            raise Unfit(f"not a {name}")
        return cell.pack(kind, value)

    def lift(raw: bytes, at: int, _: Crossing) -> Any:
        found, value = cell.unpack_from(raw, at)
        if found != kind:
            raise Unfit(f"not a {name}")
        return value

    return lower, lift


_CHAR_CELL = struct.Struct("<B7xI20x")


def _lower_char(value: Any, _: Crossing) -> bytes:
    return _CHAR_CELL.pack(_CHAR, ord(value))


def _lift_char(raw: bytes, at: int, _: Crossing) -> str:
    kind, value = _CHAR_CELL.unpack_from(raw, at)
    if kind != _CHAR:
        raise Unfit("not a char")
    return chr(value)


def _lower_string(value: Any, crossing: Crossing) -> bytes:
    data = str.encode(value)
    crossing.spend(len(data))
    return _PAIR.pack(_STRING, len(data), crossing.put(data))


def _lift_string(raw: bytes, at: int, crossing: Crossing) -> str:
    kind, size, data = _PAIR.unpack_from(raw, at)
    if kind != _STRING:
        raise Unfit("not a string")
    crossing.spend(size)
    return text_at(data, size, None) if size else ""


def _lower_bytes(value: Any, crossing: Crossing) -> bytes:
    if not isinstance(value, (bytes, bytearray)):
        raise Unfit("not a list<u8>")
    crossing.spend(len(value))
    cells = bytearray(_U8_CELL * len(value))
    cells[PAYLOAD_OFFSET::VALUE_BYTES] = value
    return _PAIR.pack(_LIST, len(value), crossing.adopt(cells))


def _lift_bytes(raw: bytes, at: int, crossing: Crossing) -> bytes:
    kind, size, data = _PAIR.unpack_from(raw, at)
    if kind != _LIST:
        raise Unfit("not a list<u8>")
    crossing.spend(size)
    if not size:
        return b""
    cells = bytes_at(data, size * VALUE_BYTES)
    if cells[0] != _U8_CELL[0]:
        raise Unfit("not a list<u8>")
    return cells[PAYLOAD_OFFSET::VALUE_BYTES]


def _list(element: wit_types.Type) -> tuple[Lower, Lift]:
    lower_element, lift_element = plan(element)

    def lower(value: Any, crossing: Crossing) -> bytes:
        if not isinstance(value, (list, tuple)):
            raise Unfit("not a list")
        crossing.spend(len(value) * VALUE_BYTES)
        cells = b"".join([lower_element(item, crossing) for item in value])
        return _PAIR.pack(_LIST, len(value), crossing.put(cells))

    def lift(raw: bytes, at: int, crossing: Crossing) -> list[Any]:
        kind, size, data = _PAIR.unpack_from(raw, at)
        if kind != _LIST:
            raise Unfit("not a list")
        crossing.spend(size * VALUE_BYTES)
        cells = bytes_at(data, size * VALUE_BYTES) if size else b""
        return [lift_element(cells, start, crossing) for start in range(0, size * VALUE_BYTES, VALUE_BYTES)]

    return lower, lift


def _tuple(elements: tuple[wit_types.Type, ...]) -> tuple[Lower, Lift]:
    plans = [plan(element) for element in elements]
    count = len(plans)

    def lower(value: Any, crossing: Crossing) -> bytes:
        if not isinstance(value, (list, tuple)) or len(value) != count:
            raise Unfit(f"not a tuple of {count}")
        cells = b"".join([plan[0](item, crossing) for plan, item in zip(plans, value, strict=True)])
        return _PAIR.pack(_TUPLE, count, crossing.put(cells))

    def lift(raw: bytes, at: int, crossing: Crossing) -> list[Any]:
        kind, size, data = _PAIR.unpack_from(raw, at)
        if kind != _TUPLE or size != count:
            raise Unfit(f"not a tuple of {count}")
        cells = bytes_at(data, count * VALUE_BYTES)
        return [plan[1](cells, n * VALUE_BYTES, crossing) for n, plan in enumerate(plans)]

    return lower, lift


class _Names:
    """Names in memory that outlives every crossing, as the pairs of size and address that values point with."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self._kept = [ctypes.create_string_buffer(name.encode()) for name in names]
        self.pairs = tuple(
            _NAME.pack(len(name.encode()), ctypes.addressof(kept)) for name, kept in zip(names, self._kept, strict=True)
        )


def _record(fields: tuple[tuple[str, wit_types.Type], ...]) -> tuple[Lower, Lift]:
    names = _Names(tuple(name for name, _ in fields))
    plans = [
        (name.replace("-", "_"), isinstance(type_, wit_types.Option), pair, *plan(type_))
        for (name, type_), pair in zip(fields, names.pairs, strict=True)
    ]
    count = len(plans)

    def lower(value: Any, crossing: Crossing, _keep: _Names = names) -> bytes:
        parts: list[bytes] = []
        for key, optional, pair, lower_field, _ in plans:
            parts.append(pair)
            parts.append(lower_field(value.get(key) if optional else value[key], crossing))
        return _PAIR.pack(_RECORD, count, crossing.put(b"".join(parts)))

    def lift(raw: bytes, at: int, crossing: Crossing) -> dict[str, Any]:
        kind, size, data = _PAIR.unpack_from(raw, at)
        if kind != _RECORD or size != count:
            raise Unfit(f"not a record of {count} fields")
        entries = bytes_at(data, count * FIELD_BYTES)
        return {
            plan[0]: plan[4](entries, start, crossing)
            for plan, start in zip(plans, range(16, count * FIELD_BYTES, FIELD_BYTES), strict=True)
        }

    return lower, lift


def _enum(names: tuple[str, ...]) -> tuple[Lower, Lift]:
    kept = _Names(names)
    cells = {name: _PAIR.pack(_ENUM, *_NAME.unpack(pair)) for name, pair in zip(names, kept.pairs, strict=True)}

    def lower(value: Any, _: Crossing, _keep: _Names = kept) -> bytes:
        return cells[value]

    def lift(raw: bytes, at: int, _: Crossing) -> str:
        kind, size, data = _PAIR.unpack_from(raw, at)
        name = text_at(data, size, None)
        if kind != _ENUM or name not in cells:
            raise Unfit("not a case of the enum")
        return name

    return lower, lift


def _option(some: wit_types.Type) -> tuple[Lower, Lift]:
    lower_some, lift_some = plan(some)
    none = _POINTER.pack(_OPTION, 0)

    def lower(value: Any, crossing: Crossing) -> bytes:
        return none if value is None else _POINTER.pack(_OPTION, crossing.put(lower_some(value, crossing)))

    def lift(raw: bytes, at: int, crossing: Crossing) -> Any:
        kind, data = _POINTER.unpack_from(raw, at)
        if kind != _OPTION:
            raise Unfit("not an option")
        return lift_some(bytes_at(data, VALUE_BYTES), 0, crossing) if data else None

    return lower, lift


def _result(ok: wit_types.Type | None, err: wit_types.Type | None) -> tuple[Lower, Lift]:
    cases = (_payload(err), _payload(ok))

    def lower(value: Any, crossing: Crossing) -> bytes:
        is_ok, payload = _taken_apart(value)
        return _RESULT.pack(_RESULT_KIND, is_ok, cases[is_ok][0](payload, crossing))

    def lift(raw: bytes, at: int, crossing: Crossing) -> Ok | Err:
        kind, is_ok, data = _RESULT.unpack_from(raw, at)
        if kind != _RESULT_KIND:
            raise Unfit("not a result")
        payload = cases[is_ok][1](data, crossing)
        return Ok(payload) if is_ok else Err(payload)

    return lower, lift


def _taken_apart(value: Any) -> tuple[bool, Any]:
    """`Ok` and `Err`, or what the wire makes of them: `["ok", value]`, `["err", value]`."""
    if isinstance(value, (Ok, Err)):
        return isinstance(value, Ok), value.value
    if isinstance(value, (list, tuple)) and len(value) == 2 and value[0] in ("ok", "err"):
        return value[0] == "ok", value[1]
    raise Unfit("not a result")


def _payload(
    type_: wit_types.Type | None,
) -> tuple[Callable[[Any, Crossing], int], Callable[[int, Crossing], Any]]:
    """A case's payload behind a pointer; a case without one has a null pointer."""
    if type_ is None:
        return (lambda _value, _crossing: 0), (lambda _address, _crossing: None)
    lower, lift = plan(type_)
    return (
        lambda value, crossing: crossing.put(lower(value, crossing)),
        lambda address, crossing: lift(bytes_at(address, VALUE_BYTES), 0, crossing),
    )


def _variant(cases: tuple[tuple[str, wit_types.Type | None], ...]) -> tuple[Lower, Lift]:
    names = _Names(tuple(name for name, _ in cases))
    plans = {name: (pair, *_payload(type_)) for (name, type_), pair in zip(cases, names.pairs, strict=True)}

    def lower(value: Any, crossing: Crossing, _keep: _Names = names) -> bytes:
        name, payload = value
        pair, lower_payload, _ = plans[name]
        return _VARIANT.pack(_VARIANT_KIND, *_NAME.unpack(pair), lower_payload(payload, crossing))

    def lift(raw: bytes, at: int, crossing: Crossing) -> tuple[str, Any]:
        kind, size, name, data = _VARIANT.unpack_from(raw, at)
        if kind != _VARIANT_KIND:
            raise Unfit("not a variant")
        case = text_at(name, size, None)
        return case, plans[case][2](data, crossing)

    return lower, lift


def _flags(names: tuple[str, ...]) -> tuple[Lower, Lift]:
    kept = _Names(names)
    pairs = dict(zip(names, kept.pairs, strict=True))

    def lower(value: Any, crossing: Crossing, _keep: _Names = kept) -> bytes:
        return _PAIR.pack(_FLAGS, len(value), crossing.put(b"".join([pairs[name] for name in value])))

    def lift(raw: bytes, at: int, crossing: Crossing) -> frozenset[str]:
        kind, size, data = _PAIR.unpack_from(raw, at)
        if kind != _FLAGS or size > len(names):
            raise Unfit("not flags")
        found = bytes_at(data, size * _NAME.size) if size else b""
        return frozenset(text_at(address, length, None) for length, address in _NAME.iter_unpack(found))

    return lower, lift


def _lower_handle(value: Any, crossing: Crossing) -> bytes:
    if not isinstance(value, Resource):
        raise Unfit("not a handle")
    host = native.resource_new(True, value.rep, value.kind)
    handle = c_void_p()
    try:
        error = native.resource_from_host(crossing.context, host, byref(handle))
    finally:
        native.resource_host_delete(host)
    if error:
        native.error_delete(error)
        raise Unfit("a handle the store does not take")
    crossing.own(_Freed(handle.value or 0))
    return _POINTER.pack(_RESOURCE, handle.value)


class _Freed:
    """Frees our own copy of a handle with the crossing; the guest's is a clone."""

    def __init__(self, address: int) -> None:
        self._address = address

    def __del__(self) -> None:
        native.resource_any_delete(self._address)


def _lift_handle(raw: bytes, at: int, crossing: Crossing) -> int:
    kind, address = _POINTER.unpack_from(raw, at)
    if kind != _RESOURCE:
        raise Unfit("not a handle")
    host = c_void_p()
    error = native.resource_to_host(crossing.context, address, byref(host))
    if error:
        native.error_delete(error)
        raise Unfit("not a handle of a host resource")
    try:
        return int(native.resource_rep(host.value))
    finally:
        native.resource_host_delete(host.value)
