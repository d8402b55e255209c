"""`python -m tests.fuzz [target ...] [--count N] [--seed S] [--seconds T] [--from N]`; exit code 1 on any failure."""

from __future__ import annotations

import argparse
import asyncio
import logging
import secrets
import sys
from collections.abc import Callable, Coroutine

import structlog

from tests.fuzz import archives, components, http, manifests, tickets, urls
from tests.fuzz.report import Plan, Report

Run = Callable[[Report], Coroutine[None, None, None]]
TARGETS: dict[str, tuple[Run, int]] = {
    "tickets": (tickets.run, 20_000),
    "manifests": (manifests.run, 8_000),
    "archives": (archives.run, 4_000),
    "urls": (urls.run, 6_000),
    "components": (components.run, 400),
    "http": (http.run, 8_000),
}
"""Each with its usual count: about three minutes in all on two cores."""


def main(arguments: list[str]) -> int:
    given = _parse(arguments)
    seed = secrets.randbits(32) if given.seed is None else given.seed
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    failed = False
    for target in given.target or TARGETS:
        run, usual = TARGETS[target]
        plan = Plan(seed, usual if given.count is None else given.count, given.first, given.seconds)
        report = Report(target, plan)
        asyncio.run(run(report))
        print("\n".join(report.lines()), flush=True)
        failed |= bool(report.failures) or not report.inputs
    return int(failed)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help=f"of {', '.join(TARGETS)}; by default all")
    parser.add_argument("--count", type=int, help="inputs of each target, instead of its usual count")
    parser.add_argument("--seed", type=int, help="of an earlier run, to have its inputs again")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="the longest a target may take")
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="N", help="number of the first input")
    given = parser.parse_args(arguments)
    if unknown := set(given.target) - TARGETS.keys():
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if given.count is not None and given.count < 1:
        parser.error(f"--count must be at least 1, not {given.count}")
    return given


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
