"""The three JetStream streams, declared: EVENTS, SCHEDULES, RECORDS; appending to them and consuming them.

A stream is transport, Postgres is the record. No stream is a work queue and nothing waits un-acknowledged
(hazards F39, F57): a consumer takes a batch, commits it, acknowledges it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import nats.errors
import nats.js.errors
import orjson
import structlog
from nats.aio.msg import Msg
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, RetentionPolicy, StorageType, StreamConfig

from schemas import subjects
from schemas.errors import FleetError, Unavailable
from service.messaging import Conversation, Messaging, NoResponders, nats_errors

log = structlog.get_logger()

RECORDS = "RECORDS"
EVENTS = "EVENTS"
SCHEDULES = "SCHEDULES"
DEDUPLICATION_SECONDS = 120.0
ACK_WAIT_SECONDS = 30.0
PULL_WAIT_SECONDS = 5.0
RETRY_SECONDS = 1.0

_GIB = 1024**3
_DAY = 86_400.0
_STREAMS = (
    StreamConfig(name=RECORDS, subjects=[subjects.RECORDS_ALL], max_bytes=_GIB, max_age=3 * _DAY),
    StreamConfig(name=EVENTS, subjects=[subjects.EVENTS_ALL], max_bytes=_GIB, max_age=7 * _DAY),
    StreamConfig(name=SCHEDULES, subjects=[subjects.SCHEDULES_ALL], max_bytes=_GIB // 4, allow_msg_schedules=True),
)

Batch = Callable[[list[bytes]], Awaitable[None]]


async def declare(messaging: Messaging) -> None:
    """Make the streams that are absent and bring the others to these settings."""
    stream = messaging.jetstream()
    for settings in _STREAMS:
        wanted = settings.evolve(
            storage=StorageType.FILE, retention=RetentionPolicy.LIMITS, duplicate_window=DEDUPLICATION_SECONDS
        )
        with nats_errors():
            try:
                await stream.update_stream(wanted)
            except nats.js.errors.NotFoundError:
                await stream.add_stream(wanted)


class Append:
    """One message on its way into the stream of its subject: `send`, then `stored`, then `close`."""

    def __init__(self, messaging: Messaging, subject: str, data: bytes, *, message_id: str) -> None:
        self._messaging, self._subject, self._data = messaging, subject, data
        self._headers = {"Nats-Msg-Id": message_id}
        self._conversation: Conversation | None = None

    async def send(self) -> None:
        self._conversation = await self._messaging.begin(self._subject, self._data, headers=self._headers)

    async def stored(self, *, timeout_seconds: float) -> None:
        """Returns when the stream has it. Raises Unavailable when it may not have, DeadlineExceeded on silence."""
        assert self._conversation is not None, "send comes first"
        try:
            answer = await self._conversation.next(timeout_seconds)
        except NoResponders as error:
            raise Unavailable("no stream takes this subject", detail=self._subject, retry_after_seconds=1) from error
        outcome = orjson.loads(answer)
        if "error" in outcome:
            detail = str(outcome["error"])[:500]
            raise Unavailable("the stream refused a message", detail=detail, retry_after_seconds=1)

    def close(self) -> None:
        if self._conversation is not None:
            self._messaging.end(self._conversation)


class Pull(NamedTuple):
    """How one consumer reads: at most `batch` messages at once, and after fewer a pause, so that the next has more."""

    stream: str
    durable: str
    batch: int
    pause_seconds: float = 0.0


async def consume(messaging: Messaging, pull: Pull, handle: Batch, *, stopping: asyncio.Event) -> None:
    """Read batches until `stopping`; acknowledge a batch after `handle` returned.

    A FleetError of `handle` leaves the batch to be delivered again after a short while; nothing is dropped here.
    """
    while not stopping.is_set():
        try:
            await _consume(messaging, pull, handle, stopping)
        except FleetError as error:
            log.warning("a stream could not be consumed", stream=pull.stream, code=error.code, detail=error.detail)
            await asyncio.sleep(RETRY_SECONDS)


async def _consume(messaging: Messaging, pull: Pull, handle: Batch, stopping: asyncio.Event) -> None:
    config = ConsumerConfig(
        durable_name=pull.durable,
        ack_policy=AckPolicy.EXPLICIT,
        deliver_policy=DeliverPolicy.ALL,
        ack_wait=ACK_WAIT_SECONDS,
        max_ack_pending=20_000,
    )
    with nats_errors():
        context = messaging.jetstream()
        await context.add_consumer(pull.stream, config)
        subscription = await context.pull_subscribe_bind(pull.durable, pull.stream)
    try:
        while not stopping.is_set():
            messages = await _pull(subscription, pull.batch)
            if messages:
                await handle([message.data for message in messages])
                await _acknowledge(messages)
            if 0 < len(messages) < pull.batch:
                await asyncio.sleep(pull.pause_seconds)
    finally:
        with nats_errors():
            await subscription.unsubscribe()


async def _pull(subscription: object, batch: int) -> list[Msg]:
    with nats_errors():
        try:
            messages: list[Msg] = await subscription.fetch(batch, timeout=PULL_WAIT_SECONDS)  # type: ignore[attr-defined]
        except (TimeoutError, nats.errors.TimeoutError):
            return []
    return messages


async def _acknowledge(messages: list[Msg]) -> None:
    with nats_errors():
        for message in messages[:-1]:
            await message.ack()
        await messages[-1].ack_sync(timeout=5)
