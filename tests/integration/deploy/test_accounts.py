"""What each role may say and hear on a real nats-server (the table of deploy/nats/accounts.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import nats
import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import NoRespondersError

from deploy.embedded import stack
from deploy.embedded.stack import Stack
from deploy.nats import accounts
from deploy.nats.accounts import CLUSTER_BUCKET, Role
from schemas import subjects
from service.dispatch import WORKERS_BUCKET
from service.streams import RECORDS, SCHEDULES

_REFUSAL_SECONDS = 5


class Roles:
    """Clients of one stack, one per role, and what the server refused each of them."""

    def __init__(self, started: Stack, closing: AsyncExitStack) -> None:
        self._started, self._closing = started, closing
        self._refusals: dict[Role, asyncio.Queue[str]] = {}

    async def client(self, role: Role) -> Client:
        refused = self._refusals.setdefault(role, asyncio.Queue())

        async def on_error(error: Exception) -> None:
            refused.put_nowait(str(error).lower())

        prefix = accounts.inbox_prefix(role).encode()
        client = await nats.connect(self._started.nats_url_for(role), inbox_prefix=prefix, error_cb=on_error)
        self._closing.push_async_callback(client.close)
        return client

    async def refusal(self, role: Role) -> str:
        """The next thing the server refused to this role."""
        async with asyncio.timeout(_REFUSAL_SECONDS):
            return await self._refusals[role].get()


@pytest.fixture(scope="module")
async def started(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stack]:
    async with stack.start(tmp_path_factory.mktemp("accounts") / "data") as running:
        client = await nats.connect(running.nats_url_for(Role.REGISTRY), inbox_prefix=b"_INBOX_registry")
        context = client.jetstream()
        await context.add_stream(name=RECORDS, subjects=[subjects.RECORDS_ALL])
        await context.add_stream(name=SCHEDULES, subjects=[subjects.SCHEDULES_ALL], allow_msg_schedules=True)
        await context.create_key_value(bucket=WORKERS_BUCKET, ttl=5)
        await context.create_key_value(bucket=CLUSTER_BUCKET)
        await client.close()
        yield running


@pytest.fixture
async def roles(started: Stack) -> AsyncIterator[Roles]:
    async with AsyncExitStack() as closing:
        yield Roles(started, closing)


Act = Callable[[Client], Coroutine[Any, Any, Any]]


def _publish(subject: str) -> Act:
    return lambda client: client.publish(subject, b"x")


def _subscribe(subject: str, queue: str = "") -> Act:
    return lambda client: client.subscribe(subject, queue=queue)


_FORBIDDEN: list[tuple[Role, Act]] = [
    (Role.WORKER, _publish("_INBOX_gateway.any.thing")),
    (Role.WORKER, _publish("_INBOX_worker.any.thing")),
    (Role.WORKER, _publish(f"$JS.API.STREAM.DELETE.{RECORDS}")),
    (Role.WORKER, _publish(f"$JS.API.STREAM.PURGE.{RECORDS}")),
    (Role.WORKER, _publish(f"$JS.API.CONSUMER.CREATE.{RECORDS}")),
    (Role.WORKER, _publish("ext.exec.3")),
    (Role.WORKER, _publish(subjects.INTAKE)),
    (Role.WORKER, _publish(f"$KV.{CLUSTER_BUCKET}.shards")),
    (Role.WORKER, _publish(f"$JS.API.STREAM.CREATE.KV_{WORKERS_BUCKET}")),
    (Role.WORKER, _subscribe(">")),
    (Role.WORKER, _subscribe("_INBOX_gateway.>")),
    (Role.WORKER, _subscribe("ext.exec.3")),
    (Role.WORKER, _subscribe("ext.host.secrets.get")),
    (Role.GATEWAY, _publish("ext.host.secrets.get")),
    (Role.GATEWAY, _publish(f"$JS.API.STREAM.DELETE.{RECORDS}")),
    (Role.GATEWAY, _subscribe("ext.exec.3", subjects.WORKERS_QUEUE)),
    (Role.GATEWAY, _publish(f"$KV.{WORKERS_BUCKET}.anybody")),
    (Role.EVENTS, _subscribe("ext.host.secrets.get", subjects.HOST_QUEUE)),
    (Role.EVENTS, _publish("$JS.API.STREAM.DELETE.EVENTS")),
    (Role.REGISTRY, _publish("ext.exec.3")),
    (Role.REGISTRY, _publish(f"$JS.API.STREAM.DELETE.{RECORDS}")),
    (Role.PLATFORM, _subscribe("ext.host.secrets.get", subjects.HOST_QUEUE)),
    (Role.PLATFORM, _publish("ext.exec.3")),
    (Role.OPS, _publish("ext.exec.3")),
    (Role.OPS, _subscribe("_INBOX_gateway.>")),
    (Role.OPS, _subscribe("ext.exec.3")),
]


@pytest.mark.parametrize(("role", "act"), _FORBIDDEN)
async def test_what_is_not_in_the_table_is_refused(roles: Roles, role: Role, act: Act) -> None:
    """A stolen password opens only what its process needs."""
    client = await roles.client(role)
    await act(client)
    assert "permissions violation" in await roles.refusal(role)


async def test_a_refused_delete_leaves_the_stream(roles: Roles) -> None:
    """The refusal is not only a message: the stream is still there."""
    worker = await roles.client(Role.WORKER)
    await worker.publish(f"$JS.API.STREAM.DELETE.{RECORDS}", b"")
    await roles.refusal(Role.WORKER)
    assert (await worker.jetstream().stream_info(RECORDS)).config.name == RECORDS


async def test_a_call_that_reports_alive_gets_its_final_answer(roles: Roles) -> None:
    """F54: by default the server lets only one reply through, and the outcome would be lost."""
    worker, gateway = await roles.client(Role.WORKER), await roles.client(Role.GATEWAY)

    async def execute(message: Msg) -> None:
        for reply in (b"accepted", b"alive", b"alive", b"outcome"):
            await message.respond(reply)

    await worker.subscribe(subjects.execute(3), queue=subjects.WORKERS_QUEUE, cb=execute)
    await _subscribed(worker)
    inbox = gateway.new_inbox()
    answers = await gateway.subscribe(inbox)
    await gateway.publish(subjects.execute(3), b"call", reply=inbox)
    assert [(await answers.next_msg(timeout=5)).data for _ in range(4)] == [b"accepted", b"alive", b"alive", b"outcome"]


async def test_requests_flow_between_the_roles_they_are_meant_for(roles: Roles) -> None:
    """Each corridor of the fleet, once: asked by the right role, answered by the right role."""
    corridors = [
        (Role.GATEWAY, "ext.worker.abcdefgh.exec", Role.WORKER, ""),
        (Role.EVENTS, subjects.execute(0), Role.WORKER, subjects.WORKERS_QUEUE),
        (Role.WORKER, subjects.host("secrets", "get"), Role.REGISTRY, subjects.HOST_QUEUE),
        (Role.WORKER, subjects.host("clients", "get-client"), Role.PLATFORM, subjects.HOST_QUEUE),
        (Role.WORKER, subjects.PRECOMPILE, Role.REGISTRY, subjects.REGISTRY_QUEUE),
        (Role.GATEWAY, subjects.PUBLISH, Role.REGISTRY, subjects.REGISTRY_QUEUE),
        (Role.GATEWAY, subjects.INTAKE, Role.EVENTS, subjects.EVENTS_QUEUE),
        (Role.PLATFORM, subjects.INTAKE, Role.EVENTS, subjects.EVENTS_QUEUE),
        (Role.REGISTRY, "ext.control.install.sometenant", Role.GATEWAY, ""),
    ]
    clients = {role: await roles.client(role) for role in Role}
    for asker, subject, answerer, queue in corridors:
        served = await clients[answerer].subscribe(subject, queue=queue, cb=_answer)
        await _subscribed(clients[answerer])
        assert (await clients[asker].request(subject, b"", timeout=5)).data == b"answer", (asker, subject)
        await served.unsubscribe()


async def _subscribed(client: Client) -> None:
    """Returns when the server knows the client's subscriptions. The first PING of nats-py overtakes what waits to be
    written, the second cannot."""
    await client.flush()
    await client.flush()


async def _answer(message: Msg) -> None:
    await message.respond(b"answer")


async def test_no_responders_is_still_reported(roles: Roles) -> None:
    """Admission turns it into one retry or a 503 at once."""
    gateway = await roles.client(Role.GATEWAY)
    with pytest.raises(NoRespondersError):
        await gateway.request(subjects.execute(63), b"", timeout=5)


async def test_records_go_from_fronts_and_workers_to_the_ledger(roles: Roles) -> None:
    """Gateway, events and worker publish; only the registry reads."""
    for role in (Role.GATEWAY, Role.EVENTS, Role.WORKER):
        client = await roles.client(role)
        await client.jetstream().publish(subjects.record(1), role.encode(), timeout=5)
    ledger = (await roles.client(Role.REGISTRY)).jetstream()
    subscription = await ledger.pull_subscribe("", stream=RECORDS, durable="ledger")
    messages = await subscription.fetch(3, timeout=5)
    assert {message.data.decode() for message in messages} == {Role.GATEWAY, Role.EVENTS, Role.WORKER}
    for message in messages:
        await message.ack_sync()


async def test_fronts_watch_the_workers_that_announce_themselves(roles: Roles) -> None:
    """F55: the one retry goes to another live worker, so fronts and workers must see who is alive."""
    bucket = await (await roles.client(Role.WORKER)).jetstream().key_value(WORKERS_BUCKET)
    await bucket.put("abcdefgh", b"alive")
    for role in (Role.GATEWAY, Role.EVENTS, Role.WORKER):
        seen = await (await roles.client(role)).jetstream().key_value(WORKERS_BUCKET)
        watcher = await seen.watchall()
        entry = await watcher.updates(timeout=5)
        assert entry is not None
        assert (entry.key, (await seen.get("abcdefgh")).value) == ("abcdefgh", b"alive")
        await watcher.stop()


async def test_schedules_are_armed_fired_and_disarmed_by_events(roles: Roles) -> None:
    """The events process owns the timers, purging included, and nothing else may touch them."""
    context = (await roles.client(Role.EVENTS)).jetstream()
    fired = await context.pull_subscribe("ext.schedule.fired.>", stream=SCHEDULES, durable="fired")
    headers = {"Nats-Schedule": "@at 2000-01-01T00:00:00Z", "Nats-Schedule-Target": "ext.schedule.fired.t.s"}
    await context.publish("ext.schedule.at.t.s", b"due", headers=headers, timeout=5)
    (message,) = await fired.fetch(1, timeout=5)
    await message.ack_sync()
    assert message.data == b"due"
    assert await context.purge_stream(SCHEDULES, subject="ext.schedule.at.t.s")


async def test_acknowledged_messages_are_on_disk(started: Stack) -> None:
    """F37: the events process refuses a server that syncs only now and then, so ours must say that it does not."""
    async with aiohttp.ClientSession() as session, session.get(f"{started.nats_monitor_url}/jsz") as answer:
        assert (await answer.json())["config"]["sync_always"] is True


def test_a_password_may_be_left_to_the_servers_environment() -> None:
    """Real clusters keep passwords in secrets, not in the rendered file."""
    rendered = accounts.render({role: f"$ALGA_NATS_{role.upper()}_PASSWORD" for role in Role})
    assert "user: worker, password: $ALGA_NATS_WORKER_PASSWORD\n" in rendered
