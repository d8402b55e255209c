"""A guest's question to the platform on its way to a host service, and the answer.

Arguments and values are host values (`schemas/capability.py`). Tenant and install are read from the ticket;
invocation, delivery, attempt and ordinal come from the worker and count only inside that tenant and install.
"""

from __future__ import annotations

from typing import Any

from schemas.codec import Wire
from schemas.errors import ErrorCode
from schemas.invocation import SecretEnvelope


class HostRequest(Wire, frozen=True, tag="host"):
    """`arguments` in the order of the function's parameters; `ordinal` counts the host calls of the invocation."""

    ticket: bytes
    invocation: str
    attempt: int
    ordinal: int
    left_ms: int
    arguments: list[Any]
    request_id: str
    delivery: str | None = None
    user: bytes | None = None
    secret_envelope: SecretEnvelope | None = None


class HostAnswer(Wire, frozen=True, tag="answer"):
    """`value`: the host value the guest gets, refusals of the interface included; a result is `["ok"|"err", value]`."""

    value: Any


class HostFailure(Wire, frozen=True, tag="failure"):
    """The service could not answer; the guest gets the function's `failed` value, or `denied` for capability_denied."""

    code: ErrorCode
    message: str


HostReply = HostAnswer | HostFailure
