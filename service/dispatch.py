"""An invocation to its shard, or once more to one live worker; its outcome back.

Owns the conversation with a worker: acceptance, liveness, loss, the one retry, cancellation. Whether a repeat is
safe is the caller's to say; whether anything ran is the worker's.

A call not refused and not finished is answered `Accepted` after 250 ms, then `Alive` every second on the same
inbox. Nothing heard for 3 s: the worker is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import NamedTuple

import msgspec

from schemas import codec, subjects
from schemas.call import Deadline
from schemas.errors import DeadlineExceeded, ErrorCode, FleetError
from schemas.ids import WorkerId
from schemas.invocation import (
    LOST_AFTER_SECONDS,
    Accepted,
    Alive,
    Cancel,
    ExecuteRequest,
    Finished,
    Outcome,
    OutcomeKind,
    Refused,
    Reply,
)
from service.clock import Clock
from service.messaging import Conversation, LiveKeys, Messaging, NoResponders

ANSWER_GRACE_SECONDS = 0.25
"""After the deadline a worker still needs to kill, classify and answer."""
WORKERS_BUCKET = "workers"
WORKER_TTL_SECONDS = 3.0


class WorkerKey(codec.Wire, frozen=True):
    """What a worker says of itself in the bucket. `shards` None: all of them."""

    worker: str
    draining: bool = False
    shards: tuple[int, ...] | None = None


class _Try(NamedTuple):
    """How one try ended: an outcome, or why not and whether anything may have started."""

    outcome: Outcome | None
    code: ErrorCode = ErrorCode.NO_WORKER
    message: str = ""
    worker: str | None = None
    started: bool = False
    retry_after_seconds: float | None = None


class Dispatcher:
    """Sends invocations of one front to the workers."""

    def __init__(self, messaging: Messaging, workers: LiveKeys, clock: Clock) -> None:
        self._messaging, self._workers, self._clock = messaging, workers, clock

    async def dispatch(self, request: ExecuteRequest, *, shard: int, deadline: Deadline, repeatable: bool) -> Outcome:
        """The outcome of the invocation, whatever it is; never raises for a worker's failure.

        `repeatable`: running it twice is harmless, so it may be tried again although it may have started.
        """
        try:
            first = await self._try(subjects.execute(shard), request, deadline)
            if first.outcome is not None:
                return first.outcome
            if first.started and not repeatable:
                return _failed(first)
            other = self._another(first.worker, shard)
            if other is None or deadline.left(self._clock.monotonic()) <= 0:
                return _failed(first)
            second = await self._try(subjects.worker_execute(other), self._again(request, deadline), deadline)
            return second.outcome or _failed(second if second.started or first.code is ErrorCode.NO_WORKER else first)
        except asyncio.CancelledError:
            await self._cancel(request, shard)
            raise

    def live_workers(self) -> list[WorkerKey]:
        keys: list[WorkerKey] = []
        for value in self._workers.current().values():
            with contextlib.suppress(FleetError):
                keys.append(codec.decode(WorkerKey, value))
        return keys

    async def _try(self, subject: str, request: ExecuteRequest, deadline: Deadline) -> _Try:
        try:
            async with self._messaging.conversation(subject, codec.encode(request)) as conversation:
                return await self._listen(conversation, deadline)
        except NoResponders:
            return _Try(None, message="no worker serves this tenant now", retry_after_seconds=1)
        except FleetError as error:
            return _Try(None, error.code, error.message, retry_after_seconds=error.retry_after_seconds)

    async def _listen(self, conversation: Conversation, deadline: Deadline) -> _Try:
        worker, started = None, False
        while True:
            left = deadline.left(self._clock.monotonic()) + ANSWER_GRACE_SECONDS
            try:
                reply: Reply = codec.decode(Reply, await conversation.next(min(left, LOST_AFTER_SECONDS)))
            except DeadlineExceeded:
                return self._silence(left, worker)
            match reply:
                case Finished():
                    return _Try(reply.outcome)
                case Refused():
                    return _Try(
                        None, reply.code, reply.message, reply.worker, retry_after_seconds=reply.retry_after_seconds
                    )
                case Accepted() | Alive():
                    worker, started = reply.worker, reply.started or started

    def _silence(self, left: float, worker: str | None) -> _Try:
        """Silence never says that nothing started: the worker may have died in the middle of the call."""
        if left <= LOST_AFTER_SECONDS:
            late = Outcome(
                kind=OutcomeKind.LIMIT_EXCEEDED,
                code=ErrorCode.DEADLINE_EXCEEDED,
                message="the deadline of the call has passed",
            )
            return _Try(late, worker=worker)
        return _Try(
            None, message="the worker that ran the call was lost", worker=worker, started=True, retry_after_seconds=1
        )

    def _another(self, refused_by: str | None, shard: int) -> WorkerId | None:
        """A live worker of this shard other than the one that refused."""
        candidates = [
            key.worker
            for key in self.live_workers()
            if key.worker != refused_by and not key.draining and (key.shards is None or shard in key.shards)
        ]
        return WorkerId(random.choice(candidates)) if candidates else None  # noqa: S311 - spreads load, guards nothing

    def _again(self, request: ExecuteRequest, deadline: Deadline) -> ExecuteRequest:
        left_ms = deadline.left_ms(self._clock.monotonic())
        return msgspec.structs.replace(request, left_ms=left_ms, sent_unix_ms=int(self._clock.now() * 1000))

    async def _cancel(self, request: ExecuteRequest, shard: int) -> None:
        with contextlib.suppress(FleetError):
            await self._messaging.publish(subjects.cancel(shard), codec.encode(Cancel(invocation=request.invocation)))


def _failed(attempt: _Try) -> Outcome:
    code = attempt.code
    return Outcome(
        kind=OutcomeKind.PLATFORM_FAILED,
        code=code,
        message=attempt.message or "no worker could run the call",
        executed=attempt.started,
    )
