"""The linker of one component, and the guard round every import.

Owns the binding of each import under the very name the guest spells (any minor version of WASI 0.2, several mixed),
and the one door through which wasmtime calls Python. Nothing raised may cross it: an exception that is no Exception
kills the process there, and the library keeps others in a global that surfaces in another call. So every host
function ends in a value or in one fixed error.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from typing import Any

from wasmtime import Engine, _bindings
from wasmtime import component as wasm

from registry.compile import wit_check
from schemas.capability import INTERFACES, Function, Interface
from schemas.errors import Unprocessable
from worker.executor import answering, limits, native, traps, values
from worker.executor.crossing import Crossing, TooLarge, Unfit
from worker.executor.running import Running, Scope
from worker.executor.values import Codec
from worker.executor.wasi import resources
from worker.executor.wasi import table as wasi_table

Host = Callable[[int, int, int, int, int], None]
"""(context, type, arguments, how many, result): addresses; the result is written or an exception raised."""

Codecs = Mapping[tuple[str, str], Codec]


def compile_codecs() -> Codecs:
    """One codec for each function of the world; made once, before the first fork."""
    return {
        (interface, name): values.compile_codec(type_)
        for interface, functions in wit_check.world().interfaces.items()
        for name, type_ in functions.items()
    }


class Linkage:
    """A linker with every import of one component bound. Lives as long as the component."""

    def __init__(self, engine: Engine, component: wasm.Component, scope: Scope, codecs: Codecs) -> None:
        self._engine, self._scope, self._codecs = engine, scope, codecs
        self._hosts: list[Host] = []
        self._callback = native.CALLBACK(self._enter)
        self._destructor = native.DESTRUCTOR(self._dropped)
        self._linker = wasm.Linker(engine)
        with self._linker.root() as root:
            for name, extern in component.type.imports(engine).items():
                self._bind(root, name, extern.ty)
        self.address: int = ctypes.cast(self._linker.ptr(), ctypes.c_void_p).value or 0

    def _bind(self, root: wasm.LinkerInstance, name: str, type_: Any) -> None:
        interface = wit_check.interface_of(name)
        with root.add_instance(name) as instance:
            for member, extern in type_.exports(self._engine).items():
                kind = extern.ty
                if isinstance(kind, wasm.FuncType):
                    self._add_function(instance, member, self._host(interface, name, member))
                elif isinstance(kind, wasm.ResourceType):
                    self._add_resource(instance, member)

    def _host(self, interface: str | None, name: str, member: str) -> Host:
        if interface is None:
            return _WasiFunction(self._scope, wasi_table.find(name.partition("@")[0], member))
        return _WorldFunction(self._scope, INTERFACES[interface], member, self._codecs[interface, member])

    def _add_function(self, instance: wasm.LinkerInstance, name: str, host: Host) -> None:
        data = name.encode()
        index = len(self._hosts)
        self._hosts.append(host)
        _check(native.add_function(instance.ptr(), data, len(data), self._callback, index, None))

    def _add_resource(self, instance: wasm.LinkerInstance, name: str) -> None:
        data = name.encode()
        kind = resources.kind_of(name)
        with wasm.ResourceType.host(kind) as type_:
            _check(native.add_resource(instance.ptr(), data, len(data), type_.ptr(), self._destructor, kind, None))

    def _enter(self, index: int, context: int, type_: int, args: int, count: int, results: int, _: int) -> int:
        """The guard. wasmtime calls it for every import of every guest."""
        try:
            self._hosts[index](context, type_, args, count, results)
        except traps.GuestEnded as end:
            return native.error_new(end.line.encode()) or 0
        except BaseException as error:  # noqa: BLE001
            return self._failed(type(error).__name__)
        return 0

    def _dropped(self, kind: int, _: int, rep: int) -> int:
        try:
            if self._scope.running is not None:
                resources.drop(self._scope.running, kind, rep)
        except BaseException as error:  # noqa: BLE001
            return self._failed(type(error).__name__)
        return 0

    def _failed(self, kind: str) -> int:
        """The fixed error a failing host function becomes; only the exception's type is kept, for the log."""
        if self._scope.running is not None:
            self._scope.running.failure = kind
        return native.error_new(traps.HOST_FAILED.encode()) or 0


class _WorldFunction:
    """One function of our world: grant, count, conversion, answer, conversion."""

    def __init__(self, scope: Scope, interface: Interface, name: str, codec: Codec) -> None:
        self._scope, self._interface, self._codec = scope, interface, codec
        self._answer = answering.answering(interface.name)
        function = interface.function(name)
        result = codec.type.result
        self._function = Function(
            name,
            denied=values.blank(result) if function.denied is None else function.denied,
            failed=values.blank(result) if function.failed is None else function.failed,
        )
        self._label = f"{interface.name}.{name}"

    def __call__(self, context: int, _: int, args: int, count: int, results: int) -> None:
        running = self._scope.current()
        value = self._value(running, args, count)
        try:
            self._codec.lower_result(value, results, Crossing(budget=limits.MAX_ANSWER_BYTES, context=context))
        except (Unfit, TooLarge) as error:
            running.warn(self._label, f"the answer could not be given: {error}")
            failed = self._function.failed
            self._codec.lower_result(failed, results, Crossing(budget=limits.MAX_ANSWER_BYTES, context=context))

    def _value(self, running: Running, args: int, count: int) -> Any:
        counted = running.count_host_call()
        if self._interface.capability not in running.run.grants:
            running.warn(self._label, f"{self._interface.capability} is not granted")
            return self._function.denied
        if not counted:
            running.warn(self._label, "the invocation has used up its host calls")
            return self._function.failed
        try:
            arguments = self._codec.lift_parameters(args, count, Crossing(budget=limits.MAX_ARGUMENT_BYTES))
        except (Unfit, TooLarge) as error:
            running.warn(self._label, str(error))
            return self._function.failed
        return self._answer(running, self._interface, self._function, arguments)


class _WasiFunction:
    """One function of WASI as this guest's version of it is typed; the codec is made when it is first called."""

    def __init__(self, scope: Scope, function: wasi_table.Found) -> None:
        self._scope, self._function = scope, function
        self._codec: Codec | None = None

    def __call__(self, context: int, type_: int, args: int, count: int, results: int) -> None:
        running = self._scope.current()
        try:
            if self._codec is None:
                self._codec = values.compile_codec(_type_at(type_))
            crossing = Crossing(budget=limits.MAX_ARGUMENT_BYTES, context=context)
            arguments = self._codec.lift_parameters(args, count, crossing)
            value = self._function(running, self._codec.type, arguments)
            self._codec.lower_result(value, results, crossing)
        except (Unfit, TooLarge, Unprocessable):
            raise traps.GuestEnded(traps.WASI_MISUSED) from None


def _type_at(address: int) -> Any:
    pointer = ctypes.cast(address, ctypes.POINTER(_bindings.wasmtime_component_func_type_t))
    return wit_check.describe_function(wasm.FuncType._from_ptr(pointer, owner=True))


def _check(error: int | None) -> None:
    if error:
        raise RuntimeError(native.take_error(error))
