"""What a guest logs, on its way to the live log: cut, redacted, escaped, published.

Owns the caps of one invocation and the queue to NATS. Identity on a line is the ticket's: a guest gives text and
nothing else. Lines are published by one task; what it cannot keep up with is dropped and counted, never waited for.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import orjson

from schemas import subjects
from schemas.errors import FleetError
from service.clock import Clock
from service.messaging import Messaging
from service.metrics import Metrics
from worker.supervisor import text
from worker.supervisor.invocation import Invocation

MAX_LINE_BYTES = 8 * 1024
MAX_INVOCATION_BYTES = 256 * 1024
MAX_QUEUED = 4_096
REDACTED = "[redacted]"
MIN_SECRET_CHARACTERS = 4
"""Shorter values are everywhere by chance; replacing them would garble a log and tell what they are."""
NOTICE = f"log lines over {MAX_INVOCATION_BYTES} bytes in one invocation are dropped"


class GuestLog:
    """The worker's one way from guests to the live log."""

    def __init__(self, messaging: Messaging, clock: Clock, metrics: Metrics) -> None:
        self._messaging, self._clock, self._metrics = messaging, clock, metrics
        self._queue: deque[tuple[str, bytes]] = deque()
        self._more = asyncio.Event()

    def open(self, invocation: Invocation) -> InvocationLog:
        return InvocationLog(invocation, self._put, now=self._clock.now, dropped=self.count_dropped)

    def count_dropped(self, lines: int = 1) -> None:
        self._metrics.log_lines_dropped.inc(lines)

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._queue:
                subject, data = self._queue.popleft()
                try:
                    await self._messaging.publish(subject, data)
                except FleetError:
                    self.count_dropped()

    def _put(self, subject: str, data: bytes) -> None:
        if len(self._queue) >= MAX_QUEUED:
            self.count_dropped()
            return
        self._queue.append((subject, data))
        self._more.set()


class InvocationLog:
    """The lines of one invocation."""

    def __init__(
        self,
        invocation: Invocation,
        put: Callable[[str, bytes], None],
        *,
        now: Callable[[], float],
        dropped: Callable[[], None],
    ) -> None:
        self._invocation, self._put, self._now, self._dropped = invocation, put, now, dropped
        self._secrets: list[str] = []
        self._bytes = 0
        self._full = False

    def hide(self, secret: str) -> None:
        """The guest was given this value: it is never shown."""
        if len(secret) >= MIN_SECRET_CHARACTERS and secret not in self._secrets:
            self._secrets.append(secret)
            self._secrets.sort(key=len, reverse=True)

    def write(self, message: str, *, level: str, stream: str) -> None:
        """One line. `level` trace to error; `stream` stdout, stderr, log, or host for a line of ours."""
        if self._full:
            self._dropped()
            return
        shown, truncated = text.cut(redact(message, self._secrets), max_bytes=MAX_LINE_BYTES)
        size = len(shown.encode(errors="replace"))
        if self._bytes + size > MAX_INVOCATION_BYTES:
            self._full = True
            self._dropped()
            self._publish(NOTICE, level="warn", stream="host", truncated=False)
            return
        self._bytes += size
        self._publish(text.escape(shown), level=level, stream=stream, truncated=truncated)

    def _publish(self, message: str, *, level: str, stream: str, truncated: bool) -> None:
        ticket = self._invocation.ticket
        line = {
            "ts": str(int(self._now() * 1000)),
            "level": level,
            "stream": stream,
            "tenantId": ticket.tenant,
            "extensionId": ticket.registry,
            "installId": ticket.install,
            "requestId": self._invocation.request.origin.request_id,
            "versionId": ticket.version_id,
            "contentHash": ticket.content_hash,
            "message": message,
            "truncated": truncated,
        }
        self._put(subjects.log(ticket.tenant, ticket.install), orjson.dumps(line))


def redact(message: str, secrets: list[str]) -> str:
    """`message` without these values, the longest first; also without the head of one that the end cuts off."""
    for secret in secrets:
        message = message.replace(secret, REDACTED)
        for length in range(min(len(secret) - 1, len(message)), MIN_SECRET_CHARACTERS - 1, -1):
            if message.endswith(secret[:length]):
                message = message[:-length] + REDACTED
                break
    return message
