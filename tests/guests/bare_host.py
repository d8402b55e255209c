"""A guest on wasmtime and nothing else: no executor, no supervisor, no fleet.

Owns what a toolchain test and the bench's baseline need: instantiate a component with stock bindings, answer its
imports, call `handler` once. It does not imitate our executor: no limits, no grants, the library's own WASI. Imports
that no answer is given for are answered by the refusal their type allows.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

from wasmtime import Config, Engine, Store, WasiConfig
from wasmtime.component import (
    Component,
    ComponentInstanceType,
    EnumType,
    FuncType,
    Linker,
    ListType,
    OptionType,
    Record,
    RecordType,
    ResultType,
    String,
    TupleType,
    ValType,
    Variant,
)

Answer = Callable[..., object]
REFUSALS = ("denied", "not-allowed", "missing")
SMALL_STACK_BYTES = 512 * 1024


@dataclass(frozen=True)
class GuestCall:
    """What the guest is asked: the `http-request` of the world, with the body as bytes or None."""

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


@dataclass(frozen=True)
class GuestAnswer:
    """What it said: the `execute-response` of the world."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


@dataclass
class BareHost:
    """One engine; components are compiled once per path."""

    engine: Engine = field(default_factory=lambda: _engine())
    _components: dict[Path, Component] = field(default_factory=dict)

    def call(
        self,
        path: Path,
        call: GuestCall,
        *,
        answers: Mapping[tuple[str, str], Answer] | None = None,
        fuel: int = 10**10,
    ) -> GuestAnswer:
        """Run `handler` once in a fresh store. `answers` maps (interface, function) to what that import returns.

        Raises wasmtime.WasmtimeError for a trap, an import that does not exist, or spent fuel.
        """
        component = self._component(path)
        store = Store(self.engine)
        store.set_fuel(fuel)
        store.set_wasi(WasiConfig())
        linker = Linker(self.engine)
        linker.add_wasip2()
        if any(name.startswith("wasi:http/") for name in imports_of(component, self.engine)):
            linker.add_wasi_http()
            store.set_wasi_http()
        _bind(linker, component, self.engine, answers or {})
        instance = linker.instantiate(store, component)
        handler = instance.get_func(store, "handler")
        if handler is None:
            raise LookupError(f"{path} exports no handler")
        return _answer(handler(store, _request(call)))

    def imports(self, path: Path) -> tuple[str, ...]:
        """The names a component imports, in its own order."""
        return imports_of(self._component(path), self.engine)

    def _component(self, path: Path) -> Component:
        if path not in self._components:
            self._components[path] = self._compiled(path)
        return self._components[path]

    def _compiled(self, path: Path) -> Component:
        """Kept beside a guest of the cache: a script engine takes ten seconds to compile."""
        kept = path.with_name(f"{path.name}-{metadata.version('wasmtime')}.cwasm")
        if kept.exists():
            return Component.deserialize_file(self.engine, str(kept))
        component = Component.from_file(self.engine, path)
        aside = kept.with_suffix(f".{os.getpid()}")
        aside.write_bytes(component.serialize())
        aside.replace(kept)
        return component


def imports_of(component: Component, engine: Engine) -> tuple[str, ...]:
    return tuple(component.type.imports(engine))


def record(**fields: object) -> Record:
    """A component record; underscores in field names become the hyphens of WIT."""
    value = Record()
    for name, content in fields.items():
        setattr(value, name.replace("_", "-"), content)
    return value


def _engine() -> Engine:
    config = Config()
    config.consume_fuel = True
    config.max_wasm_stack = SMALL_STACK_BYTES
    return Engine(config)


def _bind(linker: Linker, component: Component, engine: Engine, answers: Mapping[tuple[str, str], Answer]) -> None:
    with linker.root() as root:
        for name, kind in component.type.imports(engine).items():
            interface_type = kind.ty
            if not name.startswith("alga:extension/") or not isinstance(interface_type, ComponentInstanceType):
                continue
            interface = name.removeprefix("alga:extension/")
            with root.add_instance(name) as instance:
                for function, item in interface_type.exports(engine).items():
                    if isinstance(item.ty, FuncType):
                        given = answers.get((interface, function))
                        instance.add_func(function, _guarded(given) if given else _refusing(item.ty.result))


def _guarded(answer: Answer) -> Answer:
    return lambda _store, *arguments: answer(*arguments)


def _refusing(kind: ValType | None) -> Answer:
    value = None if kind is None else refusal(kind)
    return lambda _store, *_arguments: value


def refusal(kind: ValType) -> object:
    """The value of this type that says no: a refusing error case where there is one, else empty."""
    match kind:
        case ResultType():
            error = refusal(kind.err) if kind.err is not None else None
            return Variant("err", error) if kind._tagged() else error
        case EnumType():
            names = [str(kind.name(n)) for n in range(kind.names_count)]
            return next((case for case in REFUSALS if case in names), names[-1])
        case RecordType():
            return record(**{name: refusal(inner) for name, inner in kind.fields})
        case OptionType():
            return None
        case ListType():
            return b"" if kind._is_bytes() else []
        case TupleType():
            return tuple(refusal(inner) for inner in kind.elements)
        case String():
            return ""
    classes: set[type] = set()
    kind.add_classes(classes)
    return classes.pop()()


def _request(call: GuestCall) -> Record:
    context = record(request_id="req-1", tenant_id="tenant-1", extension_id="ext-1", install_id="install-1")
    setattr(context, "version-id", "version-1")
    headers = [record(name=name, value=value) for name, value in call.headers]
    http = record(method=call.method, url=call.url, headers=headers, body=call.body)
    return record(context=context, http=http)


def _answer(response: object) -> GuestAnswer:
    fields = vars(response)
    headers = tuple((header.name, header.value) for header in fields["headers"])
    return GuestAnswer(fields["status"], headers, fields["body"])
