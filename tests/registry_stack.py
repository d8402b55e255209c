"""One registry process with real neighbours: NATS with its roles, Postgres, a directory store, a publisher with a key.

For tests of publishing, host services and the ledger: everything is asked over NATS, as gateway and workers ask it.
The compile jail's children are real. Calls of extensions need the whole fleet (`tests/fleet.py`).
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cli.sign import statement_of
from deploy.embedded import directory, nats
from deploy.embedded.keys import Keys
from deploy.embedded.postgres import PostgresServer
from gateway import publish_client
from registry import app, packing, signing
from registry.bundle_store import BundleStore, open_store
from registry.database import Database, open_database
from registry.publishers import Publishers
from registry.settings import BuildSettings, RegistrySettings, SecretsSettings, TicketSettings
from schemas import bundle, capability, codec, ids, subjects
from schemas.bundle import Statement
from schemas.call import CallContext
from schemas.host import HostReply, HostRequest
from schemas.ids import InstallId, PublisherId, RegistryId, TenantId, VersionId
from schemas.install import Resolved
from schemas.invocation import Limits
from schemas.publishing import Published, PublishRequest
from service import tickets
from service.clock import SystemClock
from service.messaging import Messaging
from service.settings import NatsSettings, StoreSettings
from service.tickets import Minter
from tests import catalogue
from tests.clocks import ManualClock
from tests.fixtures_postgres import TestDatabase, new_database
from tests.guests import build

PLATFORM = TenantId("_platform")
HOST_SECONDS = 10.0


@dataclass(frozen=True)
class Author:
    """A publisher and its signing key."""

    id: PublisherId
    name: str
    key: Ed25519PrivateKey

    @property
    def key_id(self) -> str:
        return bundle.key_id_of(signing.spki_of(self.key.public_key()))


@dataclass(frozen=True)
class Bundle:
    """A packed bundle and the SIGNATURE document about it."""

    packed: bytes
    signature: str


@dataclass
class RegistryStack:
    """A running registry process, and its neighbours as the gateway and a worker see them."""

    settings: RegistrySettings
    rows: TestDatabase
    database: Database
    store: BundleStore
    gateway: Messaging
    worker: Messaging
    ticket_key: Ed25519PrivateKey
    minter: Minter
    clock: SystemClock = field(default_factory=SystemClock)

    async def author(self, name: str | None = None) -> Author:
        """A new publisher with one key."""
        publishers, key = Publishers(self.database), Ed25519PrivateKey.generate()
        made = await publishers.create(context(), name or f"Acme {secrets.token_hex(4)}")
        await publishers.add_key(context(), made.id, signing.spki_of(key.public_key()))
        return Author(made.id, made.name, key)

    async def stage(self, packed: bytes) -> str:
        """The staging key of an upload."""
        key = bundle.staging_key("t-tests", ids.new_id())
        await self.store.put(key, packed)
        return key

    async def publish(self, author: Author, made: Bundle, *, key: str | None = None, **fields: Any) -> Published:
        """Ask as the gateway does; `fields` replace those of the request. Raises the FleetError answered."""
        request = PublishRequest(
            staging_key=key or await self.stage(made.packed),
            publisher_id=author.id,
            request_id=f"test-{ids.new_id()}",
            principal="key-1",
            signature_text=made.signature,
        )
        request = msgspec.structs.replace(request, **fields)
        return await publish_client.publish(self.gateway, request, clock=self.clock)

    async def version_rows(self, name: str) -> list[dict[str, Any]]:
        """What there is of an extension to install."""
        return await self._rows(
            """SELECT v.*, b.content_hash, b.signature, b.key_id FROM extension_version AS v
            JOIN extension_registry AS r ON r.id = v.registry_id
            LEFT JOIN extension_bundle AS b ON b.version_id = v.id WHERE r.name = $1""",
            name,
        )

    async def audit_rows(self, event_type: str, resource: str) -> list[dict[str, Any]]:
        """What is on record of a resource."""
        return await self._rows(
            "SELECT * FROM extension_audit_logs WHERE event_type = $1 AND resource_id = $2", event_type, resource
        )

    async def _rows(self, statement: str, *arguments: object) -> list[dict[str, Any]]:
        async with self.rows.session() as session:
            return [dict(row) for row in await session.fetch(statement, *arguments)]

    async def installed(self, *grants: str) -> Resolved:
        """A tenant's install with exactly these grants, as a front resolves it."""
        published = await catalogue.publish(self.rows)
        tenant = await catalogue.tenant(self.rows)
        install = await catalogue.install_row(self.rows, tenant, published)
        return resolved_of(tenant, install, published, grants=frozenset(grants))

    def ticket(self, resolved: Resolved, *, longest_seconds: int = 60) -> bytes:
        return self.minter.mint(resolved, longest_seconds=longest_seconds, needed_seconds=1)

    def expired_ticket(self, resolved: Resolved) -> bytes:
        """A ticket of ours that ended an hour ago."""
        earlier = ManualClock(now=self.clock.now() - 3_600 - 120)
        return Minter(self.ticket_key, earlier).mint(resolved, longest_seconds=60, needed_seconds=1)

    async def ask(self, resolved: Resolved, interface: str, function: str, *arguments: Any, **fields: Any) -> HostReply:
        """A host call as a worker makes it; `fields` replace those of the request."""
        request = HostRequest(
            ticket=self.ticket(resolved),
            invocation=ids.new_invocation_id(),
            attempt=1,
            ordinal=1,
            left_ms=5_000,
            arguments=list(arguments),
            request_id="test",
        )
        request = msgspec.structs.replace(request, **fields)
        subject = subjects.host(interface, function)
        data = await self.worker.request(subject, codec.encode(request), timeout_seconds=HOST_SECONDS)
        reply: HostReply = codec.decode(HostReply, data)
        return reply


def context() -> CallContext:
    """A call of an operator."""
    return catalogue.context(TenantId(""))


def resolved_of(
    tenant: TenantId, install: InstallId, published: catalogue.Published, *, grants: frozenset[str]
) -> Resolved:
    return Resolved(
        tenant=tenant,
        install=install,
        registry=RegistryId(published.registry),
        version_id=VersionId(published.version_id),
        name=published.name,
        publisher=published.publisher,
        version=published.version,
        content_hash=published.content_hash,
        has_component=True,
        grants=grants | capability.DEFAULTS,
        egress=(),
        limits=Limits(),
        endpoints=(),
        client_portal=False,
        config={},
        shard=subjects.shard_of(tenant),
    )


@cache
def component(guest: str) -> bytes:
    """A guest of `tests/guests`."""
    return build.component(guest).read_bytes()


def manifest_of(author: Author, **fields: Any) -> dict[str, Any]:
    """A valid manifest under a name of its own; `fields` replace or add, None drops."""
    document: dict[str, Any] = {
        "name": f"com.acme.e{secrets.token_hex(5)}",
        "publisher": author.name,
        "version": "1.0.0",
        "runtime": "wasm-component@1",
        "api": {"endpoints": [{"method": "GET", "path": "/hello", "handler": "dist/main"}]},
        **fields,
    }
    return {name: value for name, value in document.items() if value is not None}


async def bundle_of(
    author: Author,
    manifest: Mapping[str, Any],
    *,
    guest: str | None = "echo",
    files: Mapping[str, bytes] | None = None,
    signed_by: Ed25519PrivateKey | None = None,
) -> Bundle:
    """Packed and signed, by the author's key unless another is given."""
    content = {
        "manifest.json": json.dumps(manifest).encode(),
        **({} if guest is None else {"dist/main.wasm": component(guest)}),
        **(files or {}),
    }
    packed = await asyncio.to_thread(packing.pack, content)
    return Bundle(packed, sign(packed, signed_by or author.key))


async def bundle_of_anything(author: Author, manifest: Mapping[str, Any]) -> Bundle:
    """As `bundle_of`, of a manifest that packing and signing by our own tools would refuse: an attacker has others."""
    text = json.dumps(manifest).encode()
    packed = await asyncio.to_thread(packing.pack, {"manifest.json": text, "dist/main.wasm": component("echo")})
    statement = Statement(
        content_hash=ids.content_hash_of(packed),
        issued=datetime.now(UTC).strftime(bundle.ISSUED_FORMAT),
        manifest_sha256=hashlib.sha256(text).hexdigest(),
        name=manifest["name"],
        publisher=manifest["publisher"],
        type=bundle.STATEMENT_TYPE,
        version=manifest["version"],
    )
    return Bundle(packed, signing.encode_signature(signing.sign_bundle(statement, author.key)).decode())


def sign(packed: bytes, key: Ed25519PrivateKey) -> str:
    statement = statement_of(packed, issued=datetime.now(UTC))
    return signing.encode_signature(signing.sign_bundle(statement, key)).decode()


@asynccontextmanager
async def open_stack(
    postgres: PostgresServer, root: Path, *, serve: bool = True, store: StoreSettings | None = None
) -> AsyncIterator[RegistryStack]:
    """Everything started, the registry process serving in this event loop; `serve` False: it is left to the test.

    `store`: another store than a directory of its own.
    """
    with directory.hold(root) as data:
        data.bundles.mkdir(mode=0o700, exist_ok=True)
        keys = Keys.load(root / "keys")
        async with nats.start(data) as server, new_database(postgres) as rows:
            settings = RegistrySettings(
                nats=NatsSettings(url=server.url_for("registry")),
                postgres=rows.settings,
                store=store or StoreSettings(url=f"file://{data.bundles}"),
                ticket=TicketSettings(public_keys_file=str(keys.ticket_public)),
                build=BuildSettings(private_key_file=str(keys.build_private)),
                secrets=SecretsSettings(kek_file=str(keys.kek)),
            )
            clock = SystemClock()
            ticket_key = tickets.load_private_key(keys.ticket_private, setting="tests")
            minter = Minter(ticket_key, clock)
            async with (
                app.open_registry(settings) if serve else nullcontext(),
                open_database(rows.settings) as database,
                open_store(settings.store) as objects,
                Messaging.connect(server.url_for("gateway"), name="gateway", role="gateway") as gateway,
                Messaging.connect(server.url_for("worker"), name="worker", role="worker") as worker,
            ):
                yield RegistryStack(settings, rows, database, objects, gateway, worker, ticket_key, minter)
