"""Core NATS and key-value buckets: connect, publish, request, converse, serve, watch; its errors become FleetErrors.

Owns the connection of a process and one inbox for all replies. Streams are `service/streams.py`'s. What a reply
means is its reader's business: here "nobody subscribes" is NoResponders, and a caller gives it a meaning.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

import nats
import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.api import KeyValueConfig, StorageType
from nats.js.kv import KeyValue

from schemas.errors import DeadlineExceeded, FleetError, TooLarge, Unavailable
from service.clock import Clock
from service.lifecycle import TaskOwner

log = structlog.get_logger()

PING_INTERVAL_SECONDS = 1
MAX_MISSED_PINGS = 2
"""A stopped peer is a black hole under the library's own 2 minutes (hazards F32)."""
RECONNECT_WAIT_SECONDS = 1
CONNECT_TIMEOUT_SECONDS = 5
NO_RESPONDERS_STATUS = "503"
PENDING_BYTES = 64 * 1024 * 1024

Handler = Callable[["Message"], Awaitable[None]]


class NoResponders(Unavailable):
    """Nobody subscribes to the subject; the server said so at once."""


class Message:
    """One received message."""

    __slots__ = ("_messaging", "_reply", "data", "headers", "subject")

    def __init__(self, messaging: Messaging, message: Msg) -> None:
        self._messaging = messaging
        self._reply = message.reply
        self.subject: str = message.subject
        self.data: bytes = message.data
        self.headers: dict[str, str] = message.headers or {}

    @property
    def can_reply(self) -> bool:
        return bool(self._reply)

    async def reply(self, data: bytes) -> None:
        """Answer on the sender's inbox; may be called more than once."""
        if self._reply:
            await self._messaging.publish(self._reply, data)


class Conversation:
    """Replies to one request, as they come."""

    def __init__(self, inbox: str, token: str) -> None:
        self.inbox, self.token = inbox, token
        self._replies: asyncio.Queue[Msg] = asyncio.Queue()

    def deliver(self, message: Msg) -> None:
        self._replies.put_nowait(message)

    async def next(self, timeout_seconds: float) -> bytes:
        """The next reply. Raises NoResponders when nobody listens, DeadlineExceeded when none comes in time."""
        try:
            message = await asyncio.wait_for(self._replies.get(), max(0.0, timeout_seconds))
        except TimeoutError:
            raise DeadlineExceeded(f"no reply within {timeout_seconds:.1f} s") from None
        if message.headers and message.headers.get("Status") == NO_RESPONDERS_STATUS and not message.data:
            raise NoResponders("nobody serves this subject", retry_after_seconds=1)
        data: bytes = message.data
        return data


class Served:
    """A subscription whose handlers run as owned tasks."""

    def __init__(self, subscription: Subscription, tasks: TaskOwner) -> None:
        self._subscription, self._tasks = subscription, tasks

    async def stop(self, *, timeout_seconds: float = 30) -> None:
        """Take nothing more, let what runs finish for at most `timeout_seconds`, then cancel it."""
        with contextlib.suppress(nats.errors.Error):
            await self._subscription.drain()
        await self._tasks.join(timeout_seconds=timeout_seconds)
        await self._tasks.close()


class Messaging:
    """One NATS connection of one process. Made by `connect`."""

    def __init__(self, client: Client, *, role: str, tasks: TaskOwner) -> None:
        self._client = client
        self._tasks = tasks
        self._prefix = f"_INBOX_{role}.{secrets.token_hex(11)}"
        self._numbers = itertools.count(1)
        self._conversations: dict[str, Conversation] = {}
        self._on_reconnect: list[Callable[[], object]] = []

    @classmethod
    @asynccontextmanager
    async def connect(cls, url: str, *, name: str, role: str) -> AsyncIterator[Messaging]:
        """Connect as `name`; replies come to inboxes below `_INBOX_<role>`. Reconnects for ever."""
        client = Client()
        async with TaskOwner() as tasks:
            messaging = cls(client, role=role, tasks=tasks)
            await messaging._open(url, name)
            try:
                yield messaging
            finally:
                with contextlib.suppress(nats.errors.Error, OSError, asyncio.TimeoutError):
                    await client.flush(2)
                await client.close()

    @property
    def is_connected(self) -> bool:
        return bool(self._client.is_connected)

    @property
    def max_payload_bytes(self) -> int:
        return int(self._client.max_payload)

    def on_reconnect(self, callback: Callable[[], object]) -> None:
        """Call this after every reconnect: what was cached under NATS invalidation may be stale."""
        self._on_reconnect.append(callback)

    async def publish(self, subject: str, data: bytes, *, headers: dict[str, str] | None = None) -> None:
        self._check(data)
        with nats_errors():
            await self._client.publish(subject, data, headers=headers)

    async def request(
        self, subject: str, data: bytes, *, timeout_seconds: float, headers: dict[str, str] | None = None
    ) -> bytes:
        """One question, one answer. NoResponders, DeadlineExceeded or Unavailable when there is none."""
        async with self.conversation(subject, data, headers=headers) as conversation:
            return await conversation.next(timeout_seconds)

    @asynccontextmanager
    async def conversation(
        self, subject: str, data: bytes, *, headers: dict[str, str] | None = None
    ) -> AsyncIterator[Conversation]:
        """Publish `data` and collect every reply until the context ends."""
        conversation = await self.begin(subject, data, headers=headers)
        try:
            yield conversation
        finally:
            self.end(conversation)

    async def begin(self, subject: str, data: bytes, *, headers: dict[str, str] | None = None) -> Conversation:
        """Publish `data` and collect replies until `end`, for callers whose conversation outlives a block."""
        self._check(data)
        token = str(next(self._numbers))
        conversation = self._conversations[token] = Conversation(f"{self._prefix}.{token}", token)
        try:
            with nats_errors():
                await self._client.publish(subject, data, reply=conversation.inbox, headers=headers)
        except BaseException:
            self.end(conversation)
            raise
        return conversation

    def end(self, conversation: Conversation) -> None:
        self._conversations.pop(conversation.token, None)

    async def serve(self, subject: str, handler: Handler, *, queue: str = "", concurrency: int | None = None) -> Served:
        """Run `handler` for each message, at most `concurrency` at once; live at the server when this returns."""
        tasks = TaskOwner()
        room = asyncio.Semaphore(concurrency) if concurrency else None

        async def take(message: Msg) -> None:
            if room is not None:
                await room.acquire()
            task = tasks.start(_guarded(handler, Message(self, message)), name=f"serve {subject}")
            if room is not None:
                task.add_done_callback(lambda _: room.release())

        with nats_errors():
            subscription = await self._client.subscribe(
                subject, queue=queue, cb=take, pending_bytes_limit=PENDING_BYTES
            )
        await self.flush()
        return Served(subscription, tasks)

    async def flush(self) -> None:
        """Return after a round trip: what was subscribed and published before is known to the server.

        Two, because nats-py writes a ping ahead of commands that are still in its buffer.
        """
        with nats_errors():
            await self._client.flush(CONNECT_TIMEOUT_SECONDS)
            await self._client.flush(CONNECT_TIMEOUT_SECONDS)

    async def bucket(self, name: str, *, ttl_seconds: float | None = None) -> Bucket:
        """The key-value bucket `name`, made if absent; its keys expire `ttl_seconds` after their last put, or never."""
        with nats_errors():
            store = await _open_bucket(self._client.jetstream(), name, ttl_seconds)
        return Bucket(store, ttl_seconds)

    def jetstream(self) -> JetStreamContext:
        """For `service/streams.py` alone."""
        return self._client.jetstream()

    async def _open(self, url: str, name: str) -> None:
        with nats_errors():
            await self._client.connect(
                url,
                name=name,
                inbox_prefix=self._prefix.encode(),
                allow_reconnect=True,
                max_reconnect_attempts=-1,
                reconnect_time_wait=RECONNECT_WAIT_SECONDS,
                connect_timeout=CONNECT_TIMEOUT_SECONDS,
                ping_interval=PING_INTERVAL_SECONDS,
                max_outstanding_pings=MAX_MISSED_PINGS,
                error_cb=_log_error,
                disconnected_cb=self._disconnected,
                reconnected_cb=self._reconnected,
            )
            await self._client.subscribe(f"{self._prefix}.*", cb=self._deliver, pending_bytes_limit=PENDING_BYTES)
        await self.flush()

    async def _deliver(self, message: Msg) -> None:
        conversation = self._conversations.get(message.subject.rpartition(".")[2])
        if conversation is not None:
            conversation.deliver(message)

    async def _disconnected(self) -> None:
        if not self._client.is_closed:
            log.warning("disconnected from NATS")

    async def _reconnected(self) -> None:
        log.info("reconnected to NATS")
        for callback in self._on_reconnect:
            callback()

    def _check(self, data: bytes) -> None:
        if not self._client.is_connected:
            raise Unavailable("the message system is not connected", retry_after_seconds=1)
        if len(data) > self._client.max_payload:
            raise TooLarge(f"message is {len(data)} bytes, over the limit of {self._client.max_payload}")


class Bucket:
    """A key-value bucket with expiring keys. A key lives on while its owner puts it again."""

    def __init__(self, store: KeyValue, ttl_seconds: float | None) -> None:
        self._store, self._ttl_seconds = store, math.inf if ttl_seconds is None else ttl_seconds

    async def get(self, key: str) -> bytes | None:
        with nats_errors():
            try:
                entry = await self._store.get(key)
            except nats.js.errors.NotFoundError:
                return None
        value: bytes | None = entry.value
        return value

    async def create(self, key: str, value: bytes) -> bool:
        """Put a key that is not there; False when it is."""
        with nats_errors():
            try:
                await self._store.create(key, value)
            except nats.js.errors.KeyWrongLastSequenceError:
                return False
        return True

    async def put(self, key: str, value: bytes) -> None:
        with nats_errors():
            await self._store.put(key, value)

    async def delete(self, key: str) -> None:
        with nats_errors():
            await self._store.delete(key)

    async def watch(self, tasks: TaskOwner, clock: Clock) -> LiveKeys:
        """A view of the living keys that keeps itself up to date; complete when this returns."""
        live = LiveKeys(clock, self._ttl_seconds)
        with nats_errors():
            watcher = await self._store.watchall()
        ready = asyncio.Event()
        tasks.start(_follow(watcher, live, ready), name="watch bucket")
        await asyncio.wait_for(ready.wait(), CONNECT_TIMEOUT_SECONDS)
        return live


class LiveKeys:
    """The keys of a bucket that were put within its life time. Expiry sends no message, so age is judged here."""

    def __init__(self, clock: Clock, ttl_seconds: float) -> None:
        self._clock, self._ttl_seconds = clock, ttl_seconds
        self._entries: dict[str, tuple[bytes, float]] = {}

    def put(self, key: str, value: bytes, *, age_seconds: float) -> None:
        self._entries[key] = (value, self._clock.monotonic() - age_seconds)

    def remove(self, key: str) -> None:
        self._entries.pop(key, None)

    def current(self) -> dict[str, bytes]:
        oldest = self._clock.monotonic() - self._ttl_seconds
        return {key: value for key, (value, at) in self._entries.items() if at >= oldest}


async def _follow(watcher: KeyValue.KeyWatcher, live: LiveKeys, ready: asyncio.Event) -> None:
    while True:
        try:
            entry = await watcher.updates(timeout=3600)
        except TimeoutError:
            continue
        if entry is None:
            ready.set()
        elif entry.operation in ("DEL", "PURGE") or entry.value is None:
            live.remove(entry.key)
        else:
            live.put(entry.key, entry.value, age_seconds=0)


async def _open_bucket(stream: JetStreamContext, name: str, ttl_seconds: float | None) -> KeyValue:
    try:
        return await stream.key_value(name)
    except nats.js.errors.NotFoundError:
        pass
    try:
        return await stream.create_key_value(KeyValueConfig(bucket=name, ttl=ttl_seconds, storage=StorageType.FILE))
    except nats.js.errors.BadRequestError:
        # Another process made it in between.
        return await stream.key_value(name)


async def _guarded(handler: Handler, message: Message) -> None:
    try:
        await handler(message)
    except FleetError as error:
        log.warning("a message was not handled", subject=message.subject, code=error.code, message=error.message)
    except Exception:
        log.exception("a handler failed", subject=message.subject)


async def _log_error(error: Exception) -> None:
    log.warning("NATS reported an error", error=str(error)[:500])


@contextmanager
def nats_errors() -> Iterator[None]:
    """The seam: what nats-py raises becomes a FleetError."""
    try:
        yield
    except nats.errors.NoRespondersError as error:
        raise NoResponders("nobody serves this subject", retry_after_seconds=1) from error
    except nats.errors.MaxPayloadError as error:
        raise TooLarge("message is over the message system's limit") from error
    except (nats.errors.Error, OSError, TimeoutError) as error:
        raise Unavailable("the message system is not available", detail=repr(error), retry_after_seconds=1) from error
