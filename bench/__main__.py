"""`make bench`: in one run, the bare call of a guest against the same call through the whole fleet.

Prints a table, and writes the same as JSON to `bench/results/latest.json`. Absolute times say little on a shared
machine; the ratios and differences of one run are what counts.
"""

from __future__ import annotations

import asyncio
import os
import platform
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import orjson

from bench import load
from bench.bare import Bare
from bench.load import Latencies, Target
from deploy.embedded.processes import Options
from schemas.guest_http import GuestRequest
from tests.fleet import Installed, TestFleet, open_fleet
from tests.guests.build import component

RESULTS = Path(__file__).with_name("results")
MIB = 1024 * 1024
PAUSE_SECONDS = 0.004
"""Between bare calls of the second column: no caller of a service finds the caches as warm as a tight loop does."""
UNLIMITED = {"ALGA_PLATFORM_RATE_PER_SECOND": "1000000", "ALGA_PLATFORM_RATE_BURST": "1000000"}
OPTIONS = Options(extra={"gateway": UNLIMITED})


@dataclass(frozen=True)
class Guest:
    """One row: a guest of the tests, how often it is called."""

    label: str
    name: str
    calls: int
    path: str = "/hello"


GUESTS = (
    Guest("small component", "echo", 2000),
    Guest("JavaScript, QuickJS", "ask-qjs", 1500),
    Guest("JavaScript, SpiderMonkey", "ask-spidermonkey", 800),
    Guest("Python", "wasi-python", 600, "/try/clock"),
)


async def main(arguments: list[str]) -> int:
    quick = "--quick" in arguments
    guests = {guest.label: await asyncio.to_thread(component, guest.name) for guest in _progress(GUESTS)}
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="alga-bench-") as scratch, _bare() as bare:
        async with open_fleet(Path(scratch), OPTIONS) as fleet:
            for guest in GUESTS:
                calls = guest.calls // 10 if quick else guest.calls
                rows.append(await _measure(fleet, bare, guest, guests[guest.label], calls))
                print(_line(rows[-1]), flush=True)
            body = await _one_mebibyte(fleet, bare, guests["small component"], 10 if quick else 60)
    _print(rows, body)
    _write({"guests": rows, "one_mebibyte_body": body})
    return 0


async def _measure(fleet: TestFleet, bare: Bare, guest: Guest, path: Path, calls: int) -> dict[str, Any]:
    """Bare and fleet in turn, so that the machine's mood hits both."""
    request = GuestRequest(method="GET", url=guest.path, headers=(("accept", "*/*"),))
    content_hash = await asyncio.to_thread(bare.load, path)
    installed = await _install(fleet, path)
    target = _target(fleet, installed, guest.path)
    cold = (await load.run(target, concurrency=1, calls=1)).calls[0]
    await load.run(target, concurrency=1, calls=20)
    paused: list[float] = []
    for _ in range(min(calls // 4, 200)):
        await asyncio.sleep(PAUSE_SECONDS)
        paused.append(bare.call(content_hash, request))
    bare_calls: list[float] = []
    fleet_calls: list[float] = []
    for _ in range(4):
        bare_calls += [bare.call(content_hash, request) for _ in range(calls // 4)]
        fleet_calls += (await load.run(target, concurrency=1, calls=calls // 4)).calls
    alone, through = _latencies(bare_calls), _latencies(fleet_calls)
    many = await load.run(target, concurrency=16, calls=calls, warmup=64)
    return {
        "guest": guest.label,
        "calls": calls,
        "bare_p50_ms": alone.percentile(0.5),
        "bare_paused_p50_ms": _latencies(paused).percentile(0.5),
        "fleet_p50_ms": through.percentile(0.5),
        "fleet_p99_ms": through.percentile(0.99),
        "added_p50_ms": through.percentile(0.5) - alone.percentile(0.5),
        "bare_per_second_1_core": 1000 * len(bare_calls) / sum(bare_calls),
        "fleet_per_second_16": many.per_second,
        "fleet_p50_ms_16": many.percentile(0.5),
        "fleet_p99_ms_16": many.percentile(0.99),
        "cold_first_call_ms": cold,
    }


async def _one_mebibyte(fleet: TestFleet, bare: Bare, path: Path, calls: int) -> dict[str, Any]:
    """1 MiB in and out of the echo component."""
    body = os.urandom(MIB)
    content_hash = await asyncio.to_thread(bare.load, path)
    request = GuestRequest(method="POST", url="/echo", body=body)
    installed = await _install(fleet, path)
    target = _target(fleet, installed, "/echo", method="POST", body=body)
    await load.run(target, concurrency=1, calls=3)
    alone = _latencies([bare.call(content_hash, request) for _ in range(calls)])
    through = await load.run(target, concurrency=1, calls=calls)
    return {
        "calls": calls,
        "bare_p50_ms": alone.percentile(0.5),
        "fleet_p50_ms": through.percentile(0.5),
        "added_p50_ms": through.percentile(0.5) - alone.percentile(0.5),
    }


async def _install(fleet: TestFleet, path: Path) -> Installed:
    tenant = await fleet.tenant("bench")
    started = time.perf_counter()
    published = await fleet.publish(path)
    print(f"published {path.name} in {time.perf_counter() - started:.1f} s", file=sys.stderr, flush=True)
    return await fleet.install(tenant, published)


def _target(fleet: TestFleet, installed: Installed, path: str, *, method: str = "GET", body: bytes = b"") -> Target:
    headers = (("x-api-key", installed.tenant.key), ("accept", "*/*"))
    return Target(f"{fleet.url}/api/ext/{installed.id}{path}", method=method, headers=headers, body=body)


def _latencies(calls: list[float]) -> Latencies:
    return Latencies(tuple(sorted(calls)), sum(calls) / 1000)


@contextmanager
def _bare() -> Iterator[Bare]:
    bare = Bare()
    try:
        yield bare
    finally:
        bare.close()


def _progress(guests: tuple[Guest, ...]) -> Iterator[Guest]:
    for guest in guests:
        print(f"building {guest.name}", file=sys.stderr, flush=True)
        yield guest


def _line(row: dict[str, Any]) -> str:
    alone = f"{row['guest']:26} bare {row['bare_p50_ms']:6.2f} ms, paused {row['bare_paused_p50_ms']:6.2f}"
    added = f"fleet {row['fleet_p50_ms']:6.2f} ms (+{row['added_p50_ms']:5.2f})  p99 {row['fleet_p99_ms']:6.2f}"
    many = f"16 at a time {row['fleet_per_second_16']:6.0f}/s p99 {row['fleet_p99_ms_16']:7.2f}"
    return f"{alone} {added}  {many}  cold {row['cold_first_call_ms']:7.1f} ms"


def _print(rows: list[dict[str, Any]], body: dict[str, Any]) -> None:
    print("\nthe bare in-process call against the same call through the whole fleet, one run, one machine")
    for row in rows:
        print(_line(row))
    print(
        f"{'1 MiB in and out':26} bare {body['bare_p50_ms']:7.2f} ms  fleet {body['fleet_p50_ms']:7.2f} ms "
        f"(+{body['added_p50_ms']:5.2f})"
    )


def _write(results: dict[str, Any]) -> None:
    RESULTS.mkdir(exist_ok=True)
    packages = ("wasmtime", "nats-py", "aiohttp", "uvloop")
    about = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in packages},
    }
    path = RESULTS / "latest.json"
    path.write_bytes(orjson.dumps({**about, **results}, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    print(f"written to {path}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(sys.argv[1:])))
