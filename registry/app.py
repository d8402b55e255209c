"""The registry process put together: what it is made of, in the order it is built, and closed in the opposite one.

Refuses to start with a key that is missing or unreadable, a database role that may do more than it should, or without
access across tenants: one line says which setting.
"""

from __future__ import annotations

import asyncio
import secrets as random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry import certificates, housekeeping, kek
from registry.archive import Caps
from registry.building import Builder
from registry.bundle_store import BundleStore, open_store
from registry.bundles import Bundles
from registry.certificates import Roots
from registry.compile.jail import Jail
from registry.database import Database, open_database
from registry.host import secrets as host_secrets
from registry.host import storage as host_storage
from registry.host import storage_v2 as host_storage_v2
from registry.housekeeping import Job
from registry.idempotency import Idempotency
from registry.install_changes import Announcer
from registry.kek import KeyRing
from registry.ledger import REAP_ROWS, Ledger
from registry.publish_requests import PublishRequests
from registry.publishers import Publishers
from registry.publishing import Publishing
from registry.quotas import RateLimiter
from registry.rebuilding import AHEAD_AT_ONCE, Rebuilding
from registry.secret_requests import SecretRequests
from registry.secrets import Secrets
from registry.serving import Serving
from registry.settings import RegistrySettings
from registry.storage import Storage
from schemas import engine
from schemas.errors import Invalid
from service import cluster, environ, probes, streams, tickets
from service.clock import Clock, SystemClock
from service.dispatch import WORKER_TTL_SECONDS, WORKERS_BUCKET
from service.lifecycle import Stopping, TaskOwner
from service.messaging import Messaging
from service.metrics import Metrics
from service.tickets import Verifier

log = structlog.get_logger()

EXPIRED_AT_ONCE = 100
"""A piece of so many expired rows or more: there may be others."""


@dataclass(frozen=True)
class Secured:
    """What the process holds of keys, read before anything is opened."""

    build_key: Ed25519PrivateKey
    kek_ring: KeyRing
    verifier: Verifier
    roots: Roots


@dataclass(frozen=True)
class Engines:
    """What the process stands on, opened."""

    database: Database
    store: BundleStore
    messaging: Messaging
    tasks: TaskOwner
    clock: Clock
    metrics: Metrics


async def run(settings: RegistrySettings, stopping: Stopping) -> None:
    """Serve until `stopping` is set; then take nothing more, finish what runs, and close."""
    log.info("the registry process starts", settings=environ.masked(settings))
    async with open_registry(settings, on_failure=stopping.fail) as port:
        log.info("the registry process serves", probe_port=port)
        await stopping.wait()
        log.info("the registry process drains")


@asynccontextmanager
async def open_registry(
    settings: RegistrySettings, *, on_failure: Callable[[], object] | None = None
) -> AsyncIterator[int]:
    """Everything of a registry process, serving when this yields the port of its probes.

    Raises FleetError when it cannot start like this.
    """
    if settings.postgres.system_dsn is None:
        raise Invalid("setting ALGA_POSTGRES_SYSTEM_DSN is required and not set")
    clock, metrics = SystemClock(), Metrics()
    secured = read_keys(settings, clock)
    name = f"registry-{random.token_hex(4)}"
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(TaskOwner(on_failure))
        database = await stack.enter_async_context(open_database(settings.postgres))
        store = await stack.enter_async_context(open_store(settings.store))
        await store.check()
        messaging = await stack.enter_async_context(Messaging.connect(settings.nats.url, name=name, role="registry"))
        await _declare(messaging, settings.nats.shard_count)
        engines = Engines(database, store, messaging, tasks, clock, metrics)
        await _serve(stack, settings, engines, secured, on_failure=on_failure)
        yield await stack.enter_async_context(probes.serve(settings.probe, metrics, _ready(messaging)))


def read_keys(settings: RegistrySettings, clock: Clock) -> Secured:
    """Every key of the process. Raises Invalid naming the setting."""
    build_key = tickets.load_private_key(Path(settings.build.private_key_file), setting="ALGA_BUILD_PRIVATE_KEY_FILE")
    public_keys = tickets.load_public_keys(
        Path(settings.ticket.public_keys_file), setting="ALGA_TICKET_PUBLIC_KEYS_FILE"
    )
    try:
        ring = kek.load(Path(settings.secrets.kek_file))
    except Invalid as error:
        raise Invalid(f"setting ALGA_SECRETS_KEK_FILE: {error.message}", detail=error.detail) from error
    return Secured(build_key, ring, Verifier(public_keys, clock), certificates.read_roots(settings.signing.roots_file))


async def _declare(messaging: Messaging, shard_count: int) -> None:
    """The cluster's shard count, the streams, and the buckets that others use and may not make."""
    await cluster.declare(messaging, shard_count=shard_count)
    await streams.declare(messaging)
    await messaging.bucket(WORKERS_BUCKET, ttl_seconds=WORKER_TTL_SECONDS)


async def _serve(
    stack: AsyncExitStack,
    settings: RegistrySettings,
    engines: Engines,
    secured: Secured,
    *,
    on_failure: Callable[[], object] | None,
) -> None:
    """Everything that answers, each ready when this returns."""
    messaging, database, clock = engines.messaging, engines.database, engines.clock
    secrets = Secrets(database, secured.kek_ring, clock, development=settings.secrets.development)
    storage = Storage(database, RateLimiter(clock))
    services = {
        "secrets": host_secrets.service(secrets),
        "storage": host_storage.service(storage),
        "storage-v2": host_storage_v2.service(storage),
    }
    announcer = await Announcer.open(messaging, engines.tasks, clock)
    ledger = Ledger(database, secured.verifier, clock, engines.metrics)
    background = await stack.enter_async_context(TaskOwner(on_failure))
    background.start(ledger.consume(messaging, asyncio.Event()), name="ledger")
    rebuilding, publish_requests = _publishing(settings, engines, secured)
    housekeeping.start(_jobs(ledger, storage, Idempotency(database, clock), rebuilding), background)
    await stack.enter_async_context(Serving(services, secured.verifier, engines.metrics).serving(messaging))
    await stack.enter_async_context(SecretRequests(secrets, announcer, clock).serving(messaging))
    await stack.enter_async_context(publish_requests.serving(messaging))


def _jobs(ledger: Ledger, storage: Storage, idempotency: Idempotency, rebuilding: Rebuilding) -> tuple[Job, ...]:
    return (
        Job(name="lost invocations", every_seconds=10, run=ledger.close_lost, full=REAP_ROWS),
        Job(name="expired storage records", every_seconds=60, run=storage.reap, full=EXPIRED_AT_ONCE),
        Job(name="expired idempotency keys", every_seconds=60, run=idempotency.reap, full=EXPIRED_AT_ONCE),
        Job(name="code for this engine", every_seconds=300, run=rebuilding.rebuild_missing, full=AHEAD_AT_ONCE),
    )


def _publishing(settings: RegistrySettings, engines: Engines, secured: Secured) -> tuple[Rebuilding, PublishRequests]:
    database, store, clock = engines.database, engines.store, engines.clock
    caps = Caps(packed_bytes=settings.publish.max_packed_bytes)
    builder = Builder(
        Jail(),
        store,
        secured.build_key,
        fingerprint=engine.fingerprint(metadata.version("wasmtime")),
        clock=clock,
        metrics=engines.metrics,
    )
    publishing = Publishing(database, store, builder, roots=secured.roots, caps=caps, clock=clock)
    rebuilding = Rebuilding(Bundles(database), Publishers(database), store, builder, roots=secured.roots, caps=caps)
    return rebuilding, PublishRequests(publishing, rebuilding, engines.metrics)


def _ready(messaging: Messaging) -> probes.Ready:
    return lambda: {"nats": messaging.is_connected}
