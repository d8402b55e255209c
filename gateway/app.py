"""The gateway put together: what it is made of, in the order it is built, and closed in the opposite one."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web

from gateway import api, connections, keys, middleware
from gateway.authentication import Authenticator
from gateway.connections import GatewayRunner
from gateway.cors import Cors
from gateway.endpoint_cache import EndpointCache
from gateway.identity_tokens import IdentityTokens, KeySet, TokenSettings
from gateway.runner_tokens import RunnerTokens
from gateway.settings import GatewaySettings
from registry import install_changes
from registry.admission import Admission
from registry.bundle_store import BundleStore, open_store
from registry.bundles import Bundles
from registry.certificates import read_roots
from registry.database import Database, open_database
from registry.idempotency import Idempotency
from registry.install_changes import Announcer
from registry.installs import Installs
from registry.invocations import Invocations
from registry.keys import Keys
from registry.publishers import Publishers
from registry.quotas import RateLimiter
from registry.storage import Storage
from registry.tenants import Tenants
from service import cluster, environ, probes, tickets
from service.clock import Clock, SystemClock
from service.dispatch import WORKER_TTL_SECONDS, WORKERS_BUCKET, Dispatcher
from service.lifecycle import Stopping, TaskOwner
from service.messaging import Messaging
from service.metrics import Metrics
from service.records import RecordWriter
from service.tickets import Minter

log = structlog.get_logger()


@dataclass(frozen=True)
class Engines:
    """What the gateway stands on, opened."""

    database: Database
    store: BundleStore
    messaging: Messaging
    tasks: TaskOwner
    clock: Clock
    metrics: Metrics


async def run(settings: GatewaySettings, stopping: Stopping) -> None:
    """Serve until `stopping` is set; then take no new connection, finish what runs, and close."""
    log.info("the gateway starts", settings=environ.masked(settings))
    async with open_gateway(settings, on_failure=stopping.fail) as port:
        log.info("the gateway serves", host=settings.gateway.host, port=port)
        await stopping.wait()
        log.info("the gateway drains")


@asynccontextmanager
async def open_gateway(
    settings: GatewaySettings, *, on_failure: Callable[[], object] | None = None
) -> AsyncIterator[int]:
    """Everything of a gateway, serving when this yields its port. Raises FleetError when it cannot start like this."""
    connections.check_parser()
    settings.gateway.check()
    metrics, clock = Metrics(), SystemClock()
    minter = Minter(
        tickets.load_private_key(Path(settings.ticket.private_key_file), setting="ALGA_TICKET_PRIVATE_KEY_FILE"), clock
    )
    name = f"gateway-{secrets.token_hex(4)}"
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(TaskOwner(on_failure))
        database = await stack.enter_async_context(open_database(settings.postgres))
        store = await stack.enter_async_context(open_store(settings.store))
        messaging = await stack.enter_async_context(Messaging.connect(settings.nats.url, name=name, role="gateway"))
        await cluster.check(messaging, shard_count=settings.nats.shard_count)
        engines = Engines(database, store, messaging, tasks, clock, metrics)
        application = await _application(settings, engines, minter, sender=name)
        admission = application[keys.ADMISSION]
        await stack.enter_async_context(
            install_changes.listen(messaging, admission.changed, clear=admission.clear, on_failure=on_failure)
        )
        await stack.enter_async_context(probes.serve(settings.probe, metrics, _ready(messaging)))
        yield await stack.enter_async_context(_serving(application, settings))


async def _application(settings: GatewaySettings, engines: Engines, minter: Minter, *, sender: str) -> web.Application:
    """The application with everything its handlers find in it, and its routes."""
    messaging, clock, database = engines.messaging, engines.clock, engines.database
    origins = frozenset(settings.gateway.origins)
    app = web.Application(middlewares=[middleware.edge(Cors(origins), engines.metrics)])
    app[keys.SETTINGS], app[keys.CLOCK], app[keys.METRICS] = settings, clock, engines.metrics
    app[keys.DATABASE], app[keys.STORE], app[keys.MESSAGING] = database, engines.store, messaging
    app[keys.KEYS], app[keys.TENANTS] = Keys(database, clock=clock), Tenants(database)
    app[keys.PUBLISHERS], app[keys.INVOCATIONS] = Publishers(database), Invocations(database)
    app[keys.BUNDLES], app[keys.STORAGE] = Bundles(database), Storage(database, RateLimiter(clock))
    app[keys.IDEMPOTENCY] = Idempotency(database, clock)
    app[keys.RUNNER_TOKENS], app[keys.ENDPOINTS] = RunnerTokens(settings.gateway.runner_tokens), EndpointCache()
    app[keys.AUTHENTICATOR] = Authenticator(
        app[keys.KEYS], await _identity_tokens(settings.jwt, clock), origins=origins, clock=clock
    )
    announcer = await Announcer.open(messaging, engines.tasks, clock)
    platform = settings.platform.platform(settings.nats.shard_count, read_roots(settings.signing.roots_file))
    installs = app[keys.INSTALLS] = Installs(database, announcer, clock, platform)
    workers = await (await messaging.bucket(WORKERS_BUCKET, ttl_seconds=WORKER_TTL_SECONDS)).watch(engines.tasks, clock)
    dispatcher = app[keys.DISPATCHER] = Dispatcher(messaging, workers, clock)
    app[keys.ADMISSION] = Admission(
        installs.resolve,
        rates=RateLimiter(clock),
        minter=minter,
        dispatcher=dispatcher,
        records=RecordWriter(messaging, engines.tasks, clock),
        clock=clock,
        sender=sender,
    )
    api.add(app)
    return app


async def _identity_tokens(settings: TokenSettings, clock: Clock) -> IdentityTokens | None:
    """None where the host application's tokens are not configured. A key set that cannot be read stops the start."""
    if not settings.check():
        return None
    known = KeySet(settings, clock)
    await known.refresh()
    return IdentityTokens(settings, known)


@asynccontextmanager
async def _serving(app: web.Application, settings: GatewaySettings) -> AsyncIterator[int]:
    """Connections of callers, from here until the drain is over."""
    edge = settings.gateway
    runner = GatewayRunner(app, drain_seconds=edge.drain_seconds, per_address=edge.connections_per_address)
    await runner.setup()
    try:
        await web.TCPSite(runner, edge.host, edge.port, backlog=1024).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _ready(messaging: Messaging) -> Callable[[], dict[str, bool]]:
    return lambda: {"nats": messaging.is_connected}
