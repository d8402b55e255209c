"""One invocation as this worker took it on: what the ticket, the request and the caller's limits come to. Pure.

Owns what is in force for the call: grants, limits, deadline, and the values of `context`, `context-v2` and `user`.
Verification of the ticket and of the user is `consumer.py`'s.
"""

from __future__ import annotations

import msgspec

from schemas.call import User
from schemas.capability import USER_READ
from schemas.ids import TenantId
from schemas.invocation import ExecuteRequest, Limits, Trigger
from schemas.ticket import Ticket
from worker.frames import Run

HostRecord = dict[str, object]


class Invocation(msgspec.Struct, frozen=True):
    """`received` and `deadline` on CLOCK_MONOTONIC; `limits` is in force, `timeout_ms` that of the trigger."""

    request: ExecuteRequest
    ticket: Ticket
    grants: frozenset[str]
    limits: Limits
    timeout_ms: int
    received: float
    deadline: float
    deadline_unix_ms: int
    user: User | None

    @property
    def tenant(self) -> TenantId:
        return self.ticket.tenant


def accept(
    request: ExecuteRequest, ticket: Ticket, user: User | None, *, received: float, now_unix: float, left_ms: int
) -> Invocation:
    """What runs, from what was asked and what was verified. `left_ms` is the caller's, less what the way took."""
    limits = _lower(ticket.limits, request.limits)
    timeout_ms = limits.timeout_ms if request.origin.trigger is Trigger.HTTP else limits.async_timeout_ms
    grants = ticket.grants if request.providers is None else ticket.grants & request.providers
    return Invocation(
        request=request,
        ticket=ticket,
        grants=grants,
        limits=limits,
        timeout_ms=timeout_ms,
        received=received,
        deadline=received + left_ms / 1000,
        deadline_unix_ms=int(now_unix * 1000) + left_ms,
        user=user if USER_READ in grants else None,
    )


def run_frame(invocation: Invocation, *, now: float) -> Run:
    """The frame that starts it at `now` (monotonic)."""
    request, limits = invocation.request, invocation.limits
    return Run(
        invocation=request.invocation,
        content_hash=invocation.ticket.content_hash,
        request=request.request,
        deadline=min(invocation.deadline, now + invocation.timeout_ms / 1000),
        timeout_ms=invocation.timeout_ms,
        memory_mb=limits.memory_mb,
        fuel=limits.fuel_for(invocation.timeout_ms),
        max_body_bytes=limits.max_body_bytes,
        grants=invocation.grants,
        context=_context(invocation),
        context_v2=_context_v2(invocation),
        config=request.config,
        user=None if invocation.user is None else _user(invocation.user, invocation.tenant),
        reuse=limits.reuse,
    )


def _lower(granted: Limits, asked: Limits | None) -> Limits:
    """The smaller of both, field by field; the caller cannot raise a limit, and `reuse` is only ever the ticket's."""
    if asked is None:
        return granted
    return Limits(
        timeout_ms=min(granted.timeout_ms, asked.timeout_ms),
        async_timeout_ms=min(granted.async_timeout_ms, asked.async_timeout_ms),
        memory_mb=min(granted.memory_mb, asked.memory_mb),
        max_body_bytes=min(granted.max_body_bytes, asked.max_body_bytes),
        concurrency=_lower_optional(granted.concurrency, asked.concurrency),
        reuse=granted.reuse,
        fuel=_lower_optional(granted.fuel, asked.fuel),
    )


def _lower_optional(granted: int | None, asked: int | None) -> int | None:
    if granted is None or asked is None:
        return asked if granted is None else granted
    return min(granted, asked)


def _context(invocation: Invocation) -> HostRecord:
    ticket = invocation.ticket
    return {
        "request_id": invocation.request.origin.request_id,
        "tenant_id": ticket.tenant,
        "extension_id": ticket.registry,
        "install_id": ticket.install,
        "version_id": ticket.version_id,
    }


def _context_v2(invocation: Invocation) -> HostRecord:
    request, ticket, limits = invocation.request, invocation.ticket, invocation.limits
    return {
        **_context(invocation),
        "invocation_id": request.invocation,
        "extension_name": ticket.name,
        "version": ticket.version,
        "content_hash": ticket.content_hash,
        "trigger": request.origin.trigger,
        "attempt": request.attempt,
        "idempotency_key": request.idempotency_key,
        "traceparent": request.traceparent,
        "capabilities": sorted(invocation.grants),
        "egress_hosts": list(ticket.egress),
        "limits": {
            "timeout_ms": invocation.timeout_ms,
            "memory_mb": limits.memory_mb,
            "max_body_bytes": limits.max_body_bytes,
        },
        "config": [[name, value] for name, value in request.config.items()],
        "event": _event(request),
        "schedule": _schedule(request),
    }


def _event(request: ExecuteRequest) -> HostRecord | None:
    event = request.event
    if event is None:
        return None
    return {
        "id": event.id,
        "topic": event.topic,
        "source": event.source,
        "subject": event.subject,
        "time": event.time,
        "delivery_id": event.delivery_id,
        "depth": event.depth,
    }


def _schedule(request: ExecuteRequest) -> HostRecord | None:
    schedule = request.schedule
    if schedule is None:
        return None
    return {"id": schedule.id, "name": schedule.name, "scheduled_for": schedule.scheduled_for}


def _user(user: User, tenant: TenantId) -> HostRecord:
    """`user-data-v2`; the first six fields are those of `user-data`."""
    return {
        "tenant_id": tenant,
        "client_name": user.client_name,
        "user_id": user.user_id,
        "user_email": user.user_email,
        "user_name": user.user_name,
        "user_type": user.user_type,
        "client_id": user.client_id,
        "additional_fields": [[name, value] for name, value in sorted(user.additional_fields.items())],
    }
