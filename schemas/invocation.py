"""One execution of a guest: what caused it, what it may use, what it used, how it ended; and its wire messages.

`ExecuteRequest` goes to a worker; `Accepted`, `Alive`, `Refused` and `Finished` come back (`compat.md` section 14).
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from schemas.codec import Wire
from schemas.errors import ErrorCode
from schemas.guest_http import MAX_BODY_BYTES, GuestRequest, GuestResponse

FUEL_PER_SECOND = 10_000_000_000
"""Fuel granted per second of timeout: about twice what a tight loop burns, so that the clock stops first."""
DEFAULT_TIMEOUT_MS = 5_000
MAX_HTTP_TIMEOUT_MS = 60_000
MAX_ASYNC_TIMEOUT_MS = 900_000
MAX_HOST_CALLS = 1_000
ALIVE_AFTER_SECONDS = 0.25
ALIVE_EVERY_SECONDS = 1.0
LOST_AFTER_SECONDS = 3.0
KILL_GRACE_SECONDS = 0.1


class Trigger(StrEnum):
    HTTP = "http"
    EVENT = "event"
    SCHEDULE = "schedule"


Positive = Annotated[int, msgspec.Meta(ge=1)]


class Limits(Wire, frozen=True):
    """What one invocation may consume; in force = min(operator, manifest, granted).

    `concurrency` None: half of one worker's slots. `fuel` None: `FUEL_PER_SECOND` for each second of the timeout.
    """

    timeout_ms: Positive = DEFAULT_TIMEOUT_MS
    async_timeout_ms: Positive = MAX_HTTP_TIMEOUT_MS
    memory_mb: Positive = 128
    max_body_bytes: Positive = MAX_BODY_BYTES
    concurrency: Positive | None = None
    reuse: Positive = 1
    fuel: Positive | None = None

    def fuel_for(self, timeout_ms: int) -> int:
        by_time = FUEL_PER_SECOND * max(1, timeout_ms) // 1000
        return by_time if self.fuel is None else min(self.fuel, by_time)


class Usage(Wire, frozen=True):
    """What one invocation really consumed, measured in the worker."""

    duration_ms: float = 0.0
    queue_ms: float = 0.0
    cpu_ms: float = 0.0
    memory_mb: float = 0.0
    fuel: int = 0
    egress_bytes: int = 0
    host_calls: int = 0


class OutcomeKind(StrEnum):
    COMPLETED = "completed"
    GUEST_FAILED = "guest failed"
    LIMIT_EXCEEDED = "limit exceeded"
    PLATFORM_FAILED = "platform failed"


class Outcome(Wire, frozen=True):
    """How an invocation ended. `response` only when completed; else `code` and a `message` fit for the caller.

    `executed` says that it started in an executor: then it is billed, and it is repeated only if that is safe.
    """

    kind: OutcomeKind
    usage: Usage = Usage()
    response: GuestResponse | None = None
    code: ErrorCode | None = None
    message: str = ""
    executed: bool = True


class EventRef(Wire, frozen=True):
    """The event behind an invocation, as `context-v2` shows it."""

    id: str
    topic: str
    source: str
    time: str
    delivery_id: str
    depth: int
    subject: str | None = None


class ScheduleRef(Wire, frozen=True):
    """The schedule behind an invocation, as `context-v2` shows it. `scheduled_for`: RFC 3339."""

    id: str
    scheduled_for: str
    name: str | None = None


class SecretEnvelope(Wire, frozen=True):
    """Secrets that came with `/v1/execute`, still encrypted; opened only in the secrets host service."""

    ciphertext_b64: str
    version: str | None = None
    algorithm: str | None = None
    expires_at: str | None = None
    key_path: str | None = None
    mount: str | None = None


class Origin(Wire, frozen=True):
    """What the execution log says about where an invocation came from; carries no body, header or query value."""

    request_id: str
    trigger: Trigger
    method: str
    path: str
    endpoint_template: str
    principal_kind: str
    user_id: str | None = None


class ExecuteRequest(Wire, frozen=True, tag="execute"):
    """One invocation on its way to a worker.

    Identity is in `ticket` alone. `user` is a signed statement bound to this invocation (`schemas/ticket.py`).
    `left_ms` is what was left of the deadline at `sent_unix_ms` on the clock of `sender`.
    """

    invocation: str
    ticket: bytes
    origin: Origin
    request: GuestRequest
    sender: str
    sent_unix_ms: int
    left_ms: int
    started_unix_ms: int
    attempt: int = 1
    idempotency_key: str | None = None
    traceparent: str | None = None
    config: dict[str, str] = {}
    user: bytes | None = None
    providers: frozenset[str] | None = None
    """Capabilities of this call where the caller narrows the grants; None: all that is granted."""
    limits: Limits | None = None
    """Limits of this call where the caller lowers the ticket's; the worker takes the smaller of both."""
    event: EventRef | None = None
    schedule: ScheduleRef | None = None
    secret_envelope: SecretEnvelope | None = None


class Accepted(Wire, frozen=True, tag="accepted"):
    """Not finished after `ALIVE_AFTER_SECONDS`; `started`: it runs already in an executor."""

    worker: str
    started: bool


class Alive(Wire, frozen=True, tag="alive"):
    """Still queued or running, once every `ALIVE_EVERY_SECONDS`."""

    worker: str
    started: bool


class Refused(Wire, frozen=True, tag="refused"):
    """The worker did not start it and will not: overloaded, draining, late, or a ticket that does not verify."""

    worker: str
    code: ErrorCode
    message: str
    retry_after_seconds: float | None = None


class Finished(Wire, frozen=True, tag="finished"):
    """The outcome, whatever it is."""

    worker: str
    outcome: Outcome


class Cancel(Wire, frozen=True, tag="cancel"):
    """The caller is gone: stop this invocation if it is queued or runs here."""

    invocation: str


Reply = Accepted | Alive | Refused | Finished
