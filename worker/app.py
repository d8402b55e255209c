"""The worker put together: what it is made of, in the order it is built, and closed in the opposite one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from registry import bundle_store, signing
from registry.signing import BuildKeys
from schemas import egress as egress_hosts
from schemas.errors import Invalid
from schemas.ids import WorkerId
from service import cluster, environ, probes, tickets
from service.clock import SystemClock
from service.lifecycle import Stopping, TaskOwner
from service.messaging import Messaging
from service.metrics import Metrics
from service.records import RecordWriter
from service.tickets import Verifier
from worker import settings as worker_settings
from worker.settings import SupervisorSettings, WorkerSettings
from worker.supervisor import addresses
from worker.supervisor.consumer import Consumer
from worker.supervisor.disk_cache import DiskCache
from worker.supervisor.egress import Egress
from worker.supervisor.flights import Flights
from worker.supervisor.guest_log import GuestLog
from worker.supervisor.guest_metrics import GuestMetrics
from worker.supervisor.handler import Handler
from worker.supervisor.host_calls import HostCalls
from worker.supervisor.modules import Modules
from worker.supervisor.presence import Presence
from worker.supervisor.rebuilding import Rebuilder
from worker.supervisor.records import Records
from worker.supervisor.slots import Slots
from worker.supervisor.turns import Turns
from worker.supervisor.zygote import Zygote

log = structlog.get_logger()

PEM_BEGIN = b"-----BEGIN PUBLIC KEY-----"


@dataclass(frozen=True)
class Worker:
    """A worker that serves. `drain` ends that; the rest is closed with `open_worker`."""

    id: WorkerId
    consumer: Consumer
    presence: Presence
    records: Records
    slots: Slots
    turns: Turns
    messaging: Messaging

    def ready(self) -> dict[str, bool]:
        return {"nats": self.messaging.is_connected, "executors": bool(self.slots.fingerprint)}

    async def drain(self, *, timeout_seconds: float) -> None:
        """Tell the fronts, take nothing more, finish what runs, write down what finished."""
        await self.presence.drain()
        await self.consumer.drain(timeout_seconds=timeout_seconds)
        await self.presence.leave()
        await self.records.flush()


async def run(settings: WorkerSettings, stopping: Stopping) -> None:
    """Serve until `stopping` is set, then drain."""
    log.info("the worker starts", settings=environ.masked(settings))
    metrics = Metrics()
    async with (
        open_worker(settings, metrics, on_failure=stopping.fail) as worker,
        probes.serve(settings.probe, metrics, worker.ready) as port,
    ):
        log.info("the worker serves", worker=worker.id, slots=worker.turns.slots, probe_port=port)
        await stopping.wait()
        log.info("the worker drains", running=worker.turns.running, waiting=worker.turns.waiting)
        await worker.drain(timeout_seconds=settings.worker.drain_seconds)


@asynccontextmanager
async def open_worker(
    settings: WorkerSettings, metrics: Metrics, *, on_failure: Callable[[], object] | None = None
) -> AsyncIterator[Worker]:
    """Everything of a worker, serving when this yields. Raises FleetError when it cannot be started like this."""
    group, clock = settings.worker, SystemClock()
    name = worker_settings.worker_id(group)
    shards = worker_settings.shards(group, shard_count=settings.nats.shard_count)
    verifier = _verifier(settings, clock)
    async with AsyncExitStack() as stack:
        owner = await stack.enter_async_context(TaskOwner(on_failure))
        messaging = await stack.enter_async_context(Messaging.connect(settings.nats.url, name=name, role="worker"))
        await cluster.check(messaging, shard_count=settings.nats.shard_count)
        slots = await _open_slots(stack, owner, group, metrics)
        modules = await _open_modules(stack, owner, messaging, settings, slots.fingerprint, metrics)
        host_calls = await _open_host_calls(stack, owner, messaging, group, metrics)
        turns, flights = Turns(slots=worker_settings.slots(group), clock=clock), Flights(name, clock)
        records = Records(RecordWriter(messaging, owner, clock), clock)
        stack.push_async_callback(records.close)
        presence = await Presence.open(messaging, name, shards)
        consumer = Consumer(
            messaging,
            verifier,
            Handler(modules, turns, slots, host_calls, clock),
            turns,
            flights,
            records,
            worker=name,
            shards=shards,
            clock=clock,
            metrics=metrics,
        )
        _watch(metrics, turns, slots)
        stack.push_async_callback(consumer.drain, timeout_seconds=0)
        owner.start(flights.run(), name="signs of life")
        await consumer.start()
        await presence.announce()
        owner.start(presence.run(), name="presence")
        yield Worker(name, consumer, presence, records, slots, turns, messaging)


async def _open_slots(stack: AsyncExitStack, owner: TaskOwner, group: SupervisorSettings, metrics: Metrics) -> Slots:
    zygote = Zygote(owner)
    stack.push_async_callback(zygote.close)
    await zygote.start()
    slots = Slots(zygote, owner, metrics, max_executors=group.executors, clean=group.clean_executors)
    stack.callback(slots.close)
    await slots.start()
    return slots


async def _open_modules(
    stack: AsyncExitStack,
    owner: TaskOwner,
    messaging: Messaging,
    settings: WorkerSettings,
    fingerprint: str,
    metrics: Metrics,
) -> Modules:
    clock = SystemClock()
    store = await stack.enter_async_context(bundle_store.open_reader(settings.store))
    modules = Modules(
        store,
        _disk_cache(settings.worker),
        Rebuilder(messaging, clock),
        _build_keys(Path(settings.build.public_keys_file)),
        owner,
        fingerprint=fingerprint,
        max_bytes=settings.worker.memory_bytes,
        clock=clock,
        metrics=metrics,
    )
    return stack.enter_context(closing(modules))


async def _open_host_calls(
    stack: AsyncExitStack, owner: TaskOwner, messaging: Messaging, group: SupervisorSettings, metrics: Metrics
) -> HostCalls:
    clock = SystemClock()
    egress = await stack.enter_async_context(aclosing(_egress(group)))
    guest_log, guest_metrics = GuestLog(messaging, clock, metrics), GuestMetrics()
    guest_metrics.register(metrics.registry)
    owner.start(guest_log.run(), name="guest log")
    owner.start(egress.run(), name="idle egress")
    host_calls = HostCalls(messaging, egress, guest_log, guest_metrics, clock=clock, metrics=metrics)
    return await stack.enter_async_context(aclosing(host_calls))


def _verifier(settings: WorkerSettings, clock: SystemClock) -> Verifier:
    path = Path(settings.ticket.public_keys_file)
    return Verifier(tickets.load_public_keys(path, setting="ALGA_TICKET_PUBLIC_KEYS_FILE"), clock)


def _build_keys(path: Path) -> BuildKeys:
    try:
        blocks = path.read_bytes().split(PEM_BEGIN)[1:]
    except OSError as error:
        raise Invalid(f"setting ALGA_BUILD_PUBLIC_KEYS_FILE: {path} cannot be read: {error.strerror}") from error
    if not blocks:
        raise Invalid(f"setting ALGA_BUILD_PUBLIC_KEYS_FILE: {path} has no public key in it")
    try:
        return signing.build_keys_of(PEM_BEGIN + block for block in blocks)
    except Invalid as error:
        raise Invalid(f"setting ALGA_BUILD_PUBLIC_KEYS_FILE: {path}: {error.message}") from error


def _disk_cache(group: SupervisorSettings) -> DiskCache:
    directory = worker_settings.cache_directory(group)
    disk = DiskCache(directory, max_bytes=group.cache_bytes)
    try:
        disk.check()
    except OSError as error:
        raise Invalid(f"setting ALGA_WORKER_CACHE_DIRECTORY: {directory} cannot be used: {error.strerror}") from error
    return disk


def _egress(group: SupervisorSettings) -> Egress:
    allowed = addresses.parse_networks(group.egress_allow_addresses, field="ALGA_WORKER_EGRESS_ALLOW_ADDRESSES")
    if allowed:
        log.warning(
            "extensions may reach addresses that are not public", networks=[str(network) for network in allowed]
        )
    ceiling = egress_hosts.parse_ceiling(group.egress_ceiling, field="setting ALGA_WORKER_EGRESS_CEILING")
    return Egress(allowed=allowed, ceiling=ceiling or None)


def _watch(metrics: Metrics, turns: Turns, slots: Slots) -> None:
    """Gauges are read when they are asked for."""
    metrics.slots.set(turns.slots)
    metrics.slots_busy.set_function(lambda: turns.running)
    for state in slots.counts:
        metrics.executors.labels(state).set_function(partial(_count_of, slots, state))


def _count_of(slots: Slots, state: str) -> float:
    return slots.counts[state]
