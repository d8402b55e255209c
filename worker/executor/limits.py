"""What one invocation may consume, as the numbers of a Store: memory, tables, fuel, epochs.

Owns the arithmetic and the order: everything is set before the guest's first instruction, which may already be its
`start`. How a limit shows when it bites is `traps.py`'s.
"""

from __future__ import annotations

from typing import Final

from schemas.engine import KIB, MIB
from worker.executor import native
from worker.frames import Run

EPOCHS: Final = 2
"""Advances after which a guest is interrupted. The first may be one that was under way as the call before ended."""
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


def limit_store(store: int, memory_mb: int) -> None:
    """Bound what instances of this store may hold. The memory limit is per memory; the counts bound the rest."""
    native.store_limiter(store, memory_mb * MIB, TABLE_ELEMENTS, INSTANCES, TABLES, MEMORIES)


def arm(context: int, run: Run) -> None:
    """Fuel and the epoch's end for one call of a store; the ticker moves the epoch when the deadline has passed."""
    native.set_epoch_deadline(context, EPOCHS)
    error = native.set_fuel(context, run.fuel)
    if error:
        raise RuntimeError(native.take_error(error))
