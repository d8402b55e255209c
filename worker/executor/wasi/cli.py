"""`wasi:cli`: nothing from the process reaches a guest; its stdout and stderr go to the live log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from worker.executor import traps
from worker.executor.crossing import Resource
from worker.executor.running import Running
from worker.executor.wasi import resources


def _stdin(running: Running) -> Resource:
    return resources.new(running, "input-stream", None)


def _stdout(running: Running) -> Resource:
    return resources.new(running, "output-stream", "stdout")


def _stderr(running: Running) -> Resource:
    return resources.new(running, "output-stream", "stderr")


def _exit(_: Running, __: Any) -> None:
    raise traps.GuestEnded(traps.GUEST_EXITED)


FUNCTIONS: Final[Mapping[str, Any]] = {
    "wasi:cli/exit exit": _exit,
    "wasi:cli/exit exit-with-code": _exit,
    "wasi:cli/stdin get-stdin": _stdin,
    "wasi:cli/stdout get-stdout": _stdout,
    "wasi:cli/stderr get-stderr": _stderr,
}
"""What is not here has an empty answer: no environment, no arguments, no terminal."""
