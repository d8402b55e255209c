"""The bare in-process call: the executor's own invoker in this process, no socket, no supervisor, no NATS, no HTTP.

It is the fastest way there is to run a guest here with all its limits, so the fleet is compared with its own best
case, not with slower stock bindings.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from schemas import ids
from schemas.capability import DEFAULTS
from schemas.guest_http import GuestRequest
from schemas.invocation import OutcomeKind
from worker.executor.channel import Channel
from worker.executor.components import Components
from worker.executor.engine import Ticker
from worker.executor.invoke import Invoker
from worker.executor.running import Scope
from worker.executor.zygote import inherited
from worker.frames import Run, ToExecutor

TIMEOUT_MS = 5_000


class Bare:
    """One engine with components compiled in this process; `call` runs one invocation."""

    def __init__(self) -> None:
        made, scope = inherited(walls=()), Scope()
        self._engine = made.engine
        self._components = Components(made.engine, made.reference, scope, made.codecs, may_open=True)
        ticker = Ticker(made.engine)
        ticker.start()
        self._socket, self._other = socket.socketpair()
        self._statm = os.open("/proc/self/statm", os.O_RDONLY)
        channel = Channel(self._socket, ToExecutor)
        self._invoker = Invoker(
            made.engine, self._components, scope, made.handler, ticker=ticker, channel=channel, statm=self._statm
        )

    def load(self, component: Path) -> str:
        """Compile and load; the content hash to call it by."""
        data = component.read_bytes()
        content_hash = ids.content_hash_of(data)
        descriptor = os.memfd_create("cwasm")
        os.write(descriptor, self._precompile(data))
        self._components.load(content_hash, descriptor)
        os.close(descriptor)
        return content_hash

    def call(self, content_hash: str, request: GuestRequest) -> float:
        """Milliseconds of one call in a fresh store. Raises AssertionError where the guest fails."""
        run = Run(
            invocation=ids.uuid7(),
            content_hash=content_hash,
            request=request,
            deadline=time.monotonic() + TIMEOUT_MS / 1000,
            timeout_ms=TIMEOUT_MS,
            memory_mb=128,
            fuel=10**10 * TIMEOUT_MS // 1000,
            max_body_bytes=2 * 1024 * 1024,
            grants=DEFAULTS,
            context=_CONTEXT,
            context_v2=_CONTEXT_V2,
        )
        started = time.perf_counter()
        done = self._invoker.run(run)
        took = (time.perf_counter() - started) * 1000
        assert done.kind is OutcomeKind.COMPLETED, done
        return took

    def close(self) -> None:
        self._socket.close()
        self._other.close()
        os.close(self._statm)

    def _precompile(self, data: bytes) -> bytes:
        from wasmtime import component as wasm

        return bytes(wasm.Component(self._engine, data).serialize())


_CONTEXT: dict[str, object] = {
    "request_id": "bench",
    "tenant_id": "bench",
    "extension_id": "bench",
    "install_id": "bench",
    "version_id": "bench",
}
_CONTEXT_V2: dict[str, object] = {
    **_CONTEXT,
    "invocation_id": "bench",
    "extension_name": "com.example.bench",
    "version": "1.0.0",
    "content_hash": "sha256:" + "0" * 64,
    "trigger": "http",
    "attempt": 1,
    "idempotency_key": None,
    "traceparent": None,
    "capabilities": [],
    "egress_hosts": [],
    "limits": {"timeout_ms": TIMEOUT_MS, "memory_mb": 128, "max_body_bytes": 2 * 1024 * 1024},
    "config": [],
    "event": None,
    "schedule": None,
}
