"""One gateway with real neighbours, and nothing behind it: NATS, Postgres, a directory store.

For tests of the door alone: identity, framing, time-outs, the administrative API. Calls of extensions need the whole
fleet (`tests/fleet.py`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from deploy.embedded import directory, nats
from deploy.embedded.keys import Keys
from deploy.embedded.postgres import PostgresServer
from gateway import app
from gateway.identity_tokens import TokenSettings
from gateway.settings import EdgeSettings, GatewaySettings, TicketSettings
from registry import migrate
from schemas import ids
from service import cluster, streams
from service.messaging import Messaging
from service.settings import NatsSettings, PostgresSettings, StoreSettings
from tests.fixtures_postgres import new_database
from tests.fleet import Answer as Reply

ORIGIN = "https://app.example"
RUNNER_TOKEN = "a-runner-token-of-these-tests"
CLOSED_SECONDS = 2.0


@dataclass(frozen=True)
class Edge:
    """A gateway that serves, and the first operator's key."""

    port: int
    operator_key: str
    session: aiohttp.ClientSession
    settings: GatewaySettings

    async def request(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """`body`: bytes as they are, anything else as JSON."""
        sent = {**({} if key is None else {"x-api-key": key}), **(headers or {})}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        url = f"http://127.0.0.1:{self.port}{path}"
        async with self.session.request(method, url, data=data, headers=sent) as answer:
            received = {name.lower(): value for name, value in answer.headers.items()}
            return Reply(answer.status, received, await answer.read())

    async def tenant_key(self, *permissions: str, publisher: str | None = None) -> tuple[str, str]:
        """A new tenant and a key of it."""
        tenant = f"t-{ids.new_id()[:8]}"
        await self.request("POST", "/api/v1/tenants", key=self.operator_key, body={"id": tenant, "name": tenant})
        body = {"tenant": tenant, "permissions": list(permissions), "publisher_id": publisher}
        made = await self.request("POST", "/api/v1/keys", key=self.operator_key, body=body)
        return tenant, made.json()["data"]["key"]

    async def raw(self, data: bytes, *, quiet_seconds: float = CLOSED_SECONDS) -> tuple[bytes, bool]:
        """What comes back for these bytes on a connection of their own, and whether the gateway closed it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        received = b""
        try:
            writer.write(data)
            while True:
                try:
                    chunk = await asyncio.wait_for(reader.read(65536), quiet_seconds)
                except TimeoutError:
                    return received, False
                if not chunk:
                    return received, True
                received += chunk
        except ConnectionError:
            return received, True
        finally:
            writer.close()


@asynccontextmanager
async def open_edge(
    postgres: PostgresServer, root: Path, *, jwt: TokenSettings | None = None, **edge: Any
) -> AsyncIterator[Edge]:
    """`edge` replaces fields of EdgeSettings."""
    with directory.hold(root) as data:
        data.bundles.mkdir(mode=0o700, exist_ok=True)
        keys = Keys.load(root / "keys")
        async with nats.start(data) as server, new_database(postgres) as database:
            operator_key = await migrate.bootstrap(database.admin_dsn)
            async with Messaging.connect(server.url_for("registry"), name="declares", role="registry") as messaging:
                await cluster.declare(messaging, shard_count=NatsSettings(url="").shard_count)
                await streams.declare(messaging)
            settings = GatewaySettings(
                nats=NatsSettings(url=server.url_for("gateway")),
                postgres=PostgresSettings(dsn=database.dsn(migrate.APP)),
                store=StoreSettings(url=f"file://{data.bundles}"),
                ticket=TicketSettings(private_key_file=str(keys.ticket_private)),
                jwt=jwt or TokenSettings(),
                gateway=EdgeSettings(
                    **{"port": 0, "drain_seconds": 1.0, "origins": (ORIGIN,), "runner_tokens": (RUNNER_TOKEN,), **edge}
                ),
            )
            async with app.open_gateway(settings) as port, aiohttp.ClientSession(auto_decompress=False) as session:
                yield Edge(port, operator_key, session, settings)
