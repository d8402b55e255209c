"""What one invocation may consume, as the numbers of a Store: memory, tables, fuel, epochs.

Owns the arithmetic and the order: everything is set before the guest's first instruction, which may already be its
`start`. How a limit shows when it bites is `traps.py`'s.
"""

from __future__ import annotations

import math
from typing import Final

from schemas.engine import EPOCH_TICK_SECONDS, KIB, MIB
from worker.executor import native
from worker.frames import Run

MEMORIES: Final = 3
INSTANCES: Final = 30
TABLES: Final = 10
TABLE_ELEMENTS: Final = 20_000
MAX_ARGUMENT_BYTES: Final = 2 * MIB + 256 * KIB
"""All that a guest may pass in one host call: a body, and the names and headers that go with it."""
MAX_ANSWER_BYTES: Final = 8 * MIB
MAX_RESPONSE_OVERHEAD_BYTES: Final = 1 * MIB
"""A response's headers, converted, above its body: more than enough for the 64 KiB that are allowed."""
LOG_LINE_BYTES: Final = 8 * KIB
LOG_BYTES: Final = 256 * KIB


def epoch_ticks(seconds_left: float) -> int:
    """Ticks after which the guest is interrupted: one more than the time needs, as the first may come at once."""
    return max(1, math.ceil(seconds_left / EPOCH_TICK_SECONDS)) + 1


def limit_store(store: int, memory_mb: int) -> None:
    """Bound what instances of this store may hold. The memory limit is per memory; the counts bound the rest."""
    native.store_limiter(store, memory_mb * MIB, TABLE_ELEMENTS, INSTANCES, TABLES, MEMORIES)


def arm(context: int, run: Run, seconds_left: float) -> None:
    """Fuel and clock for one call of a store."""
    native.set_epoch_deadline(context, epoch_ticks(seconds_left))
    error = native.set_fuel(context, run.fuel)
    if error:
        raise RuntimeError(native.take_error(error))
