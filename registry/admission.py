"""The one corridor into the fleet, for gateway and events alike: resolve, charge, mint, record and dispatch, settle.

Owns the order of these steps. Who may call what is decided before (`gateway/access.py`), what an install may do is in
the ticket, and what runs is the worker's. In the steady state nothing here touches a database.

A started record leaves beside the dispatch and is awaited before the outcome does; the worker writes the finished
record of what it ran, this module that of what no worker answered for.
"""

from __future__ import annotations

import math

import msgspec
import structlog

from registry.install_cache import InstallCache, Load, not_installed
from registry.quotas import RateLimiter
from schemas import capability, ids
from schemas.call import CallContext, Deadline, User
from schemas.errors import ErrorCode, FleetError, Unavailable
from schemas.guest_http import GuestRequest, check_body
from schemas.ids import InvocationId, TenantId
from schemas.install import Resolved
from schemas.invocation import (
    MAX_ASYNC_TIMEOUT_MS,
    MAX_HTTP_TIMEOUT_MS,
    EventRef,
    ExecuteRequest,
    Limits,
    Origin,
    Outcome,
    OutcomeKind,
    ScheduleRef,
    SecretEnvelope,
    Trigger,
    Usage,
)
from schemas.record import LogStatus, Record, status_of
from service.clock import Clock
from service.dispatch import Dispatcher
from service.records import RecordWriter
from service.tickets import Minter

log = structlog.get_logger()

USES_USER = frozenset(
    {
        capability.USER_READ,
        capability.UI_PROXY,
        capability.INVOICE_CREATE,
        capability.CLIENT_READ,
        capability.SERVICE_READ,
    }
)
"""Capabilities whose host functions look at the acting user; without one of them no user statement is made."""


class ChangedMeanwhile(Unavailable):
    """The install is not what was authorised any more; nothing was started, and a door may resolve it anew, once."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call as a door hands it in.

    `repeatable`: running it twice is harmless (GET, HEAD, an idempotent endpoint, a key was given). `providers` and
    `limits` only narrow. `config` counts where the install has no value of its own. `invocation`: for a door that
    wrote it down before; else a new one.
    """

    origin: Origin
    request: GuestRequest
    repeatable: bool = False
    idempotency_key: str | None = None
    user: User | None = None
    providers: frozenset[str] | None = None
    limits: Limits | None = None
    config: dict[str, str] = {}
    attempt: int = 1
    event: EventRef | None = None
    schedule: ScheduleRef | None = None
    secret_envelope: SecretEnvelope | None = None
    invocation: InvocationId | None = None

    @property
    def trigger(self) -> Trigger:
        return self.origin.trigger


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that leaves for one call."""

    request: ExecuteRequest
    started: Record
    shard: int
    deadline: Deadline


class Admission:
    """The corridor of one front. `sender` names this process to the workers, for their clock offsets."""

    def __init__(
        self,
        load: Load,
        *,
        rates: RateLimiter,
        minter: Minter,
        dispatcher: Dispatcher,
        records: RecordWriter,
        clock: Clock,
        sender: str,
    ) -> None:
        self._cache = InstallCache(load, clock)
        self._rates, self._minter, self._dispatcher, self._records = rates, minter, dispatcher, records
        self._clock, self._sender = clock, sender

    async def resolve(self, ctx: CallContext, reference: str) -> Resolved:
        """What a reference (install or registry UUID, `publisher.name`, unambiguous name) runs as, at most 10 s old.

        NotFound (extension_not_installed) alike for unknown, disabled, pending and another tenant's.
        """
        return await self._cache.get(ctx.tenant, reference)

    async def invoke(self, ctx: CallContext, resolved: Resolved, call: Call) -> Outcome:
        """Run one call of an install that was resolved and authorised; its outcome, once its start is on record.

        Raises Exhausted (rate), Unavailable (records cannot be written), ChangedMeanwhile (resolve and authorise
        again), DeadlineExceeded, TooLarge. What happened to the call itself is in the outcome.
        """
        check_body(call.request.body, limit=resolved.limits.max_body_bytes)
        self._records.check()
        self._rates.charge(
            (resolved.tenant, resolved.install), per_second=resolved.rate_per_second, burst=resolved.rate_burst
        )
        await self._check_current(ctx, resolved)
        plan = self._plan(ctx, resolved, call)
        recorded = await self._records.submit(plan.shard, plan.started)
        outcome = await self._dispatcher.dispatch(
            plan.request, shard=plan.shard, deadline=plan.deadline, repeatable=call.repeatable
        )
        await self._settle(plan, outcome)
        await recorded
        return outcome

    def changed(self, tenant: TenantId) -> None:
        """Drop the tenant's entries and tickets: an install of it changed."""
        self._cache.drop(tenant)
        self._minter.drop(tenant)

    def clear(self) -> None:
        """Drop every entry: a change may have been missed. A ticket is only used for the very state it was made of."""
        self._cache.clear()

    async def _check_current(self, ctx: CallContext, resolved: Resolved) -> None:
        """The ticket is for exactly the state that was authorised, or there is none."""
        if resolved.tenant != ctx.tenant:
            raise not_installed()
        if self._cache.holds(resolved):
            return
        try:
            current = await self._cache.get(ctx.tenant, resolved.install)
        except FleetError as error:
            if error.code is ErrorCode.EXTENSION_NOT_INSTALLED:
                raise _changed_meanwhile() from error
            raise
        if current != resolved:
            raise _changed_meanwhile()

    def _plan(self, ctx: CallContext, resolved: Resolved, call: Call) -> _Plan:
        deadline = self._deadline(ctx, resolved, call)
        left = deadline.check(self._clock.monotonic())
        invocation = call.invocation or ids.new_invocation_id()
        now_ms = int(self._clock.now() * 1000)
        ticket = self._minter.mint(resolved, longest_seconds=_longest_seconds(call.trigger), needed_seconds=left)
        started = Record(
            invocation=invocation,
            ticket=ticket,
            origin=call.origin,
            started_unix_ms=now_ms,
            deadline_unix_ms=now_ms + int(left * 1000),
            status=LogStatus.STARTED,
        )
        request = ExecuteRequest(
            invocation=invocation,
            ticket=ticket,
            origin=call.origin,
            request=call.request,
            sender=self._sender,
            sent_unix_ms=now_ms,
            left_ms=int(left * 1000),
            started_unix_ms=now_ms,
            attempt=call.attempt,
            idempotency_key=call.idempotency_key,
            traceparent=ctx.traceparent,
            config={**call.config, **resolved.config},
            user=self._user(resolved, call, invocation, left),
            providers=call.providers,
            limits=call.limits,
            event=call.event,
            schedule=call.schedule,
            secret_envelope=call.secret_envelope,
        )
        return _Plan(request=request, started=started, shard=resolved.shard, deadline=deadline)

    def _deadline(self, ctx: CallContext, resolved: Resolved, call: Call) -> Deadline:
        """The caller's deadline, cut to what one invocation of this install may take."""
        timeout_ms = _timeout_ms(resolved.limits, call.trigger)
        if call.limits is not None:
            timeout_ms = min(timeout_ms, _timeout_ms(call.limits, call.trigger))
        own = Deadline.after(timeout_ms / 1000, now=self._clock.monotonic())
        return own if own.at < ctx.deadline.at else ctx.deadline

    def _user(self, resolved: Resolved, call: Call, invocation: str, left: float) -> bytes | None:
        usable = resolved.grants if call.providers is None else resolved.grants & call.providers
        if call.user is None or usable.isdisjoint(USES_USER):
            return None
        return self._minter.mint_user(resolved, invocation, call.user, lifetime_seconds=math.ceil(left))

    async def _settle(self, plan: _Plan, outcome: Outcome) -> None:
        """Close the record of a call that no worker answers for. Without it the reaper closes the row as lost."""
        finished = finished_by_front(plan.started, outcome, now_ms=int(self._clock.now() * 1000))
        if finished is None:
            return
        try:
            await self._records.write(plan.shard, finished)
        except Unavailable as error:
            log.warning("a finished record was not written", invocation=plan.started.invocation, detail=error.detail)


def finished_by_front(started: Record, outcome: Outcome, *, now_ms: int) -> Record | None:
    """The finished record that is the front's to write: of a call that never began, or whose worker was lost.

    None where a worker ran it: the worker measured it and writes. A lost call is billed as one invocation, without CPU.
    """
    if outcome.kind is not OutcomeKind.PLATFORM_FAILED:
        return None
    lost = outcome.executed
    if lost and outcome.code is not ErrorCode.NO_WORKER:
        return None
    return msgspec.structs.replace(
        started,
        status=LogStatus.LOST if lost else status_of(outcome),
        finished_unix_ms=now_ms,
        error=outcome.code,
        usage=Usage(),
        billed=lost,
    )


def _longest_seconds(trigger: Trigger) -> int:
    return (MAX_HTTP_TIMEOUT_MS if trigger is Trigger.HTTP else MAX_ASYNC_TIMEOUT_MS) // 1000


def _timeout_ms(limits: Limits, trigger: Trigger) -> int:
    return limits.timeout_ms if trigger is Trigger.HTTP else limits.async_timeout_ms


def _changed_meanwhile() -> ChangedMeanwhile:
    return ChangedMeanwhile("the install changed while the call was being admitted", retry_after_seconds=1)
