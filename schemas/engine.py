"""wasmtime's settings as data, and the fingerprint that names what they compile.

Owns every setting that changes native code or what a guest may contain. The compile jail and the executors apply
the same settings to a Config of their own; wasmtime itself is not imported here.
"""

from __future__ import annotations

import hashlib
from types import MappingProxyType
from typing import Any, Final

KIB: Final = 1024
MIB: Final = 1024 * KIB

EPOCH_TICK_SECONDS: Final = 0.010
MAX_WASM_STACK_BYTES: Final = 512 * KIB
MIN_THREAD_STACK_BYTES: Final = 8 * MIB
"""A real stack smaller than this turns a guest's unbounded recursion into a segmentation fault."""
MEMORY_RESERVATION_BYTES: Final = 128 * MIB
"""Address space per linear memory; wasmtime's own 4 GiB leave no room for an address-space limit."""
FINGERPRINT_DIGITS: Final = 16

SETTINGS: Final = MappingProxyType(
    {
        "epoch_interruption": True,
        "consume_fuel": True,
        "wasm_component_model": True,
        "parallel_compilation": False,
        "max_wasm_stack": MAX_WASM_STACK_BYTES,
        "memory_reservation": MEMORY_RESERVATION_BYTES,
        "memory_guard_size": 64 * KIB,
        "memory_reservation_for_growth": 0,
        "wasm_gc": False,
        "gc_support": False,
        "wasm_function_references": False,
        "wasm_exceptions": False,
        "wasm_threads": False,
        "shared_memory": False,
        "wasm_memory64": False,
        "wasm_multi_memory": True,
        "wasm_tail_call": False,
        "wasm_relaxed_simd": False,
        "wasm_stack_switching": False,
        "wasm_wide_arithmetic": False,
        "wasm_custom_page_sizes": False,
        "wasm_component_model_async": False,
        "wasm_component_model_more_async_builtins": False,
        "wasm_component_model_async_stackful": False,
        "concurrency_support": False,
        "wasm_component_model_map": False,
        "wasm_component_model_implements": False,
    }
)
"""Each is applied by `wasmtime_config_<name>_set` of the C interface.

Multi-memory is on for wasmtime itself: the adapters it generates between the parts of a composed component (every
QuickJS build is one) hold two memories, and without it it panics. A guest's own module may not have two; the compile
jail sees to that. Concurrency support is off beside async itself: with it, wasmtime 50.0.1 ends a guest with "deferred
host scope has no call context" when a host function takes two borrowed handles, as every poll of two things does.
"""

TARGET: Final = "x86_64-unknown-linux-gnu"
CPU_FEATURES: Final = ("has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt")
"""x86-64-v2: what the registry compiles must run on every worker, whatever machine the registry stands on."""


def apply(config: Any, bindings: Any) -> None:
    """Set everything on a `wasmtime.Config`; `bindings` is the module of wasmtime's C functions.

    Raises what wasmtime raises for an unknown target, AttributeError for a setting this wasmtime does not have.
    """
    config.target = TARGET
    for feature in CPU_FEATURES:
        config.cranelift_flag_enable(feature)
    for name, value in SETTINGS.items():
        getattr(bindings, f"wasmtime_config_{name}_set")(config.ptr(), value)


def fingerprint(wasmtime_version: str) -> str:
    """Short hex that names a cwasm: it changes with wasmtime and with every setting."""
    settings = [f"{name}={value}" for name, value in sorted(SETTINGS.items())]
    text = "\n".join([wasmtime_version, TARGET, *CPU_FEATURES, *settings])
    return hashlib.sha256(text.encode()).hexdigest()[:FINGERPRINT_DIGITS]
