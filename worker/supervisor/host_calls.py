"""What a guest asks of the platform: granted? then answered here, by a host service, or with the typed refusal.

Owns the session of one invocation: its count of calls, the fetches and secrets it was given, the calls under way.
Every answer is a host value of the function's own type (`schemas/capability.py`): a refusal is never a trap.
"""

from __future__ import annotations

import asyncio
from typing import Any

from schemas import codec, subjects
from schemas.capability import INTERFACES, Answerer, Function, Interface, Ok
from schemas.errors import DeadlineExceeded, ErrorCode, FleetError
from schemas.host import HostAnswer, HostReply, HostRequest
from schemas.invocation import MAX_HOST_CALLS
from service.clock import Clock
from service.lifecycle import TaskOwner
from service.messaging import Messaging, NoResponders
from service.metrics import Metrics
from worker.frames import Call, Note
from worker.supervisor.egress import Allowance, Egress
from worker.supervisor.executor import Executor
from worker.supervisor.guest_log import GuestLog, InvocationLog
from worker.supervisor.guest_metrics import GuestMetrics, InvocationMetrics
from worker.supervisor.invocation import Invocation

TIMEOUT_SECONDS = 5.0
SLOW_TIMEOUT_SECONDS = {"invoicing": 10.0, "clients": 10.0, "services": 10.0}
"""What the host application answers may take longer (`compat.md` 3.5)."""
LEVELS = {"log-info": "info", "log-warn": "warn", "log-error": "error"}
OUTPUT_LEVELS = {"stdout": "info", "stderr": "error"}
"""What a guest wrote to its WASI streams comes as notes of these names."""


class HostCalls:
    """Answers the host calls of every guest in this worker."""

    def __init__(
        self,
        messaging: Messaging,
        egress: Egress,
        log: GuestLog,
        guest_metrics: GuestMetrics,
        *,
        clock: Clock,
        metrics: Metrics,
    ) -> None:
        self.messaging, self.egress, self.clock, self.metrics = messaging, egress, clock, metrics
        self._log, self._guest_metrics = log, guest_metrics
        self.tasks = TaskOwner()

    async def aclose(self) -> None:
        """Every session is over."""
        await self.tasks.close()

    def open(self, invocation: Invocation, executor: Executor) -> Session:
        """A session for one invocation; `close` it when the invocation ends."""
        return Session(
            self, invocation, executor, self._log.open(invocation), self._guest_metrics.open(invocation.ticket)
        )


class Session:
    """The host calls of one invocation. `on_call` and `on_note` are an executor's `Ears`."""

    def __init__(
        self,
        host: HostCalls,
        invocation: Invocation,
        executor: Executor,
        log: InvocationLog,
        guest_metrics: InvocationMetrics,
    ) -> None:
        self._host, self._invocation, self._executor = host, invocation, executor
        self._log, self._guest_metrics = log, guest_metrics
        self._allowance = Allowance()
        self._running: asyncio.Task[None] | None = None
        self.calls = 0

    @property
    def egress_bytes(self) -> int:
        return self._allowance.bytes

    def on_call(self, call: Call) -> None:
        """Start answering. One at a time: the guest waits, so a second call before the answer ends the executor.

        Only past its deadline may a call come before the answer to the last one: that one was given up.
        """
        interface = INTERFACES.get(call.interface)
        function = None if interface is None else _find(interface, call.function)
        if self._running is not None and not self._running.done():
            if self._host.clock.monotonic() < self._invocation.deadline:
                self._executor.kill()
            return
        if interface is None or function is None or interface.answerer is Answerer.EXECUTOR:
            self._executor.kill()
            return
        self.calls += 1
        refused = self._refuse(interface, function)
        if refused is not None:
            self._executor.answer(call.ordinal, refused)
            self._count(interface, function, "refused")
            return
        self._running = self._host.tasks.start(self._answer(call, interface, function), name="host call")

    def on_note(self, note: Note) -> None:
        """A line of log, captured output or a metric; whatever else it may be is nothing to us."""
        match note.interface, note.function, note.arguments:
            case "logging", level, [str(line)] if level in LEVELS:
                self._log.write(line, level=LEVELS[level], stream="log")
            case stream, "line", [str(line)] if stream in OUTPUT_LEVELS:
                self._log.write(line, level=OUTPUT_LEVELS[stream], stream=stream)
            case "metrics", function, [name, value, labels]:
                self._guest_metrics.record(function, name, value, labels)
            case _:
                return

    async def close(self) -> None:
        """The invocation has ended: what it still asks for is cancelled."""
        if self._running is not None and not self._running.done():
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def _refuse(self, interface: Interface, function: Function) -> Any:
        """The value of a call that will not be made; None for one that will."""
        if interface.capability not in self._invocation.grants:
            return function.denied
        if self.calls > MAX_HOST_CALLS:
            if self.calls == MAX_HOST_CALLS + 1:
                self._explain(interface, function, f"over the limit of {MAX_HOST_CALLS} host calls in one invocation")
            return function.failed
        return None

    async def _answer(self, call: Call, interface: Interface, function: Function) -> None:
        """The guest waits, so it is answered also when answering breaks; only not when its call is over."""
        left = self._invocation.deadline - self._host.clock.monotonic()
        answer = self._fetch if interface.answerer is Answerer.SUPERVISOR else self._ask
        value, is_over = function.failed, False
        try:
            value = await answer(call, interface, function, left)
        except asyncio.CancelledError:
            is_over = True
            raise
        finally:
            if not is_over:
                self._executor.answer(call.ordinal, value)

    async def _fetch(self, call: Call, interface: Interface, function: Function, left: float) -> Any:
        if len(call.arguments) != 1:
            return function.failed
        ticket = self._invocation.ticket
        before = self._allowance.bytes
        value, reason = await self._host.egress.fetch(
            call.arguments[0], tenant=ticket.tenant, hosts_allowed=ticket.egress, allowance=self._allowance, left=left
        )
        self._host.metrics.egress_bytes.inc(self._allowance.bytes - before)
        if reason is not None:
            self._explain(interface, function, reason)
        self._count(interface, function, "ok" if isinstance(value, Ok) else str(value.value))
        return value

    async def _ask(self, call: Call, interface: Interface, function: Function, left: float) -> Any:
        timeout = min(SLOW_TIMEOUT_SECONDS.get(interface.name, TIMEOUT_SECONDS), left)
        subject = subjects.host(interface.name, function.name)
        try:
            data = await self._host.messaging.request(
                subject, codec.encode(self._request(call, timeout)), timeout_seconds=timeout
            )
            reply: HostReply = codec.decode(HostReply, data)
        except NoResponders:
            return self._failed(interface, function, "no service answers this interface")
        except DeadlineExceeded:
            return self._failed(interface, function, "the service did not answer in time")
        except FleetError as error:
            return self._failed(interface, function, error.message)
        if isinstance(reply, HostAnswer):
            self._count(interface, function, "ok")
            self._remember_secret(interface, function, reply.value)
            return reply.value
        if reply.code is ErrorCode.CAPABILITY_DENIED:
            self._count(interface, function, "denied")
            return function.denied
        return self._failed(interface, function, reply.message)

    def _request(self, call: Call, timeout: float) -> HostRequest:
        request = self._invocation.request
        return HostRequest(
            ticket=request.ticket,
            invocation=request.invocation,
            attempt=request.attempt,
            ordinal=call.ordinal,
            left_ms=max(0, int(timeout * 1000)),
            arguments=call.arguments,
            request_id=request.origin.request_id,
            delivery=None if request.event is None else request.event.delivery_id,
            user=request.user if self._invocation.user is not None else None,
            secret_envelope=request.secret_envelope if call.interface == "secrets" else None,
        )

    def _remember_secret(self, interface: Interface, function: Function, value: Any) -> None:
        if (interface.name, function.name) == ("secrets", "get") and isinstance(value, list) and len(value) == 2:
            self._log.hide(str(value[1]) if value[0] == "ok" else "")

    def _failed(self, interface: Interface, function: Function, reason: str) -> Any:
        self._count(interface, function, "failed")
        self._explain(interface, function, reason)
        return function.failed

    def _explain(self, interface: Interface, function: Function, reason: str) -> None:
        """The frozen enums lose the reason of an error: the live log keeps it."""
        self._log.write(f"{interface.name}.{function.name}: {reason}", level="warn", stream="host")

    def _count(self, interface: Interface, function: Function, outcome: str) -> None:
        self._host.metrics.host_calls.labels(interface.name, function.name, outcome).inc()


def _find(interface: Interface, name: str) -> Function | None:
    try:
        return interface.function(name)
    except KeyError:
        return None
