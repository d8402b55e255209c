"""Messages on a real NATS server: replies, loss, group commit."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.embedded import stack
from deploy.embedded.stack import Stack
from schemas import codec, subjects
from schemas.errors import DeadlineExceeded, TooLarge, Unavailable
from schemas.invocation import Origin, Trigger
from schemas.record import LogStatus, Record, RecordBatch
from service import streams
from service.clock import SystemClock
from service.lifecycle import TaskOwner
from service.messaging import Message, Messaging, NoResponders
from service.records import RecordWriter
from service.streams import Pull

RECORD = Record(
    invocation="one",
    ticket=b"t" * 300,
    origin=Origin(
        request_id="r", trigger=Trigger.HTTP, method="GET", path="/", endpoint_template="/", principal_kind="msp"
    ),
    started_unix_ms=1,
    deadline_unix_ms=2,
    status=LogStatus.STARTED,
)


@pytest_asyncio.fixture(scope="module")
async def engines() -> AsyncIterator[Stack]:
    with tempfile.TemporaryDirectory(prefix="alga-messaging-") as directory:
        async with stack.start(Path(directory)) as running:
            yield running


async def test_a_conversation_gets_every_reply_in_order(engines: Stack) -> None:
    """A worker says accepted, alive, alive, finished on one inbox."""

    async def thrice(message: Message) -> None:
        for number in range(3):
            await message.reply(b"%d" % number)

    async with _pair(engines) as (gateway, worker):
        await worker.serve(subjects.EXECUTE_ALL, thrice, queue=subjects.WORKERS_QUEUE)
        async with gateway.conversation(subjects.execute(1), b"") as conversation:
            assert [await conversation.next(2) for _ in range(3)] == [b"0", b"1", b"2"]
            with pytest.raises(DeadlineExceeded):
                await conversation.next(0.05)


async def test_nobody_there_is_said_at_once(engines: Stack) -> None:
    """A caller need not wait for its deadline to learn that no worker serves its shard."""
    async with _pair(engines) as (gateway, _):
        with pytest.raises(NoResponders):
            await asyncio.wait_for(gateway.request(subjects.execute(2), b"", timeout_seconds=30), 2)


async def test_a_message_over_the_limit_is_refused_and_the_connection_stays(engines: Stack) -> None:
    """The server would cut the connection that everybody shares."""
    async with _pair(engines) as (gateway, _):
        with pytest.raises(TooLarge, match="over the limit"):
            await gateway.publish(subjects.execute(3), b"x" * (gateway.max_payload_bytes + 1))
        assert gateway.is_connected


async def test_records_that_gather_while_one_is_written_go_in_one_message(engines: Stack) -> None:
    """Group commit: one fsync for many records, and every writer hears when its own is stored."""
    received: list[int] = []
    stopping = asyncio.Event()

    async def handle(batch: list[bytes]) -> None:
        for data in batch:
            records: RecordBatch = codec.decode(RecordBatch, data)
            received.append(len(records.records))
        if sum(received) == 100:
            stopping.set()

    async with (
        _pair(engines) as (gateway, _),
        TaskOwner() as tasks,
        Messaging.connect(engines.nats_url_for("registry"), name="test", role="registry") as registry,
    ):
        await streams.declare(registry)
        writer = RecordWriter(gateway, tasks, SystemClock())
        await asyncio.gather(*(writer.write(5, RECORD) for _ in range(100)))
        pull = Pull(streams.RECORDS, "ledger", batch=50)
        consume = streams.consume(registry, pull, handle, stopping=stopping)
        await asyncio.wait_for(consume, 20)
    assert sum(received) == 100
    assert len(received) <= 5


async def test_a_lost_server_refuses_calls_and_heals_by_itself(engines: Stack) -> None:
    """While NATS is down nothing is dispatched; afterwards subscriptions live again without a restart."""

    async def echo(message: Message) -> None:
        await message.reply(message.data)

    async with _pair(engines) as (gateway, worker):
        await worker.serve(subjects.EXECUTE_ALL, echo, queue=subjects.WORKERS_QUEUE)
        await engines.nats.server.kill()
        with pytest.raises(Unavailable):
            await _until_refused(gateway)
        await engines.nats.server.start()
        async with asyncio.timeout(10):
            while not await _answers(gateway):
                await asyncio.sleep(0.05)


async def _until_refused(gateway: Messaging) -> None:
    async with asyncio.timeout(5):
        while True:
            await gateway.publish(subjects.execute(4), b"x")
            await asyncio.sleep(0.02)


async def _answers(gateway: Messaging) -> bool:
    try:
        return await gateway.request(subjects.execute(4), b"x", timeout_seconds=0.5) == b"x"
    except (Unavailable, DeadlineExceeded):
        return False


class _pair:
    """A gateway's and a worker's connection."""

    def __init__(self, engines: Stack) -> None:
        self._open = [
            Messaging.connect(engines.nats_url_for(role), name=f"test {role}", role=role)
            for role in ("gateway", "worker")
        ]

    async def __aenter__(self) -> tuple[Messaging, Messaging]:
        gateway, worker = [await connection.__aenter__() for connection in self._open]
        return gateway, worker

    async def __aexit__(self, *_: object) -> None:
        for connection in reversed(self._open):
            await connection.__aexit__(None, None, None)
