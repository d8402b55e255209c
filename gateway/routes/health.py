"""`/healthz`, `/readyz`, `/live`, `/metrics`: whether this gateway can serve, for hosts, orchestrators, Prometheus.

Owns the answers, which are asked often and by anybody: the dependencies are probed at most once a second.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from aiohttp import web

from gateway import keys
from schemas.errors import FleetError
from service.clock import Clock
from service.metrics import CONTENT_TYPE

PROBE_SECONDS = 2.0
FRESH_SECONDS = 1.0


class Health:
    """The state of the dependencies, as of at most a second ago."""

    def __init__(self, app: web.Application, clock: Clock) -> None:
        self._app, self._clock = app, clock
        self._probing = asyncio.Lock()
        self._until = float("-inf")
        self._known: dict[str, Any] = {}

    async def current(self) -> dict[str, Any]:
        """The body of `/healthz`."""
        async with self._probing:
            if self._clock.monotonic() >= self._until:
                self._known = await self._probe()
                self._until = self._clock.monotonic() + FRESH_SECONDS
            return self._known

    async def _probe(self) -> dict[str, Any]:
        app = self._app
        postgres, store = await asyncio.gather(_holds(app[keys.DATABASE].check()), _holds(app[keys.STORE].check()))
        settings = app[keys.SETTINGS].gateway
        return {
            "cache_writable": await asyncio.to_thread(_is_writable, Path(settings.cache_directory)),
            "bundle_store": "ok" if store else "bundle_store_unreachable",
            "ext_cache_max_bytes": settings.cache_max_bytes,
            "nats": "ok" if app[keys.MESSAGING].is_connected else "unreachable",
            "postgres": "ok" if postgres else "unreachable",
            "workers": len(app[keys.DISPATCHER].live_workers()),
        }


HEALTH = web.AppKey("health", Health)


def add(app: web.Application) -> None:
    app[HEALTH] = Health(app, app[keys.CLOCK])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/live", live)
    app.router.add_get("/metrics", metrics)


async def healthz(request: web.Request) -> web.Response:
    """200, or 503 when a dependency without which nothing can be served is away."""
    state = await request.app[HEALTH].current()
    serves = all(state[name] == "ok" for name in ("bundle_store", "nats", "postgres"))
    return _answer(state, 200 if serves else 503)


async def readyz(request: web.Request) -> web.Response:
    """Whether calls should be sent here. A fleet without workers is no reason to send them elsewhere."""
    state = await request.app[HEALTH].current()
    conditions = {name: state[name] == "ok" for name in ("nats", "postgres")}
    return _answer(conditions, 200 if all(conditions.values()) else 503)


async def live(_: web.Request) -> web.Response:
    return _answer({"live": True}, 200)


async def metrics(request: web.Request) -> web.Response:
    return web.Response(body=request.app[keys.METRICS].render(), headers={"content-type": CONTENT_TYPE})


def _answer(body: dict[str, Any], status: int) -> web.Response:
    return web.json_response(body, status=status, headers={"cache-control": "no-store"})


async def _holds(check: Any) -> bool:
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            await check
    except (FleetError, TimeoutError):
        return False
    return True


def _is_writable(directory: Path) -> bool:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(directory, os.W_OK | os.X_OK)
