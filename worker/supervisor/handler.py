"""One invocation as the supervisor sees it: a module, a turn, an executor, an outcome.

Owns the order of the steps and decides nothing: limits and grants come with the invocation, turns are
`fair_queue.py`'s, executors and killing `slots.py`'s and `executor.py`'s. What did not start raises a FleetError;
what started has an Outcome.
"""

from __future__ import annotations

from schemas.errors import DeadlineExceeded, ErrorCode, Unavailable
from schemas.invocation import Outcome, OutcomeKind, Usage
from service.clock import Clock
from worker.frames import Done
from worker.supervisor import invocation as invocations
from worker.supervisor.executor import Ears, End, Executor, ExecutorLost, LoadRefused
from worker.supervisor.flights import Flight
from worker.supervisor.host_calls import HostCalls, Session
from worker.supervisor.modules import Module, Modules
from worker.supervisor.slots import Slots
from worker.supervisor.turns import Turn, Turns


class Handler:
    """Runs invocations."""

    def __init__(self, modules: Modules, turns: Turns, slots: Slots, host_calls: HostCalls, clock: Clock) -> None:
        self._modules, self._turns, self._slots = modules, turns, slots
        self._host_calls, self._clock = host_calls, clock

    async def __call__(self, flight: Flight) -> Outcome:
        """The outcome of what ran. Raises a FleetError for what did not start."""
        ticket = flight.invocation.ticket
        # The module first: a fetch waits without a turn, so that cold code never holds up warm calls.
        module = await self._modules.hold(ticket.content_hash, wait_seconds=self._left(flight) / 2)
        try:
            turn = await self._turns.take(flight)
            try:
                return await self._in_turn(flight, module, turn)
            finally:
                self._turns.give_back(turn)
        finally:
            module.release()

    async def _in_turn(self, flight: Flight, module: Module, turn: Turn) -> Outcome:
        self._check(flight)
        executor = await self._slots.take(flight.invocation.tenant, module.content_hash)
        try:
            await self._load(executor, module)
            self._check(flight)
            return await self._run(flight, executor, turn)
        finally:
            self._slots.give_back(executor)

    async def _load(self, executor: Executor, module: Module) -> None:
        if executor.has_loaded(module.content_hash):
            return
        try:
            await executor.load(module.content_hash, module.descriptor)
        except LoadRefused:
            await self._modules.reject(module)
            raise Unavailable("the extension's code cannot be loaded here now", retry_after_seconds=5.0) from None
        except ExecutorLost as lost:
            raise Unavailable(
                "an executor ended before the call began",
                code=ErrorCode.OVERLOADED,
                detail=lost.detail,
                retry_after_seconds=1.0,
            ) from lost

    async def _run(self, flight: Flight, executor: Executor, turn: Turn) -> Outcome:
        invocation, started, cpu_before = flight.invocation, self._clock.monotonic(), executor.cpu_seconds()
        session = self._host_calls.open(invocation, executor)
        flight.started = True
        flight.on_cancel = lambda: executor.kill(End.CANCELLED)
        frame = invocations.run_frame(invocation, now=started)
        done: Done | None = None
        try:
            done = await executor.run(frame, Ears(session.on_call, session.on_note))
        except ExecutorLost as lost:
            end = lost.end
        finally:
            flight.on_cancel = None
            await session.close()
            turn.seconds = self._clock.monotonic() - started
            turn.cpu_ms = max(0.0, executor.cpu_seconds() - cpu_before) * 1000
        usage = _usage(done, session, turn, queue_ms=(started - invocation.received) * 1000, memory_mb=frame.memory_mb)
        return lost_outcome(end, usage, timeout_ms=frame.timeout_ms) if done is None else outcome_of(done, usage)

    def _check(self, flight: Flight) -> None:
        if flight.cancelled:
            raise DeadlineExceeded("the caller has gone")
        if self._left(flight) <= 0:
            raise DeadlineExceeded("the deadline of the call passed before it could start")

    def _left(self, flight: Flight) -> float:
        return flight.invocation.deadline - self._clock.monotonic()


def outcome_of(done: Done, usage: Usage) -> Outcome:
    """What the executor said, with usage as it was measured."""
    return Outcome(kind=done.kind, usage=usage, response=done.response, code=done.code, message=done.message)


def lost_outcome(end: End, usage: Usage, *, timeout_ms: int) -> Outcome:
    """The outcome of a call whose executor is gone."""
    if end is End.OVERRAN:
        return Outcome(
            kind=OutcomeKind.LIMIT_EXCEEDED,
            usage=usage,
            code=ErrorCode.DEADLINE_EXCEEDED,
            message=f"the call ran longer than its {timeout_ms} ms",
        )
    if end is End.CANCELLED:
        return Outcome(kind=OutcomeKind.PLATFORM_FAILED, usage=usage, message="the caller has gone")
    return Outcome(
        kind=OutcomeKind.GUEST_FAILED,
        usage=usage,
        code=ErrorCode.GUEST_TRAP,
        message="the extension's code ended its process",
    )


def _usage(done: Done | None, session: Session, turn: Turn, *, queue_ms: float, memory_mb: int) -> Usage:
    """CPU time is the kernel's count, not the executor's word; memory of a lost one is what it was granted."""
    return Usage(
        duration_ms=round((turn.seconds or 0.0) * 1000, 3),
        queue_ms=round(max(0.0, queue_ms), 3),
        cpu_ms=round(turn.cpu_ms, 3),
        memory_mb=memory_mb if done is None else min(done.memory_mb, memory_mb),
        fuel=0 if done is None else done.fuel,
        egress_bytes=session.egress_bytes,
        host_calls=session.calls if done is None else max(session.calls, done.host_calls),
    )
