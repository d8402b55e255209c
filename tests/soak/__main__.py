"""`python -m tests.soak [--scenario http] [--minutes 10]`; exit code 1 when a promise is broken."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Callable, Coroutine

import structlog

from tests.soak import http

Scenario = Callable[[float], Coroutine[None, None, list[str]]]
SCENARIOS: dict[str, Scenario] = {"http": http.run}
"""By name; each takes its minutes and answers what was broken."""


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--scenario", choices=SCENARIOS, default="http")
    parser.add_argument("--minutes", type=float, default=10.0)
    given = parser.parse_args(arguments)
    if given.minutes < 1:
        parser.error(f"--minutes must be at least 1 for the faults to fit in, not {given.minutes}")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    broken = asyncio.run(SCENARIOS[given.scenario](given.minutes))
    for promise in broken:
        print(f"BROKEN {promise}")
    print(f"soak {given.scenario}: {'a promise is broken' if broken else 'all promises held'}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
