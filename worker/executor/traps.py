"""How a call ended that did not return: the last line of wasmtime's text -> outcome.

Component errors carry no code, so the text is all there is. It is matched exactly, line by line of a table; nothing
of it reaches a message, because names the guest chose stand in it. Owns the fixed messages.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from schemas.errors import ErrorCode
from schemas.invocation import OutcomeKind
from worker.executor import limits
from worker.frames import Run

HOST_FAILED: Final = "python exception"
"""The one text a host function of ours fails with."""
_TRAP: Final = "wasm trap: "
INTERRUPTED: Final = f"{_TRAP}interrupt"
GUEST_EXITED: Final = "guest exited"
WASI_MISUSED: Final = "guest misused WASI"
TOO_MANY_HANDLES: Final = "store handle limit exceeded"
_GUEST_TRAPS: Final = {
    "call stack exhausted": "its call stack is exhausted",
    "out of bounds memory access": "it read or wrote outside its memory",
    "integer divide by zero": "it divided by zero",
    "integer overflow": "an integer overflowed",
    "invalid conversion to integer": "a number has no integer value",
    "uninitialized element": "it called an empty table element",
    "undefined element: out of bounds table access": "it called outside its table",
    "wasm `unreachable` instruction executed": "it aborted itself",
}
_ENDED: Final = {GUEST_EXITED: "it called exit", WASI_MISUSED: "it called WASI with what WASI does not take"}
_MEMORY = re.compile(r"memory minimum size of [0-9]+ pages exceeds memory limits", re.ASCII)
_TABLE = re.compile(r"table minimum size of [0-9]+ elements exceeds table limits", re.ASCII)
_COUNT = re.compile(r"resource limit exceeded: (instance|memory|table) count too high at [0-9]+", re.ASCII)
_UNREADABLE = re.compile(
    r"(string |list )?pointer(/length)? out of bounds of memory"
    r"|(list |string )?pointer is not aligned"
    r"|discriminant [0-9]+ out of range \[0\.\.[0-9]+\)"
    r"|invalid utf-8 sequence of [0-9]+ bytes from index [0-9]+"
    r"|incomplete utf-8 byte sequence from index [0-9]+"
    r"|converted integer out of range for `char`",
    re.ASCII,
)
"""What the canonical ABI says of values that are none."""
_HANDLE = re.compile(r"unknown handle index [0-9]+|handle index [0-9]+ used with the wrong type.*", re.ASCII)
_COUNT_LIMITS: Final = {
    "instance": f"{limits.INSTANCES} instances",
    "memory": f"{limits.MEMORIES} memories",
    "table": f"{limits.TABLES} tables",
}


class GuestEnded(Exception):
    """A host function ends the guest on purpose; `line` is one of the texts above."""

    def __init__(self, line: str) -> None:
        super().__init__(line)
        self.line = line


@dataclass(frozen=True, slots=True)
class Ending:
    """How a call ended. `code` None: by an answer. `recycle`: the executor must not serve again."""

    kind: OutcomeKind
    code: ErrorCode | None
    message: str
    recycle: bool = False


def ending_of(text: str, run: Run) -> Ending:
    """The ending behind wasmtime's text, by its last non-empty line; anything unknown is guest_trap and recycles."""
    line = last_line(text)
    if line == INTERRUPTED:
        return late(run)
    if line == f"{_TRAP}all fuel consumed by WebAssembly":
        return _limit(ErrorCode.DEADLINE_EXCEEDED, f"the extension used up its fuel limit of {run.fuel}")
    if line == HOST_FAILED:
        return Ending(OutcomeKind.PLATFORM_FAILED, ErrorCode.INTERNAL, "a host function failed", recycle=True)
    if line in _ENDED:
        return _trap(_ENDED[line])
    if line.startswith(_TRAP) and line.removeprefix(_TRAP) in _GUEST_TRAPS:
        return _trap(_GUEST_TRAPS[line.removeprefix(_TRAP)])
    return _resource_ending(line, run) or Ending(
        OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP, "the extension failed", recycle=True
    )


def last_line(text: str) -> str:
    """The line that says what happened. Names the guest chose may stand in one that the table does not know."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("1: ").strip() if lines else ""


def late(run: Run) -> Ending:
    return _limit(ErrorCode.DEADLINE_EXCEEDED, f"the extension did not answer within its limit of {run.timeout_ms} ms")


def bad_response(problem: str) -> Ending:
    """`problem` is ours (`schemas/guest_http.py`), never the guest's text."""
    return Ending(OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_BAD_RESPONSE, f"the extension's response: {problem}")


def too_much_data() -> Ending:
    return _limit(ErrorCode.GUEST_BAD_RESPONSE, "the extension passed more data than one call may carry")


def _resource_ending(line: str, run: Run) -> Ending | None:
    if _MEMORY.fullmatch(line):
        return _limit(ErrorCode.GUEST_MEMORY, f"the extension needs more memory than its limit of {run.memory_mb} MiB")
    if _TABLE.fullmatch(line):
        return _limit(
            ErrorCode.GUEST_MEMORY, f"the extension needs tables of more than {limits.TABLE_ELEMENTS} elements"
        )
    if count := _COUNT.fullmatch(line):
        return _limit(ErrorCode.GUEST_MEMORY, f"the extension needs more than {_COUNT_LIMITS[count[1]]}")
    if line == TOO_MANY_HANDLES:
        return _limit(ErrorCode.GUEST_MEMORY, "the extension holds more handles than a store may have")
    if _HANDLE.fullmatch(line):
        return _trap("it used a handle it does not have")
    if _UNREADABLE.fullmatch(line):
        return Ending(
            OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_BAD_RESPONSE, "the extension passed a value that is none"
        )
    if line.endswith("fuel allocated for hostcalls has been exhausted"):
        return too_much_data()
    return None


def _limit(code: ErrorCode, message: str) -> Ending:
    return Ending(OutcomeKind.LIMIT_EXCEEDED, code, message)


def _trap(what: str) -> Ending:
    return Ending(OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP, f"the extension failed: {what}")
