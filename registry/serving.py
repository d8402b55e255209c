"""Host services: `ext.host.<interface>.*` for what the platform itself answers.

Owns the way from a message to a service: the ticket, the grant, the deadline, the strict types of the arguments, and
the answer. What a function does is `registry/host/<interface>.py`'s. Tenant and install are read from the ticket and
from nothing else.

An interface that stands in the catalogue and not in the table handed in is not served: nobody subscribes, and the
worker gives the guest the function's typed failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import structlog

from schemas import codec, subjects
from schemas.capability import INTERFACES, Interface
from schemas.errors import DeadlineExceeded, ErrorCode, FleetError, Forbidden, Invalid
from schemas.host import HostAnswer, HostFailure, HostReply, HostRequest
from schemas.ticket import Ticket
from service.messaging import Message, Messaging
from service.metrics import Metrics
from service.tickets import Verifier

log = structlog.get_logger()

CONCURRENCY = 64
"""Of one interface. More wait in order; their deadline counts from when they are taken up."""
DRAIN_SECONDS = 10.0


class HostCall(msgspec.Struct, frozen=True):
    """One question, its ticket verified and its capability granted."""

    ticket: Ticket
    request: HostRequest


class HostFunction(msgspec.Struct, frozen=True):
    """One function of an interface: the type of its arguments, a tuple, and what answers it with a host value."""

    arguments: Any
    answer: Callable[..., Awaitable[Any]]


Service = Mapping[str, HostFunction]
"""The functions of one interface by name."""


class Serving:
    """Answers the interfaces of `services`."""

    def __init__(self, services: Mapping[str, Service], verifier: Verifier, metrics: Metrics) -> None:
        for name, service in services.items():
            for function in service:
                INTERFACES[name].function(function)
        self._services, self._verifier, self._metrics = services, verifier, metrics

    @asynccontextmanager
    async def serving(self, messaging: Messaging) -> AsyncIterator[None]:
        """Answer while the context lasts; at its end what runs may finish."""
        async with AsyncExitStack() as running:
            for name in self._services:
                subject = subjects.host_interface(name)
                served = await messaging.serve(
                    subject, self._handle, queue=subjects.HOST_QUEUE, concurrency=CONCURRENCY
                )
                running.push_async_callback(served.stop, timeout_seconds=DRAIN_SECONDS)
            yield

    async def _handle(self, message: Message) -> None:
        interface, function = message.subject.split(".")[-2:]
        reply, code = await self._reply(interface, function, message.data)
        known = function if function in self._services[interface] else "unknown"
        self._metrics.host_requests.labels(interface, known, code).inc()
        await message.reply(codec.encode(reply))

    async def _reply(self, interface: str, function: str, data: bytes) -> tuple[HostReply, str]:
        try:
            request: HostRequest = codec.decode(HostRequest, data)
            return HostAnswer(value=await self._answer(INTERFACES[interface], function, request)), "ok"
        except FleetError as error:
            log.info(
                "a host call was not answered",
                interface=interface,
                function=function[:64],
                code=error.code,
                message=error.message,
                detail=error.detail,
            )
            return HostFailure(code=error.code, message=error.message), error.code.value

    async def _answer(self, interface: Interface, function: str, request: HostRequest) -> Any:
        ticket = self._verifier.verify(request.ticket)
        if interface.capability not in ticket.grants:
            raise Forbidden(f"capability {interface.capability} is not granted", code=ErrorCode.CAPABILITY_DENIED)
        served = self._services[interface.name].get(function)
        if served is None:
            raise Invalid(f"{interface.name} has no function {function[:64]!r}")
        if request.left_ms <= 0:
            raise DeadlineExceeded("the deadline of the call has passed")
        arguments = _decoded(served, request.arguments, where=f"{interface.name}.{function}")
        try:
            async with asyncio.timeout(request.left_ms / 1000):
                return await served.answer(HostCall(ticket, request), *arguments)
        except TimeoutError as error:
            raise DeadlineExceeded(f"{interface.name}.{function} did not end within {request.left_ms} ms") from error


def _decoded(function: HostFunction, arguments: list[Any], *, where: str) -> tuple[Any, ...]:
    """The arguments as the function's types. They come from a process that runs strangers' code."""
    try:
        decoded: tuple[Any, ...] = msgspec.convert(arguments, function.arguments, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise Invalid(f"{where}: arguments do not have the expected types", detail=str(error)) from error
    return decoded
