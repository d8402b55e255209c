"""How wasmtime's last line becomes an outcome: one row per text, and nothing of the text in a message."""

from __future__ import annotations

import pytest

from schemas.errors import ErrorCode
from schemas.guest_http import GuestRequest
from schemas.invocation import OutcomeKind
from worker.executor import limits, traps
from worker.frames import Run

FAILED, LIMIT, PLATFORM = OutcomeKind.GUEST_FAILED, OutcomeKind.LIMIT_EXCEEDED, OutcomeKind.PLATFORM_FAILED

TEXTS = [
    ("wasm trap: interrupt", LIMIT, ErrorCode.DEADLINE_EXCEEDED),
    ("wasm trap: all fuel consumed by WebAssembly", LIMIT, ErrorCode.DEADLINE_EXCEEDED),
    ("wasm trap: call stack exhausted", FAILED, ErrorCode.GUEST_TRAP),
    ("wasm trap: out of bounds memory access", FAILED, ErrorCode.GUEST_TRAP),
    ("wasm trap: integer divide by zero", FAILED, ErrorCode.GUEST_TRAP),
    ("wasm trap: integer overflow", FAILED, ErrorCode.GUEST_TRAP),
    ("wasm trap: invalid conversion to integer", FAILED, ErrorCode.GUEST_TRAP),
    ("wasm trap: uninitialized element", FAILED, ErrorCode.GUEST_TRAP),
    ("wasm trap: undefined element: out of bounds table access", FAILED, ErrorCode.GUEST_TRAP),
    ("wasm trap: wasm `unreachable` instruction executed", FAILED, ErrorCode.GUEST_TRAP),
    ("memory minimum size of 16384 pages exceeds memory limits", LIMIT, ErrorCode.GUEST_MEMORY),
    ("table minimum size of 30000 elements exceeds table limits", LIMIT, ErrorCode.GUEST_MEMORY),
    ("resource limit exceeded: instance count too high at 41", LIMIT, ErrorCode.GUEST_MEMORY),
    ("resource limit exceeded: memory count too high at 5", LIMIT, ErrorCode.GUEST_MEMORY),
    ("resource limit exceeded: table count too high at 11", LIMIT, ErrorCode.GUEST_MEMORY),
    ("store handle limit exceeded", LIMIT, ErrorCode.GUEST_MEMORY),
    ("all fuel allocated for hostcalls has been exhausted", LIMIT, ErrorCode.GUEST_BAD_RESPONSE),
    ("list pointer/length out of bounds of memory", FAILED, ErrorCode.GUEST_BAD_RESPONSE),
    ("string pointer/length out of bounds of memory", FAILED, ErrorCode.GUEST_BAD_RESPONSE),
    ("pointer out of bounds of memory", FAILED, ErrorCode.GUEST_BAD_RESPONSE),
    ("discriminant 7 out of range [0..2)", FAILED, ErrorCode.GUEST_BAD_RESPONSE),
    ("invalid utf-8 sequence of 1 bytes from index 0", FAILED, ErrorCode.GUEST_BAD_RESPONSE),
    ("incomplete utf-8 byte sequence from index 4", FAILED, ErrorCode.GUEST_BAD_RESPONSE),
    ("unknown handle index 0", FAILED, ErrorCode.GUEST_TRAP),
    ("handle index 3 used with the wrong type, expected guest-defined resource", FAILED, ErrorCode.GUEST_TRAP),
    (traps.HOST_FAILED, PLATFORM, ErrorCode.INTERNAL),
    (traps.GUEST_EXITED, FAILED, ErrorCode.GUEST_TRAP),
    (traps.WASI_MISUSED, FAILED, ErrorCode.GUEST_TRAP),
]
RECYCLING = (traps.HOST_FAILED,)


def a_run() -> Run:
    return Run(
        invocation="0",
        content_hash="sha256:0",
        request=GuestRequest(method="GET", url="/"),
        deadline=0.0,
        timeout_ms=1234,
        memory_mb=77,
        fuel=5555,
        max_body_bytes=10,
        grants=frozenset(),
        context={},
        context_v2={},
    )


@pytest.mark.parametrize(("line", "kind", "code"), TEXTS)
def test_the_last_line_decides(line: str, kind: OutcomeKind, code: ErrorCode) -> None:
    """wasmtime gives no code, so its exact last line is the code; what stands before it does not matter."""
    text = f"error while executing at wasm backtrace:\n    0: 0x25f - <unknown>!evil\n\nCaused by:\n    1: {line}\n\n"
    ending = traps.ending_of(text, a_run())

    assert (ending.kind, ending.code) == (kind, code)
    assert ending.recycle is (line in RECYCLING)


def test_a_text_nobody_listed_is_the_guests_and_recycles_the_executor() -> None:
    """An error we cannot name may have left the process in a state we cannot name either."""
    ending = traps.ending_of("something new in wasmtime 51", a_run())

    assert (ending.kind, ending.code, ending.recycle) == (FAILED, ErrorCode.GUEST_TRAP, True)


@pytest.mark.parametrize("text", ["", "\n \n", "wasm trap: interrupt, said the guest", "xwasm trap: interrupt"])
def test_near_misses_match_nothing(text: str) -> None:
    """A guest that gets its own words into the text does not choose its outcome."""
    assert traps.ending_of(text, a_run()).code is ErrorCode.GUEST_TRAP


def test_nothing_of_the_text_reaches_the_message() -> None:
    """Names of guest functions stand in the text and may hold anything."""
    for line, _, _ in TEXTS:
        ending = traps.ending_of(f"0: <secret-name>\n{line}", a_run())
        assert "secret-name" not in ending.message


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("wasm trap: interrupt", "1234 ms"),
        ("wasm trap: all fuel consumed by WebAssembly", "5555"),
        ("memory minimum size of 9 pages exceeds memory limits", "77 MiB"),
        ("table minimum size of 30000 elements exceeds table limits", "20000"),
        ("resource limit exceeded: memory count too high at 5", f"{limits.MEMORIES} memories"),
    ],
)
def test_a_limit_that_bites_names_its_value(line: str, expected: str) -> None:
    """Every limit names itself and its value when it bites."""
    assert expected in traps.ending_of(line, a_run()).message
