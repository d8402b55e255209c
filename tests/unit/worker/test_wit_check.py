"""A component's types against our WIT: what toolchains build passes, what lies about our names is named."""

from __future__ import annotations

import pytest
from wasmtime import component as wasm

from registry.compile import wit_check
from schemas import capability, wit_text
from schemas.errors import ErrorCode, Unprocessable
from tests.guests import build
from worker.executor import engine

ENGINE = engine.build_engine()
REFERENCE = wit_check.Reference(ENGINE)


def check(guest: str) -> list[str]:
    return REFERENCE.check(wasm.Component(ENGINE, build.component(guest).read_bytes()))


@pytest.mark.parametrize("guest", ["world-whole", "world-original", "world-first", "extra-export", "wasi-clock"])
def test_guests_of_every_age_of_the_world_pass(guest: str) -> None:
    """Any historical subset of the world links, extra exports are tolerated, WASI is allowed."""
    assert check(guest)


def test_the_whole_world_is_what_the_catalogue_answers() -> None:
    """Every interface of the WIT is in the catalogue with the same functions, so nothing imported is unanswered."""
    world = {name: set(functions) for name, functions in wit_check.world().interfaces.items() if name != "types"}
    catalogue = {
        name: {function.name for function in interface.functions} for name, interface in capability.INTERFACES.items()
    }

    assert world == catalogue


@pytest.mark.parametrize(
    ("guest", "named"),
    [
        ("wrong-import", "alga:extension/storage.get"),
        ("wrong-import-nested", "alga:extension/storage.get"),
        ("wrong-handler", "handler"),
        ("wrong-record", "handler"),
        ("no-handler", "handler"),
        ("unknown-interface", "test:guest/teleport"),
        ("unknown-alga-interface", "alga:extension/root-shell"),
        ("unknown-function", "log-secretly"),
    ],
)
def test_whatever_is_not_ours_is_refused_by_name(guest: str, named: str) -> None:
    """wasmtime links by name alone; a signature under our name that is not ours would reach our host functions."""
    with pytest.raises(Unprocessable, match=named) as refused:
        check(guest)

    assert refused.value.code is ErrorCode.BUNDLE_INVALID


@pytest.mark.parametrize(
    ("name", "is_wasi"),
    [
        ("wasi:cli/environment@0.2.0", True),
        ("wasi:cli/environment@0.2.99", True),
        ("wasi:http/types@0.2.3", True),
        ("wasi:cli/environment@0.3.0", False),
        ("wasi:cli/environment", False),
        ("wasi:cli/environment@0.2.x", False),
        ("wasi:cli/environment@0.2.٣", False),
        ("wasi:nn/graph@0.2.0", False),
        ("wasi:http/incoming-handler@0.2.0", False),
        ("xwasi:cli/environment@0.2.0", False),
    ],
)
def test_only_wasi_0_2_interfaces_that_we_answer_are_known(name: str, is_wasi: bool) -> None:
    """A version or interface nobody answers is an unknown import, found at publish and not at the first call."""
    assert wit_check.is_wasi(name) is is_wasi


def test_a_type_without_end_is_refused_and_not_walked() -> None:
    """Types share parts: a few lines can describe a tree of tens of thousands of leaves."""
    doubled = "".join(f"(type $t{n + 1} (tuple $t{n} $t{n}))" for n in range(14))
    text = f"""(component (type $t0 (tuple u8 u8)) {doubled}
      (import "alga:extension/logging" (instance (alias outer 1 $t14 (type $big))
        (export "log-info" (func (param "message" $big))))))"""
    component = wasm.Component(ENGINE, text)

    with pytest.raises(Unprocessable, match="log-info"):
        REFERENCE.check(component)
    function = component.type.imports(ENGINE)["alga:extension/logging"].ty.exports(ENGINE)["log-info"].ty
    with pytest.raises(Unprocessable, match="parts"):
        wit_check.describe_function(function)


def test_what_wasmtime_reads_from_our_text_is_what_we_read_from_our_wit() -> None:
    """Two ways round one world: parsed from the files, and written as text, compiled and described."""
    component = wasm.Component(ENGINE, wit_text.component_text(wit_check.world()))
    described = {
        name: {
            member: wit_check.describe_function(item.ty)
            for member, item in extern.ty.exports(ENGINE).items()
            if isinstance(item.ty, wasm.FuncType)
        }
        for name, extern in component.type.imports(ENGINE).items()
    }

    assert described.pop("exports") == wit_check.world().exports
    assert described == wit_check.world().interfaces
