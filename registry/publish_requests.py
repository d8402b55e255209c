"""`ext.publish` and `ext.precompile`: questions that take long, answered on the asker's inbox.

Owns the conversation: a sign of life every second, then one answer; the deadline; and that work is done once, however
many ask for it at the same time. What is done is `registry/publishing.py`'s and `registry/rebuilding.py`'s.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from registry.publishing import Publishing, Step
from registry.rebuilding import Rebuilding
from schemas import codec, subjects
from schemas.codec import Wire
from schemas.errors import DeadlineExceeded, ErrorCode, Exhausted, FleetError, Internal, Unavailable
from schemas.publishing import (
    PUBLISH_ALIVE_EVERY_SECONDS,
    PUBLISH_DEADLINE_SECONDS,
    PrecompileRequest,
    PublishAlive,
    PublishFailed,
    PublishRequest,
)
from service.messaging import Message, Messaging
from service.metrics import Metrics

log = structlog.get_logger()

CONCURRENCY = 64
"""Conversations at once, on each subject."""
WORK_AT_ONCE = 4
"""Each holds an unpacked component in memory, 128 MiB at most. Compiling is bounded further, by the jail."""
FLIGHTS_PER_PUBLISHER = 4
WORKERS = "workers"
"""Who asks for code that is missing. They are few, and ours."""
DRAIN_SECONDS = 30.0

Work = Callable[[Step], Awaitable[Wire]]


class _Flight:
    """One piece of work under way. `answer` is set once, whatever becomes of the work."""

    def __init__(self, asker: str) -> None:
        self.asker = asker
        self.step = "waiting for room"
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def begin(self, step: str) -> None:
        self.step = step


class PublishRequests:
    """Answers both subjects."""

    def __init__(self, publishing: Publishing, rebuilding: Rebuilding, metrics: Metrics) -> None:
        self._publishing, self._rebuilding, self._metrics = publishing, rebuilding, metrics
        self._flights: dict[str, _Flight] = {}
        self._room = asyncio.Semaphore(WORK_AT_ONCE)

    @asynccontextmanager
    async def serving(self, messaging: Messaging) -> AsyncIterator[None]:
        """Answer while the context lasts; at its end what runs may finish for a while."""
        async with contextlib.AsyncExitStack() as running:
            for subject, handler in ((subjects.PUBLISH, self._publish), (subjects.PRECOMPILE, self._precompile)):
                served = await messaging.serve(subject, handler, queue=subjects.REGISTRY_QUEUE, concurrency=CONCURRENCY)
                running.push_async_callback(served.stop, timeout_seconds=DRAIN_SECONDS)
            yield

    async def _publish(self, message: Message) -> None:
        request: PublishRequest = codec.decode(PublishRequest, message.data)
        structlog.contextvars.bind_contextvars(request_id=request.request_id, staging_key=request.staging_key)
        await self._answer(
            message,
            request.staging_key,
            lambda step: self._publishing.publish(request, step=step),
            asker=request.publisher_id,
        )

    async def _precompile(self, message: Message) -> None:
        request: PrecompileRequest = codec.decode(PrecompileRequest, message.data)
        name = f"{request.engine_fingerprint} {request.content_hash}"
        await self._answer(message, name, lambda step: self._rebuilding.rebuild(request, step=step), asker=WORKERS)

    async def _answer(self, message: Message, name: str, work: Work, *, asker: str) -> None:
        """Join the flight of this name, or be it."""
        flight = self._flights.get(name)
        if flight is not None:
            await _say_alive(message, flight)
            await message.reply(flight.answer.result())
            return
        flight = self._flights[name] = _Flight(asker)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_say_alive(message, flight), name="say that publishing goes on")
                await self._run(flight, work)
        finally:
            del self._flights[name]
            await message.reply(flight.answer.result())

    async def _run(self, flight: _Flight, work: Work) -> None:
        """Does the work and sets the answer, even to a bug of ours, which is then raised."""
        failed: FleetError = Internal("publishing failed")
        reply: Wire | None = None
        try:
            async with asyncio.timeout(PUBLISH_DEADLINE_SECONDS):
                self._check_share(flight)
                async with self._room:
                    reply = await work(flight.begin)
        except FleetError as error:
            failed = error
        except TimeoutError:
            failed = DeadlineExceeded(f"publishing took longer than {PUBLISH_DEADLINE_SECONDS:.0f} s at: {flight.step}")
        except asyncio.CancelledError:
            failed = Unavailable("this process is stopping", code=ErrorCode.DRAINING, retry_after_seconds=1)
            raise
        finally:
            if reply is None:
                log.info("a bundle was refused", code=failed.code, message=failed.message, detail=failed.detail)
            self._metrics.published.labels("ok" if reply else failed.code.value).inc()
            flight.answer.set_result(codec.encode(reply or _failure(failed)))

    def _check_share(self, flight: _Flight) -> None:
        """One publisher's bundles that take long to compile must not keep the others waiting."""
        under_way = sum(other.asker == flight.asker for other in self._flights.values())
        if flight.asker != WORKERS and under_way > FLIGHTS_PER_PUBLISHER:
            raise Exhausted(
                f"{FLIGHTS_PER_PUBLISHER} bundles of this publisher are being published already",
                code=ErrorCode.CONCURRENCY_EXCEEDED,
                retry_after_seconds=5,
            )


async def _say_alive(message: Message, flight: _Flight) -> None:
    """Until there is an answer. A sign of life that cannot be sent is not the work's fault."""
    while not flight.answer.done():
        with contextlib.suppress(FleetError):
            await message.reply(codec.encode(PublishAlive(step=flight.step)))
        await asyncio.wait({flight.answer}, timeout=PUBLISH_ALIVE_EVERY_SECONDS)


def _failure(error: FleetError) -> PublishFailed:
    return PublishFailed(
        code=error.code, message=error.message, extra=error.extra, retry_after_seconds=error.retry_after_seconds
    )
