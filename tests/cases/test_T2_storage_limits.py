"""T2: past the limits of keys, namespaces and bytes from eight workers at once, two registry processes answering."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio

from deploy.embedded.postgres import PostgresServer
from registry.database import open_database
from registry.host import storage_v2
from registry.quotas import RateLimiter
from registry.serving import Serving
from registry.storage import Storage
from registry.storage_rules import MAX_BYTES, MAX_KEYS, MAX_NAMESPACES, MAX_VALUE_BYTES
from schemas import capability
from schemas.host import HostAnswer
from schemas.install import Resolved
from service import tickets
from service.clock import SystemClock
from service.messaging import Messaging
from service.metrics import Metrics
from service.tickets import Verifier
from tests import registry_stack
from tests.registry_stack import RegistryStack

pytestmark = pytest.mark.case("T2")

WORKERS = 8
ROOM = 9
"""What is left under each limit when the race begins; fewer than there are tries."""
TRIES_PER_WORKER = 4


@pytest_asyncio.fixture(scope="module")
async def stack(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RegistryStack]:
    async with (
        registry_stack.open_stack(postgres_server, tmp_path_factory.mktemp("t2")) as running,
        open_database(running.rows.settings) as database,
        Messaging.connect(running.settings.nats.url, name="second", role="registry") as messaging,
    ):
        public = running.ticket_key.public_key()
        verifier = Verifier({tickets.key_id(public): public}, SystemClock())
        storage = Storage(database, RateLimiter(SystemClock()))
        second = Serving({"storage-v2": storage_v2.service(storage)}, verifier, Metrics())
        async with second.serving(messaging):
            yield running


async def put(stack: RegistryStack, install: Resolved, namespace: str, key: str, value: str = "v") -> str:
    """`ok`, or the code of the refusal; asked again while the rate says later."""
    item = {
        "key": key,
        "value": value,
        "encoding": "text",
        "metadata": None,
        "ttl_seconds": None,
        "create_only": False,
        "if_revision": None,
    }
    while True:
        reply = await stack.ask(install, "storage-v2", "put", namespace, item)
        assert isinstance(reply, HostAnswer), reply
        kind, answer = reply.value
        if kind == "ok":
            return "ok"
        if answer["code"] != "rate-limited":
            return str(answer["code"])
        await asyncio.sleep(0.2)


async def fill(stack: RegistryStack, install: Resolved, *, namespaces: int, keys: int, value_bytes: int) -> None:
    """Records as the storage itself would have left them: rows and counters."""
    async with stack.rows.session() as session:
        await session.execute(
            """INSERT INTO ext_storage_records
                (tenant, extension_install_id, namespace, key, value, value_size_bytes)
            SELECT $1, $2::uuid, 'n' || n, 'k' || k, decode(repeat('00', $5), 'hex'), $5
            FROM generate_series(1, $3) AS n, generate_series(1, $4) AS k""",
            install.tenant,
            install.install,
            namespaces,
            keys,
            value_bytes,
        )
        await session.execute(
            """INSERT INTO ext_storage_usage (tenant, extension_install_id, bytes_used, keys_count, namespaces_count)
            VALUES ($1, $2::uuid, $3, $4, $5)""",
            install.tenant,
            install.install,
            namespaces * keys * value_bytes,
            namespaces * keys,
            namespaces,
        )


async def race(attempt: Callable[[int], Awaitable[str]]) -> list[str]:
    """What each try of each worker got."""

    async def worker(number: int) -> list[str]:
        return [await attempt(number * TRIES_PER_WORKER + step) for step in range(TRIES_PER_WORKER)]

    return [result for results in await asyncio.gather(*map(worker, range(WORKERS))) for result in results]


async def usage_of(stack: RegistryStack, install: Resolved) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the guest is told, and what really lies there."""
    reply = await stack.ask(install, "storage-v2", "get-usage")
    assert isinstance(reply, HostAnswer)
    async with stack.rows.session() as session:
        stored = await session.fetchrow(
            """SELECT sum(octet_length(value))::bigint AS bytes_used, count(*) AS keys,
                count(DISTINCT namespace) AS namespaces
            FROM ext_storage_records WHERE extension_install_id = $1::uuid""",
            install.install,
        )
    assert stored is not None
    told = reply.value[1]
    return {name: told[name] for name in ("bytes_used", "keys", "namespaces")}, dict(stored)


async def test_T2_the_last_keys_of_a_namespace(stack: RegistryStack) -> None:
    """Exactly as many as there is room for; another namespace is not full."""
    install = await stack.installed(capability.STORAGE_KV)
    await fill(stack, install, namespaces=1, keys=MAX_KEYS - ROOM, value_bytes=1)

    results = await race(lambda number: put(stack, install, "n1", f"new{number}"))

    assert (results.count("ok"), results.count("quota-exceeded")) == (ROOM, WORKERS * TRIES_PER_WORKER - ROOM)
    assert await put(stack, install, "n1", "k1", "overwritten") == "ok"
    assert await put(stack, install, "n2", "k1") == "ok"
    told, stored = await usage_of(stack, install)
    assert told == stored
    assert told["keys"] == MAX_KEYS + 1


async def test_T2_the_last_namespaces_of_an_install(stack: RegistryStack) -> None:
    """A namespace is open once it has a record."""
    install = await stack.installed(capability.STORAGE_KV)
    await fill(stack, install, namespaces=MAX_NAMESPACES - ROOM, keys=2, value_bytes=1)

    results = await race(lambda number: put(stack, install, f"new{number}", "k"))

    assert (results.count("ok"), results.count("quota-exceeded")) == (ROOM, WORKERS * TRIES_PER_WORKER - ROOM)
    told, stored = await usage_of(stack, install)
    assert told == stored
    assert told["namespaces"] == MAX_NAMESPACES


async def test_T2_the_last_bytes_of_an_install(stack: RegistryStack) -> None:
    """Values of the full 64 KiB against 256 MiB."""
    install = await stack.installed(capability.STORAGE_KV)
    await fill(stack, install, namespaces=1, keys=MAX_BYTES // MAX_VALUE_BYTES - ROOM, value_bytes=MAX_VALUE_BYTES)
    value = "x" * MAX_VALUE_BYTES

    results = await race(lambda number: put(stack, install, "n1", f"new{number}", value))

    assert (results.count("ok"), results.count("quota-exceeded")) == (ROOM, WORKERS * TRIES_PER_WORKER - ROOM)
    assert await put(stack, install, "n1", "one-more-byte", "x") == "quota-exceeded"
    assert await put(stack, install, "n1", "k1", "smaller") == "ok"
    told, stored = await usage_of(stack, install)
    assert told == stored
    assert told["bytes_used"] == MAX_BYTES - MAX_VALUE_BYTES + len("smaller")


async def test_T2_room_that_expired_records_take_is_found_again(stack: RegistryStack) -> None:
    """A full namespace whose records have expired takes new ones at once; nobody waits for the reaper."""
    install = await stack.installed(capability.STORAGE_KV)
    await fill(stack, install, namespaces=1, keys=MAX_KEYS, value_bytes=1)
    assert await put(stack, install, "n1", "new") == "quota-exceeded"
    async with stack.rows.session() as session:
        await session.execute(
            """UPDATE ext_storage_records SET ttl_expires_at = now() - interval '1 s'
            WHERE extension_install_id = $1::uuid AND key <> 'k1'""",
            install.install,
        )

    results = await race(lambda number: put(stack, install, "n1", f"new{number}"))

    assert set(results) == {"ok"}
    told, stored = await usage_of(stack, install)
    assert told == stored
    assert told["keys"] == 1 + WORKERS * TRIES_PER_WORKER
