"""`context` and `context-v2`: answered here, from the Run frame and the clock."""

from __future__ import annotations

import os
import time
from typing import Any, Final

from schemas.capability import Function, Interface
from worker.executor.running import Running

MAX_RANDOM_BYTES: Final = 1024


def answer(running: Running, interface: Interface, function: Function, arguments: list[Any]) -> Any:
    """`random-hex` gives at most `MAX_RANDOM_BYTES` bytes, however many are asked for."""
    match function.name:
        case "get-context":
            return running.run.context if interface.name == "context" else running.run.context_v2
        case "get-config":
            return running.run.config.get(arguments[0])
        case "remaining-ms":
            return max(0, int(running.seconds_left() * 1000))
        case "now-unix-ms":
            return int(time.time() * 1000)
        case "random-hex":
            return os.urandom(min(arguments[0], MAX_RANDOM_BYTES)).hex()
    raise LookupError(f"{interface.name}.{function.name}")
