"""The C functions of wasmtime that an invocation crosses, with addresses as plain integers.

Owns their prototypes and nothing else. The library's own Python classes stay in use where speed does not matter
(engine, component, linker); on the path of a call they cost more than the guest.
"""

from __future__ import annotations

from collections.abc import Callable
from ctypes import (
    CFUNCTYPE,
    POINTER,
    PYFUNCTYPE,
    Structure,
    byref,
    c_bool,
    c_char_p,
    c_int64,
    c_size_t,
    c_ssize_t,
    c_uint32,
    c_uint64,
    c_void_p,
    py_object,
    pythonapi,
    string_at,
)
from typing import Final

from wasmtime import _ffi as ffi

_LIBRARY = ffi.dll


class Name(Structure):
    """A byte vector of the C interface."""

    _fields_ = (("size", c_size_t), ("data", c_void_p))


class Instance(Structure):
    _fields_ = (("store_id", c_uint64), ("index", c_uint32))


class Function(Structure):
    _fields_ = (("store_id", c_uint64), ("first", c_uint32), ("second", c_uint32), ("third", c_void_p))


CALLBACK: Final = CFUNCTYPE(c_size_t, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t, c_size_t)
"""Host function: (data, context, type, arguments, how many, results, how many) -> error address or 0."""
DESTRUCTOR: Final = CFUNCTYPE(c_size_t, c_size_t, c_size_t, c_uint32)
"""Host resource: (data, context, rep) -> error address or 0."""
FINALIZER: Final = CFUNCTYPE(None, c_void_p)


store_new = CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p)(("wasmtime_store_new", _LIBRARY))
store_context = CFUNCTYPE(c_void_p, c_void_p)(("wasmtime_store_context", _LIBRARY))
store_limiter = CFUNCTYPE(None, c_void_p, c_int64, c_int64, c_int64, c_int64, c_int64)(
    ("wasmtime_store_limiter", _LIBRARY)
)
store_delete = CFUNCTYPE(None, c_void_p)(("wasmtime_store_delete", _LIBRARY))
set_fuel = CFUNCTYPE(c_void_p, c_void_p, c_uint64)(("wasmtime_context_set_fuel", _LIBRARY))
get_fuel = CFUNCTYPE(c_void_p, c_void_p, POINTER(c_uint64))(("wasmtime_context_get_fuel", _LIBRARY))
set_epoch_deadline = CFUNCTYPE(None, c_void_p, c_uint64)(("wasmtime_context_set_epoch_deadline", _LIBRARY))
increment_epoch = CFUNCTYPE(None, c_void_p)(("wasmtime_engine_increment_epoch", _LIBRARY))
instantiate = CFUNCTYPE(c_void_p, c_void_p, c_void_p, c_void_p, POINTER(Instance))(
    ("wasmtime_component_linker_instantiate", _LIBRARY)
)
get_function = CFUNCTYPE(c_bool, POINTER(Instance), c_void_p, c_void_p, POINTER(Function))(
    ("wasmtime_component_instance_get_func", _LIBRARY)
)
call = CFUNCTYPE(c_void_p, POINTER(Function), c_void_p, c_void_p, c_size_t, c_void_p, c_size_t)(
    ("wasmtime_component_func_call", _LIBRARY)
)
value_clone = CFUNCTYPE(None, c_void_p, c_void_p)(("wasmtime_component_val_clone", _LIBRARY))
value_delete = CFUNCTYPE(None, c_void_p)(("wasmtime_component_val_delete", _LIBRARY))
error_new = CFUNCTYPE(c_void_p, c_char_p)(("wasmtime_error_new", _LIBRARY))
error_delete = CFUNCTYPE(None, c_void_p)(("wasmtime_error_delete", _LIBRARY))
_error_message = CFUNCTYPE(None, c_void_p, POINTER(Name))(("wasmtime_error_message", _LIBRARY))
_name_delete = CFUNCTYPE(None, POINTER(Name))(("wasm_byte_vec_delete", _LIBRARY))
resource_to_host = CFUNCTYPE(c_void_p, c_void_p, c_void_p, POINTER(c_void_p))(
    ("wasmtime_component_resource_any_to_host", _LIBRARY)
)
resource_rep = CFUNCTYPE(c_uint32, c_void_p)(("wasmtime_component_resource_host_rep", _LIBRARY))
resource_new = CFUNCTYPE(c_void_p, c_bool, c_uint32, c_uint32)(("wasmtime_component_resource_host_new", _LIBRARY))
resource_from_host = CFUNCTYPE(c_void_p, c_void_p, c_void_p, POINTER(c_void_p))(
    ("wasmtime_component_resource_host_to_any", _LIBRARY)
)
resource_host_delete = CFUNCTYPE(None, c_void_p)(("wasmtime_component_resource_host_delete", _LIBRARY))
resource_any_delete = CFUNCTYPE(None, c_void_p)(("wasmtime_component_resource_any_delete", _LIBRARY))
add_function = CFUNCTYPE(c_void_p, c_void_p, c_char_p, c_size_t, CALLBACK, c_size_t, c_void_p)(
    ("wasmtime_component_linker_instance_add_func", _LIBRARY)
)
add_resource = CFUNCTYPE(c_void_p, c_void_p, c_char_p, c_size_t, c_void_p, DESTRUCTOR, c_size_t, c_void_p)(
    ("wasmtime_component_linker_instance_add_resource", _LIBRARY)
)

bytes_at: Callable[[int, int], bytes] = PYFUNCTYPE(py_object, c_void_p, c_ssize_t)(
    ("PyBytes_FromStringAndSize", pythonapi)
)
"""(address, size) -> bytes."""
text_at: Callable[[int, int, None], str] = PYFUNCTYPE(py_object, c_void_p, c_ssize_t, c_char_p)(
    ("PyUnicode_DecodeUTF8", pythonapi)
)
"""(address, size, None) -> str. Raises UnicodeDecodeError."""

MAX_ERROR_TEXT_BYTES: Final = 4 * 1024
"""Of wasmtime's text, which can repeat names the guest chose, at most so much is looked at: the end of it."""


def take_error(address: int) -> str:
    """The end of an error's text; the error is freed."""
    text = Name()
    _error_message(address, byref(text))
    try:
        skipped = max(0, text.size - MAX_ERROR_TEXT_BYTES)
        return string_at((text.data or 0) + skipped, text.size - skipped).decode("utf-8", "replace")
    finally:
        _name_delete(byref(text))
        error_delete(address)
