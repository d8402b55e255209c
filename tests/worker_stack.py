"""One worker with real neighbours: NATS with its roles, a directory store, a signed and compiled guest, a front.

For tests of the worker: the worker's own process parts are opened in the test's process (its executors are real
processes), everything is signed with keys of the run, and calls go through the fronts' own Dispatcher.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from wasmtime.component import Component

from deploy.embedded import directory, nats
from deploy.embedded.nats import NatsServer
from registry import bundle_store, signing
from registry.bundle_store import BundleStore
from registry.signing import Bound, PublisherKey
from schemas import bundle, capability, codec, subjects
from schemas.bundle import ISSUED_FORMAT, STATEMENT_TYPE, Statement
from schemas.call import Deadline, User
from schemas.capability import INTERFACES, Answerer
from schemas.guest_http import GuestRequest
from schemas.ids import (
    ContentHash,
    InstallId,
    RegistryId,
    TenantId,
    VersionId,
    content_hash_of,
    new_id,
    new_invocation_id,
)
from schemas.install import Resolved
from schemas.invocation import ExecuteRequest, Limits, Origin, Outcome, Trigger
from schemas.record import Record, RecordBatch
from schemas.subjects import shard_of
from service import cluster, streams
from service.clock import SystemClock
from service.dispatch import WORKER_TTL_SECONDS, WORKERS_BUCKET, Dispatcher
from service.lifecycle import TaskOwner
from service.messaging import Handler, Messaging
from service.metrics import Metrics
from service.settings import NatsSettings, StoreSettings
from service.tickets import Minter
from tests.guests import build
from worker import app
from worker.app import Worker
from worker.executor import engine
from worker.settings import PublicKeySettings, SupervisorSettings, WorkerSettings

PUBLISHER, MANIFEST_SHA256 = "Acme", sha256(b"{}").hexdigest()
EVERYTHING = capability.ALL


@cache
def compiled(guest: str) -> bytes:
    """The cwasm of a guest of `tests/guests`, for this engine."""
    native: bytes = bytes(Component(engine.build_engine(), build.component(guest).read_bytes()).serialize())
    return native


@dataclass
class Bench:
    """The neighbours. `author`, `build_key`, `ticket_key` sign; `store` is writable, the worker's view is not."""

    root: Path
    server: NatsServer
    store_settings: StoreSettings
    store: BundleStore
    messaging: Messaging
    dispatcher: Dispatcher
    minter: Minter
    build_key: Ed25519PrivateKey
    author: Ed25519PrivateKey
    clock: SystemClock = field(default_factory=SystemClock)

    @property
    def fingerprint(self) -> str:
        return engine.fingerprint()

    async def publish(self, guest: str) -> ContentHash:
        """The guest in the store as the registry leaves it: cwasm, and the load record that binds it."""
        content_hash = content_hash_of(guest.encode())
        cwasm = compiled(guest)
        await self.store.put(bundle.cwasm_key(self.fingerprint, content_hash), cwasm, overwrite=True)
        record = self.load_record(content_hash, cwasm)
        await self.store.put(bundle.load_record_key(self.fingerprint, content_hash), record, overwrite=True)
        return content_hash

    def load_record(self, content_hash: ContentHash, cwasm: bytes, *, key: Ed25519PrivateKey | None = None) -> bytes:
        now = datetime.now(UTC)
        statement = Statement(
            content_hash=content_hash,
            issued=now.strftime(ISSUED_FORMAT),
            manifest_sha256=MANIFEST_SHA256,
            name="com.acme.guest",
            publisher=PUBLISHER,
            type=STATEMENT_TYPE,
            version="1.0.0",
        )
        spki = signing.spki_of(self.author.public_key())
        verified = signing.verify_bundle(
            signing.sign_bundle(statement, self.author),
            bound=Bound(
                publisher=PUBLISHER,
                name=statement.name,
                version=statement.version,
                manifest_sha256=MANIFEST_SHA256,
                content_hash=content_hash,
            ),
            keys=[PublisherKey(key_id=bundle.key_id_of(spki), publisher=PUBLISHER, public_key=spki)],
            roots=(),
            now=now,
        )
        record = signing.load_record_of(
            verified,
            cwasm_sha256=sha256(cwasm).hexdigest(),
            cwasm_bytes=len(cwasm),
            engine_fingerprint=self.fingerprint,
            built_at=now,
        )
        return signing.sign_load_record(record, key or self.build_key)

    async def install(
        self,
        guest: str,
        *,
        tenant: str | None = None,
        grants: frozenset[str] = EVERYTHING,
        egress: tuple[str, ...] = (),
        limits: Limits | None = None,
    ) -> Resolved:
        """What a front resolves for an enabled install of this guest, in a tenant of its own unless named."""
        name = TenantId(tenant or f"t-{new_id()}")
        return Resolved(
            tenant=name,
            install=InstallId(new_id()),
            registry=RegistryId(new_id()),
            version_id=VersionId(new_id()),
            name="com.acme.guest",
            publisher=PUBLISHER,
            version="1.0.0",
            content_hash=await self.publish(guest),
            has_component=True,
            grants=grants,
            egress=egress,
            limits=limits or Limits(),
            endpoints=(),
            client_portal=False,
            config={"colour": "green"},
            shard=shard_of(name),
        )

    def request(
        self,
        install: Resolved,
        url: str = "/",
        *,
        method: str = "POST",
        body: bytes | None = None,
        timeout_ms: int | None = None,
        user: User | None = None,
        providers: frozenset[str] | None = None,
        sender: str = "test",
    ) -> ExecuteRequest:
        invocation, now = new_invocation_id(), int(time.time() * 1000)
        return ExecuteRequest(
            invocation=invocation,
            ticket=self.minter.mint(install, longest_seconds=60, needed_seconds=60),
            origin=Origin(
                request_id=f"r-{invocation}",
                trigger=Trigger.HTTP,
                method=method,
                path=url.partition("?")[0],
                endpoint_template="/",
                principal_kind="service",
            ),
            request=GuestRequest(method=method, url=url, headers=(("accept", "*/*"),), body=body),
            sender=sender,
            sent_unix_ms=now,
            left_ms=timeout_ms or install.limits.timeout_ms,
            started_unix_ms=now,
            config=install.config,
            user=None if user is None else self.minter.mint_user(install, invocation, user, lifetime_seconds=60),
            providers=providers,
        )

    async def call(self, install: Resolved, url: str = "/", **options: object) -> Outcome:
        """One call, by the way every front goes."""
        return await self.send(install, self.request(install, url, **options))  # type: ignore[arg-type]

    async def send(self, install: Resolved, request: ExecuteRequest, *, repeatable: bool = False) -> Outcome:
        deadline = Deadline.after(request.left_ms / 1000, now=self.clock.monotonic())
        return await self.dispatcher.dispatch(request, shard=install.shard, deadline=deadline, repeatable=repeatable)

    @asynccontextmanager
    async def host_service(self, interface: str, answer: Handler) -> AsyncIterator[None]:
        """Something that answers `ext.host.<interface>.*`, in the role of the process that may."""
        owner = INTERFACES[interface].answerer
        role = "registry" if owner is Answerer.HOST_SERVICE else "platform"
        async with Messaging.connect(self.server.url_for(role), name="host service", role=role) as messaging:
            served = await messaging.serve(subjects.host_interface(interface), answer, queue=subjects.HOST_QUEUE)
            try:
                yield
            finally:
                await served.stop(timeout_seconds=0.1)

    async def records(self) -> list[Record]:
        """Every record in the stream so far."""
        async with Messaging.connect(self.server.url_for("registry"), name="reader", role="registry") as messaging:
            found: list[Record] = []
            done = asyncio.Event()

            async def keep(batch: list[bytes]) -> None:
                for data in batch:
                    decoded: RecordBatch = codec.decode(RecordBatch, data)
                    found.extend(decoded.records)
                done.set()

            async with TaskOwner() as owner:
                reading = streams.consume(
                    messaging, streams.Pull(streams.RECORDS, f"reader-{new_id()}", batch=1_000), keep, stopping=done
                )
                await asyncio.wait_for(owner.start(reading, name="read records"), 10)
            return found

    @asynccontextmanager
    async def worker(self, **settings: object) -> AsyncIterator[tuple[Worker, Metrics]]:
        """A worker with these ALGA_WORKER_ settings, its cache in a directory of its own."""
        base = SupervisorSettings(slots=4, executors=8, cache_directory=str(self.root / f"cache-{new_id()}"))
        metrics = Metrics()
        async with app.open_worker(self._settings(msgspec.structs.replace(base, **settings)), metrics) as worker:
            yield worker, metrics

    def environment(self) -> dict[str, str]:
        """The same as environment variables, for a worker in a process of its own."""
        return {
            "ALGA_NATS_URL": self.server.url_for("worker"),
            "ALGA_STORE_URL": self.store_settings.url,
            "ALGA_TICKET_PUBLIC_KEYS_FILE": str(self.root / "tickets.pem"),
            "ALGA_BUILD_PUBLIC_KEYS_FILE": str(self.root / "build.pem"),
            "ALGA_WORKER_SLOTS": "4",
        }

    def _settings(self, group: SupervisorSettings) -> WorkerSettings:
        return WorkerSettings(
            nats=NatsSettings(url=self.server.url_for("worker")),
            store=self.store_settings,
            ticket=PublicKeySettings(public_keys_file=str(self.root / "tickets.pem")),
            build=PublicKeySettings(public_keys_file=str(self.root / "build.pem")),
            worker=group,
        )


@asynccontextmanager
async def start_in_temporary_directory(store: StoreSettings | None = None) -> AsyncIterator[Bench]:
    """Not below pytest's own temporary directory, which another pytest that starts may clear."""
    with tempfile.TemporaryDirectory(prefix="alga-worker-") as directory:
        async with start(Path(directory), store) as bench:
            yield bench


@asynccontextmanager
async def start(root: Path, store_settings: StoreSettings | None = None) -> AsyncIterator[Bench]:
    """NATS, a store (a directory unless another is given), keys and a front; no worker yet."""
    store_settings = store_settings or StoreSettings(url=f"file://{root / 'bundles'}")
    keys = {name: Ed25519PrivateKey.generate() for name in ("tickets", "build", "author")}
    for name in ("tickets", "build"):
        pem = keys[name].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (root / f"{name}.pem").write_bytes(pem)
    (root / "bundles").mkdir()
    clock = SystemClock()
    with directory.hold(root / "data") as data:
        async with (
            nats.start(data) as server,
            bundle_store.open_store(store_settings) as store,
            Messaging.connect(server.url_for("registry"), name="registry", role="registry") as declaring,
            Messaging.connect(server.url_for("gateway"), name="front", role="gateway") as messaging,
            TaskOwner() as owner,
        ):
            await cluster.declare(declaring, shard_count=NatsSettings(url="").shard_count)
            await streams.declare(declaring)
            await declaring.bucket(WORKERS_BUCKET, ttl_seconds=WORKER_TTL_SECONDS)
            watching = await messaging.bucket(WORKERS_BUCKET, ttl_seconds=WORKER_TTL_SECONDS)
            dispatcher = Dispatcher(messaging, await watching.watch(owner, clock), clock)
            yield Bench(
                root,
                server,
                store_settings,
                store,
                messaging,
                dispatcher,
                Minter(keys["tickets"], clock),
                keys["build"],
                keys["author"],
            )
