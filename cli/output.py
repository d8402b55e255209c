"""What commands say: data on stdout (text or JSON), talk and progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import orjson

from cli.next_steps import NEXT_STEPS
from schemas.errors import Corrupt, DeadlineExceeded, ErrorCode, FleetError, Internal, Unavailable

OURS = (Internal, Unavailable, DeadlineExceeded, Corrupt)
"""What the person at the terminal cannot mend by asking differently: exit code 1."""
json_option = click.option("--json", "as_json", is_flag=True, help="Print data as JSON.")


def say(text: str) -> None:
    """A sentence for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


def emit(data: Any, *, as_json: bool, text: str | None = None) -> None:
    """The command's result: JSON when asked for, else `text` (or one `name: value` line per field)."""
    if as_json:
        sys.stdout.write(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode() + "\n")
    elif text is not None:
        print(text)
    else:
        for name, value in data.items():
            print(f"{name}: {value}")
    sys.stdout.flush()


@contextmanager
def step(what: str) -> Iterator[Callable[[str], None]]:
    """Announce a step that may take over a second, and how long it took; yields a function for remarks."""
    started = time.monotonic()
    say(f"{what} ...")
    yield lambda remark: say(f"  {remark}")
    say(f"{what}: done in {time.monotonic() - started:.1f} s")


def tell(error: FleetError) -> int:
    """Code, message, every problem, request id and next step on stderr; the exit code it deserves."""
    print(f"{error.code}: {error.message}", file=sys.stderr)
    for problem in _problems(error):
        print(f"  {problem}", file=sys.stderr)
    if request_id := error.extra.get("request_id"):
        print(f"  request id: {request_id}", file=sys.stderr)
    if isinstance(error, Unavailable) and error.retry_after_seconds:
        print(f"  try again in {error.retry_after_seconds:.0f} s", file=sys.stderr)
    if error.detail:
        print(f"  {error.detail}", file=sys.stderr)
    if error.code is not ErrorCode.INVALID_REQUEST:
        print(f"  next: {NEXT_STEPS[error.code]}", file=sys.stderr)
    return 1 if isinstance(error, OURS) else 2


def _problems(error: FleetError) -> list[str]:
    """One line for each problem that the message itself does not say."""
    problems = error.extra.get("problems")
    if not isinstance(problems, list):
        return []
    lines = [f"{found['path']}: {found['message']}" for found in problems if isinstance(found, dict)]
    return [line for line in lines if line != error.message]
