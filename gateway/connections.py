"""Connections of callers: how long one may take to say something, and how many one address may hold.

Owns what the framework leaves open (hazards F43, F44): headers within 10 s of their first byte, 30 s of idleness,
a limit of connections per address, an answer in our form to bytes that are no HTTP. Bodies are `gateway/bodies.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import Any

import structlog
from aiohttp import http_parser, web
from aiohttp.web_protocol import RequestHandler

from gateway import errors
from schemas import ids
from schemas.errors import Internal, Invalid

log = structlog.get_logger()

HEADER_SECONDS = 10.0
IDLE_SECONDS = 30.0
LINGER_SECONDS = 2.0
"""How long an unread body is drained after an early answer, so that the caller gets to read the answer."""
WRITE_SECONDS = 120.0
"""How long an answer may wait for its reader: 2 MiB at 17 kB/s."""
CONNECTIONS_PER_ADDRESS = 4096

_quiet = logging.getLogger("gateway.connections")


class Connection(RequestHandler):
    """One caller's connection."""

    __slots__ = ("_address", "_header_timer", "_server", "_write_timer")

    def __init__(self, server: GatewayServer, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._address: str | None = None
        self._header_timer: asyncio.TimerHandle | None = None
        self._write_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self._address = str(peer[0]) if isinstance(peer, tuple) else ""
        if not self._server.admit(self._address):
            self._address = None
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._disarm()
        self._stop_waiting_for_reader()
        if self._address is not None:
            self._server.release(self._address)
            self._address = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._waiter is None or self._waiter.done():
            if self._header_timer is not None:
                self._disarm()
        elif self._header_timer is None:
            self._header_timer = self._loop.call_later(HEADER_SECONDS, self.force_close)

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._write_timer is None:
            self._write_timer = self._loop.call_later(WRITE_SECONDS, self._give_up_on_reader)

    def resume_writing(self) -> None:
        self._stop_waiting_for_reader()
        super().resume_writing()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """What the framework answers by itself: 400 to malformed HTTP, 500 to a fault. The connection closes."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was under way already")
        if status == 400:
            problem: Invalid | Internal = Invalid("request is not well-formed HTTP")
        else:
            log.error("a request failed outside the middleware", exc_info=exc)
            problem = Internal("something went wrong on our side")
        response = errors.response_of(problem, request_id=ids.uuid7())
        response.headers["server"] = errors.SERVER
        response.force_close()
        return response

    def _give_up_on_reader(self) -> None:
        """Abort: a graceful close would wait for what the caller does not read."""
        if self.transport is not None:
            self.transport.abort()

    def _stop_waiting_for_reader(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _disarm(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class GatewayServer(web.Server):
    """Makes connections of ours, and counts them by address."""

    def __init__(self, inner: web.Server, *, per_address: int, options: dict[str, Any]) -> None:
        super().__init__(
            inner.request_handler,
            request_factory=inner.request_factory,
            handler_cancellation=True,
            loop=asyncio.get_running_loop(),
        )
        self._options = options
        self._per_address = per_address
        self._held: Counter[str] = Counter()

    def __call__(self) -> RequestHandler:
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)

    def admit(self, address: str) -> bool:
        """Whether one more connection of this address is taken; it is counted if so."""
        if self._held[address] >= self._per_address:
            return False
        self._held[address] += 1
        return True

    def release(self, address: str) -> None:
        self._held[address] -= 1
        if self._held[address] <= 0:
            del self._held[address]


class GatewayRunner(web.AppRunner):
    """Runs an application on connections of ours."""

    def __init__(
        self, app: web.Application, *, drain_seconds: float, per_address: int = CONNECTIONS_PER_ADDRESS
    ) -> None:
        super().__init__(app, access_log=None, shutdown_timeout=drain_seconds)
        self._per_address = per_address

    async def _make_server(self) -> web.Server:
        inner = await super()._make_server()
        options = {
            "access_log": None,
            "logger": _quiet,
            "auto_decompress": False,
            "keepalive_timeout": IDLE_SECONDS,
            "lingering_time": LINGER_SECONDS,
        }
        return GatewayServer(inner, per_address=self._per_address, options=options)


def check_parser() -> None:
    """Raises Internal where the pure-Python parser is in use: past smuggling bugs were in that one."""
    if http_parser.HttpRequestParser is http_parser.HttpRequestParserPy:
        raise Internal("the C parser of aiohttp is not loaded; install the wheel and unset AIOHTTP_NO_EXTENSIONS")
