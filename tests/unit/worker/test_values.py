"""Conversion of component values, held against wasmtime itself: what we lower it clones, what it frees we lifted."""

from __future__ import annotations

import ctypes
import os
import resource
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from wasmtime import Store, _bindings
from wasmtime import component as wasm

from registry.compile import wit_check
from schemas import wit_types
from schemas.capability import Err, Ok
from schemas.wit_types import FunctionType, ListOf, Primitive, Type
from worker.executor import engine, native, values
from worker.executor.crossing import Crossing, TooLarge, Unfit

BUDGET = 64 * 1024 * 1024
BYTES = FunctionType((ListOf(Primitive("u8")),), ListOf(Primitive("u8")))
WORLD = wit_check.world()
FUNCTIONS = [
    (f"{interface}.{name}", type_)
    for interface, functions in WORLD.interfaces.items()
    for name, type_ in functions.items()
] + [("handler", WORLD.exports["handler"])]


class Cell:
    """Room for one value, freed by wasmtime."""

    def __init__(self) -> None:
        self.value = _bindings.wasmtime_component_val_t()
        self.address = ctypes.addressof(self.value)

    def free(self) -> None:
        native.value_delete(self.address)


def there_and_back(codec: values.Codec, value: Any) -> Any:
    """Lower, let wasmtime clone it, lift the clone, let wasmtime free it."""
    cell = Cell()
    codec.lower_result(value, cell.address, Crossing(budget=BUDGET))
    try:
        return codec.lift_result(cell.address, Crossing(budget=BUDGET))
    finally:
        cell.free()


def host_values(type_: Type | None) -> st.SearchStrategy[Any]:
    """Any host value of a type."""
    match type_:
        case None:
            return st.none()
        case Primitive("string"):
            return st.text(max_size=20)
        case Primitive("bool"):
            return st.booleans()
        case Primitive("f64" | "f32"):
            return st.floats(width=32, allow_nan=False)
        case Primitive(name):
            bits = int(name[1:])
            return (
                st.integers(0, 2**bits - 1) if name[0] == "u" else st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
            )
        case ListOf(Primitive("u8")):
            return st.binary(max_size=40)
        case ListOf(element):
            return st.lists(host_values(element), max_size=3)
        case wit_types.TupleOf(elements):
            return st.tuples(*map(host_values, elements)).map(list)
        case wit_types.Record(fields):
            return st.fixed_dictionaries({name.replace("-", "_"): host_values(field) for name, field in fields})
        case wit_types.Enum(names):
            return st.sampled_from(names)
        case wit_types.Option(some):
            return st.none() | host_values(some)
        case wit_types.Result(ok, err):
            return host_values(ok).map(Ok) | host_values(err).map(Err)
    raise AssertionError(type_)


@pytest.mark.parametrize(("name", "type_"), FUNCTIONS, ids=[name for name, _ in FUNCTIONS])
@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_result_of_the_world_comes_back_as_it_went(name: str, type_: FunctionType, data: st.DataObject) -> None:
    """For each function of the world, any value of its result survives wasmtime's own clone."""
    value = data.draw(host_values(type_.result))

    assert there_and_back(values.compile_codec(type_), value) == value


@pytest.mark.parametrize("size", [0, 1, 255, 65_536, 2 * 1024 * 1024])
def test_bytes_lowered_in_bulk_are_what_the_stock_bindings_read(size: int) -> None:
    """The bulk recipe and the library's own element by element conversion agree, in both directions."""
    data = os.urandom(size)
    codec, stock, cell = values.compile_codec(BYTES), stock_bytes(), Cell()
    codec.lower_result(data, cell.address, Crossing(budget=BUDGET))

    assert bytes(stock.convert_from_c(cell.value)) == data

    stock.convert_to_c(Store(engine.build_engine()), data, ctypes.pointer(cell.value))
    assert codec.lift_result(cell.address, Crossing(budget=BUDGET)) == data
    cell.free()


def test_a_megabyte_back_and_forth_leaves_no_memory_behind() -> None:
    """60 crossings of 1 MB hold no more at the end than after the first few."""
    codec, data = values.compile_codec(BYTES), os.urandom(1_000_000)
    for _ in range(5):
        there_and_back(codec, data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(60):
        there_and_back(codec, data)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


def test_sizes_are_refused_before_they_are_converted() -> None:
    """A value over the budget of its crossing costs nothing but the look at its size."""
    codec, cell = values.compile_codec(BYTES), Cell()
    codec.lower_result(bytes(1000), cell.address, Crossing(budget=BUDGET))
    try:
        with pytest.raises(TooLarge):
            codec.lift_result(cell.address, Crossing(budget=999))
        with pytest.raises(TooLarge):
            codec.lower_result(bytes(1000), Cell().address, Crossing(budget=999))
    finally:
        cell.free()


@pytest.mark.parametrize(
    ("type_", "value"),
    [
        (Primitive("u8"), 256),
        (Primitive("u8"), -1),
        (Primitive("u32"), True),
        (Primitive("u64"), "1"),
        (Primitive("bool"), 1),
        (Primitive("string"), b"x"),
        (Primitive("string"), "\ud800"),
        (ListOf(Primitive("u8")), "x"),
        (ListOf(Primitive("string")), "x"),
        (ListOf(Primitive("string")), [1]),
        (wit_types.Enum(("a", "b")), "c"),
        (wit_types.Record((("a-b", Primitive("u8")),)), {"a-b": 1}),
        (wit_types.Record((("a-b", Primitive("u8")),)), None),
        (wit_types.TupleOf((Primitive("u8"),)), [1, 2]),
        (wit_types.Result(None, None), "ok"),
        (wit_types.Result(None, None), ["maybe", None]),
        (wit_types.Variant((("a", None),)), ("b", None)),
    ],
)
def test_a_value_of_another_type_is_unfit_and_nothing_is_written(type_: Type, value: Any) -> None:
    """Host services are other people's processes: what they answer is checked before wasmtime sees any of it."""
    codec, cell = values.compile_codec(FunctionType((), type_)), Cell()
    before = ctypes.string_at(cell.address, 32)

    with pytest.raises(Unfit):
        codec.lower_result(value, cell.address, Crossing(budget=BUDGET))
    assert ctypes.string_at(cell.address, 32) == before


def test_a_result_as_the_wire_makes_it_is_a_result() -> None:
    """Frames carry `Ok` and `Err` as lists; both forms lower alike."""
    codec = values.compile_codec(WORLD.interfaces["secrets"]["get"])

    assert there_and_back(codec, ["ok", "v"]) == Ok("v")
    assert there_and_back(codec, ["err", "denied"]) == Err("denied")


def test_absent_fields_of_a_record_are_none_where_they_may_be() -> None:
    """The host application leaves absent optionals out."""
    codec = values.compile_codec(WORLD.interfaces["clients"]["get-client"])
    client = {"client_id": "1", "client_name": "A", "is_inactive": False}

    lifted = there_and_back(codec, Ok(client))
    assert lifted.value["billing_email"] is None
    assert lifted.value["client_name"] == "A"


@pytest.mark.parametrize("kind", [Primitive("u8"), Primitive("string"), ListOf(Primitive("string")), Primitive("bool")])
def test_memory_of_another_kind_is_not_read_as_this_one(kind: Type) -> None:
    """Should a guest's type ever get past the comparison with ours, its values are refused, not misread."""
    written = values.compile_codec(FunctionType((), Primitive("f64")))
    cell = Cell()
    written.lower_result(1.5, cell.address, Crossing(budget=BUDGET))

    with pytest.raises(Unfit):
        values.compile_codec(FunctionType((), kind)).lift_result(cell.address, Crossing(budget=BUDGET))


def stock_bytes() -> Any:
    """wasmtime-py's own type object of list<u8>."""
    text = """(component
      (core module $m (memory (export "m") 1) (func (export "f") (param i32 i32))
        (func (export "r") (param i32 i32 i32 i32) (result i32) unreachable))
      (core instance $i (instantiate $m))
      (func (export "f") (param "x" (list u8))
        (canon lift (core func $i "f") (memory (core memory $i "m")) (realloc (core func $i "r")))))"""
    built = engine.build_engine()
    component = wasm.Component(built, text)
    return component.type.exports(built)["f"].ty.params[0][1]


@pytest.fixture(autouse=True)
def layout() -> None:
    """Every test here stands on the layout that the executor checks at its start."""
    values.check_layout()
