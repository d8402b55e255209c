"""Invocations as they come in: verified, not late, or refused; run; answered. And the drain.

Owns the subjects of this worker and every answer on them. A call that is not started is answered `Refused` at once,
so that it can go elsewhere; a call that was started is answered with its outcome and written down.
"""

from __future__ import annotations

import asyncio

import structlog

from schemas import codec, subjects
from schemas.capability import USER_READ
from schemas.errors import DeadlineExceeded, ErrorCode, FleetError, TooLarge, Unavailable
from schemas.ids import WorkerId
from schemas.invocation import LOST_AFTER_SECONDS, Cancel, ExecuteRequest, Finished, Outcome, OutcomeKind, Refused
from service.clock import Clock
from service.messaging import Message, Messaging, Served
from service.metrics import Metrics
from service.tickets import Verifier
from worker.supervisor import invocation as invocations
from worker.supervisor.clock_offset import ClockOffsets
from worker.supervisor.counters import Counters
from worker.supervisor.flights import Flight, Flights
from worker.supervisor.handler import Handler
from worker.supervisor.invocation import Invocation
from worker.supervisor.records import Records
from worker.supervisor.turns import Turns

log = structlog.get_logger()

REPLY_PAUSE_SECONDS = 0.25


class Consumer:
    """`shards`: those to serve in the queue group; None: all."""

    def __init__(
        self,
        messaging: Messaging,
        verifier: Verifier,
        handler: Handler,
        turns: Turns,
        flights: Flights,
        records: Records,
        *,
        worker: WorkerId,
        shards: tuple[int, ...] | None,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self._messaging, self._verifier, self._handler, self._turns = messaging, verifier, handler, turns
        self._flights, self._records, self._worker, self._shards = flights, records, worker, shards
        self._clock, self._metrics = clock, metrics
        self._offsets, self._counters = ClockOffsets(), Counters(metrics)
        self._served: list[Served] = []
        self._cancels: list[Served] = []
        self._draining = False

    async def start(self) -> None:
        """Subscribe; live at the server when this returns."""
        numbers = self._shards
        shared = [subjects.EXECUTE_ALL] if numbers is None else [subjects.execute(shard) for shard in numbers]
        for subject in shared:
            self._served.append(await self._messaging.serve(subject, self._take, queue=subjects.WORKERS_QUEUE))
        self._served.append(await self._messaging.serve(subjects.worker_execute(self._worker), self._take))
        self._cancels.append(await self._messaging.serve(subjects.CANCEL_ALL, self._cancel))

    async def drain(self, *, timeout_seconds: float) -> None:
        """Take nothing more, refuse what waits, finish what runs, for at most `timeout_seconds`. Twice is fine."""
        self._draining = True
        self._turns.drain()
        served, self._served = self._served, []
        cancels, self._cancels = self._cancels, []
        await asyncio.gather(*(one.stop(timeout_seconds=timeout_seconds) for one in served))
        await asyncio.gather(*(one.stop(timeout_seconds=0.1) for one in cancels))

    async def _take(self, message: Message) -> None:
        """Answered on every path: a caller never has to find out by waiting."""
        answered = False
        try:
            try:
                answer = codec.encode(Finished(worker=self._worker, outcome=await self._run(message)))
            except FleetError as error:
                answer = self._refusal(error)
            answered = True
            await self._reply(message, answer)
        finally:
            if not answered:
                await self._reply(message, self._refusal(_broken()))

    async def _reply(self, message: Message, answer: bytes) -> None:
        """Answer, also when the connection is away for a moment; given up when the caller has given up too."""
        until = self._clock.monotonic() + LOST_AFTER_SECONDS
        while True:
            try:
                await message.reply(answer)
                return
            except TooLarge as error:
                answer = codec.encode(Finished(worker=self._worker, outcome=_unsendable(error)))
            except FleetError as error:
                if self._clock.monotonic() > until:
                    log.warning("an answer could not be sent", code=error.code, detail=error.detail)
                    return
                await asyncio.sleep(REPLY_PAUSE_SECONDS)

    async def _run(self, message: Message) -> Outcome:
        received = self._clock.monotonic()
        request: ExecuteRequest = codec.decode(ExecuteRequest, message.data)
        if self._draining:
            raise Unavailable("the worker is stopping", code=ErrorCode.DRAINING, retry_after_seconds=1.0)
        flight = Flight(self._accept(request, received), message)
        with self._flights.track(flight):
            outcome = await self._outcome(flight)
        self._counters.count(flight.invocation.request.origin.trigger, outcome)
        self._records.finished(flight.invocation, outcome)
        return outcome

    async def _outcome(self, flight: Flight) -> Outcome:
        """A call that its caller left before it started is written down here: its front writes nothing any more."""
        try:
            return await self._handler(flight)
        except FleetError as error:
            if flight.cancelled:
                left = Outcome(kind=OutcomeKind.PLATFORM_FAILED, code=error.code, message=error.message, executed=False)
                self._records.finished(flight.invocation, left)
            raise

    def _accept(self, request: ExecuteRequest, received: float) -> Invocation:
        ticket = self._verifier.verify(request.ticket)
        excess_ms = self._offsets.excess_ms(
            request.sender, sent_unix_ms=request.sent_unix_ms, received_ms=int(received * 1000)
        )
        left_ms = request.left_ms - excess_ms
        if left_ms <= 0:
            self._metrics.late.inc()
            raise DeadlineExceeded("the call came after its deadline")
        user = None
        if request.user is not None and USER_READ in ticket.grants:
            user = self._verifier.verify_user(request.user, ticket, request.invocation)
        return invocations.accept(request, ticket, user, received=received, now_unix=self._clock.now(), left_ms=left_ms)

    def _refusal(self, error: FleetError) -> bytes:
        self._metrics.refused.labels(error.code).inc()
        return codec.encode(
            Refused(
                worker=self._worker,
                code=error.code,
                message=error.message,
                retry_after_seconds=error.retry_after_seconds,
            )
        )

    async def _cancel(self, message: Message) -> None:
        cancel: Cancel = codec.decode(Cancel, message.data)
        if self._flights.cancel(cancel.invocation):
            log.info("a call was cancelled by its caller", invocation=cancel.invocation)


def _unsendable(error: TooLarge) -> Outcome:
    return Outcome(
        kind=OutcomeKind.GUEST_FAILED,
        code=ErrorCode.GUEST_BAD_RESPONSE,
        message=f"the extension's response cannot be sent: {error.message}",
    )


def _broken() -> FleetError:
    return FleetError("the worker failed to run the call")
