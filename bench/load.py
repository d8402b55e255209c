"""A lean HTTP/1.1 load generator: keep-alive connections, one request in flight on each, latencies of every call.

Closed loop: it waits for an answer before it asks again, so it measures service time at a fixed concurrency, not
behaviour under an open stream of arrivals.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Latencies:
    """Milliseconds of each call, sorted, and how long all took together, in seconds."""

    calls: tuple[float, ...]
    seconds: float

    def percentile(self, share: float) -> float:
        return self.calls[min(len(self.calls) - 1, int(len(self.calls) * share))]

    @property
    def per_second(self) -> float:
        return len(self.calls) / self.seconds


@dataclass(frozen=True)
class Target:
    """One request to repeat."""

    url: str
    method: str = "GET"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    status: int = 200

    def bytes(self) -> bytes:
        parts = urlsplit(self.url)
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        lines = [f"{self.method} {path} HTTP/1.1", f"host: {parts.netloc}", *(f"{n}: {v}" for n, v in self.headers)]
        if self.method != "GET":
            lines.append(f"content-length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


async def run(target: Target, *, concurrency: int, calls: int, warmup: int = 0) -> Latencies:
    """`calls` calls over `concurrency` connections. Raises AssertionError for any answer but the expected status."""
    if warmup:
        await run(target, concurrency=concurrency, calls=warmup)
    took: list[float] = []
    remaining = iter(range(calls))
    started = time.perf_counter()
    await asyncio.gather(*(_connection(target, remaining, took) for _ in range(concurrency)))
    return Latencies(tuple(sorted(took)), time.perf_counter() - started)


async def _connection(target: Target, remaining: Iterator[int], took: list[float]) -> None:
    parts = urlsplit(target.url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=8 * 1024 * 1024)
    request = target.bytes()
    try:
        for _ in remaining:
            started = time.perf_counter()
            writer.write(request)
            status, body = await _answer(reader)
            took.append((time.perf_counter() - started) * 1000)
            assert status == target.status, (status, body[:300])
    finally:
        writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head[9:12])
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, await reader.readexactly(length)
