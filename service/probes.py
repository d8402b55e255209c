"""/live, /ready and /metrics for the processes that have no other HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from service.metrics import CONTENT_TYPE, Metrics
from service.settings import ProbeSettings

Ready = Callable[[], dict[str, bool]]


@asynccontextmanager
async def serve(settings: ProbeSettings, metrics: Metrics, ready: Ready) -> AsyncIterator[int]:
    """Serve until the context ends; yields the port. `ready` names each condition and whether it holds."""
    app = web.Application()
    app.router.add_get("/live", _live)
    app.router.add_get("/ready", _ready(ready))
    app.router.add_get("/metrics", _metrics(metrics))
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.host, settings.port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def _live(_: web.Request) -> web.Response:
    return web.json_response({"live": True})


def _ready(ready: Ready) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        conditions = ready()
        return web.json_response(conditions, status=200 if all(conditions.values()) else 503)

    return answer


def _metrics(metrics: Metrics) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render(), headers={"content-type": CONTENT_TYPE})

    return answer
