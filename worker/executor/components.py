"""Components an executor has loaded, by content_hash, each with its linker and its handler's index.

Owns loading from a descriptor and what is let go when too much is loaded. The bytes were verified by the supervisor
and are sealed; the types are checked here once more.
"""

from __future__ import annotations

import ctypes
import os
from collections import OrderedDict
from typing import Final

from wasmtime import Engine, WasmtimeError
from wasmtime import component as wasm

from registry.compile import wit_check
from registry.compile.wit_check import Reference
from schemas.errors import FleetError
from worker.executor.link import Codecs, Linkage
from worker.executor.running import Scope

MAX_LOADED_BYTES: Final = 512 * 1024 * 1024
MAX_LOADED: Final = 64
"""wasmtime keeps each component's file open."""


class LoadRefused(Exception):
    """The engine refused it, or its types are not ours; the text is for the log."""


class Loaded:
    """One component, ready to be instantiated. Addresses stay valid as long as this object."""

    def __init__(self, component: wasm.Component, linkage: Linkage, size: int) -> None:
        self.linkage, self.size = linkage, size
        self._component = component
        export = component.get_export_index(wit_check.HANDLER)
        if export is None:
            raise LoadRefused("no handler")
        self._export = export
        self.component: int = _address(component.ptr())
        self.handler: int = _address(export.ptr())


class Components:
    """`may_open`: paths may be opened, so that a descriptor is mapped by its name; else its bytes are copied."""

    def __init__(self, engine: Engine, reference: Reference, scope: Scope, codecs: Codecs, *, may_open: bool) -> None:
        self._may_open = may_open
        self._engine, self._reference, self._scope, self._codecs = engine, reference, scope, codecs
        self._loaded: OrderedDict[str, Loaded] = OrderedDict()

    def load(self, content_hash: str, descriptor: int) -> None:
        """Deserialise from a descriptor and link; loading what is loaded changes nothing. Raises LoadRefused."""
        if content_hash in self._loaded:
            return
        try:
            component = self._deserialize(descriptor)
            self._reference.check(component)
            linkage = Linkage(self._engine, component, self._scope, self._codecs)
        except WasmtimeError as error:
            raise LoadRefused(str(error)) from None
        except FleetError as error:
            raise LoadRefused(error.message) from None
        self._loaded[content_hash] = Loaded(component, linkage, os.fstat(descriptor).st_size)

    def _deserialize(self, descriptor: int) -> wasm.Component:
        if self._may_open:
            return wasm.Component.deserialize_file(self._engine, f"/proc/self/fd/{descriptor}")
        size = os.fstat(descriptor).st_size
        return wasm.Component.deserialize(self._engine, os.pread(descriptor, size, 0))

    def get(self, content_hash: str) -> Loaded | None:
        loaded = self._loaded.get(content_hash)
        if loaded is not None:
            self._loaded.move_to_end(content_hash)
        return loaded

    @property
    def are_too_many(self) -> bool:
        """More is loaded than an executor should keep. The supervisor counts on what it loaded, so nothing is
        dropped; the executor is recycled."""
        return len(self._loaded) > MAX_LOADED or sum(one.size for one in self._loaded.values()) > MAX_LOADED_BYTES


def _address(pointer: object) -> int:
    return ctypes.cast(pointer, ctypes.c_void_p).value or 0  # type: ignore[arg-type]
