"""What commands say: data on stdout (text or JSON), talk and progress on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click
import orjson

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
