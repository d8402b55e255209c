"""What a version wishes for, what an admin approved, what the operator allows; and what is in force. Pure.

Three types that never stand in for each other meet in two functions: `effective_capabilities` and `limits_in_force`.
An approval is always cut to what the version asks for, so that a later version cannot find a grant waiting for it.
Egress is the exception: an admin may add hosts the manifest does not name.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec

from schemas import capability, egress
from schemas.errors import Invalid
from schemas.install import InstallStatus
from schemas.invocation import MAX_ASYNC_TIMEOUT_MS, MAX_HTTP_TIMEOUT_MS, Limits
from schemas.manifest import RequestedLimits

ALL_OF_MANIFEST: Final = "manifest"
Grants = frozenset[str] | Literal["manifest"] | None
"""What a call approves: a set of capabilities, all that the manifest asks for, or nothing said."""

MAX_EGRESS_ENTRIES = egress.MAX_ENTRIES
CONCURRENCY_WITHOUT_CONSENT = 2
"""Half the slots of the smallest worker: never more than the default share, whatever the machine."""


class GrantedLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What an admin approved. A limit that is not mentioned is approved up to its default only."""

    timeout_ms: Annotated[int, msgspec.Meta(ge=100, le=MAX_HTTP_TIMEOUT_MS)] | None = None
    async_timeout_ms: Annotated[int, msgspec.Meta(ge=100, le=MAX_ASYNC_TIMEOUT_MS)] | None = None
    memory_mb: Annotated[int, msgspec.Meta(ge=16, le=256)] | None = None
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=64)] | None = None
    reuse: Annotated[int, msgspec.Meta(ge=1, le=1000)] | None = None
    fuel: Annotated[int, msgspec.Meta(ge=1)] | None = None


class OperatorLimits(msgspec.Struct, frozen=True, kw_only=True):
    """The ceiling of the whole fleet, whatever is asked and granted."""

    timeout_ms: int = MAX_HTTP_TIMEOUT_MS
    async_timeout_ms: int = MAX_ASYNC_TIMEOUT_MS
    memory_mb: int = 256
    concurrency: int = 64
    reuse: int = 1000


class Wishes(msgspec.Struct, frozen=True, kw_only=True):
    """What one version asks for. `capabilities` are canonical names beyond the defaults."""

    capabilities: frozenset[str] = frozenset()
    egress: tuple[str, ...] = ()
    topics: tuple[str, ...] = ()
    limits: RequestedLimits = RequestedLimits()


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """What an admin approved for an install. Egress entries may go beyond the manifest."""

    capabilities: frozenset[str] = frozenset()
    egress: tuple[str, ...] = ()
    limits: GrantedLimits = GrantedLimits()


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What one admin call says about grants. None: that part is not mentioned."""

    grants: Grants = None
    egress: tuple[str, ...] | None = None
    limits: GrantedLimits | None = None


class Missing(msgspec.Struct, frozen=True, kw_only=True):
    """What still needs an admin's consent, in the words of `consent_required`. Empty: nothing."""

    capabilities: tuple[str, ...] = ()
    egress: tuple[str, ...] = ()
    events: tuple[str, ...] = ()
    limits: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self.capabilities or self.egress or self.events or self.limits)

    def as_extra(self) -> dict[str, object]:
        """The body part beside a 409."""
        lists = {name: list(getattr(self, name)) for name in ("capabilities", "egress", "events")}
        return {"consent_required": {**lists, "limits": self.limits}}


_DEFAULT = Limits()
_BASELINE: dict[str, int] = {
    "timeout_ms": _DEFAULT.timeout_ms,
    "async_timeout_ms": _DEFAULT.async_timeout_ms,
    "memory_mb": _DEFAULT.memory_mb,
    "concurrency": CONCURRENCY_WITHOUT_CONSENT,
    "reuse": _DEFAULT.reuse,
}


def parse_grants(value: object) -> Grants:
    """`grants` of an admin call: absent, the word "manifest", or a list of capability names, aliases allowed.

    Raises Invalid naming the entry that is not a capability.
    """
    if value is None or value == ALL_OF_MANIFEST:
        return None if value is None else "manifest"
    if not isinstance(value, list | tuple | set | frozenset) or not all(isinstance(name, str) for name in value):
        raise Invalid('grants must be a list of capability names or the word "manifest"')
    return frozenset(_known_capability(name) for name in value)


def parse_hosts(value: object) -> tuple[str, ...] | None:
    """`egress` of an admin call: absent, or a list of entries, in their one spelling. Raises Invalid."""
    if value is None:
        return None
    if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
        raise Invalid("egress must be a list of hosts")
    return tuple(rule.text for rule in egress.parse_entries(value))


def parse_limits(value: object) -> GrantedLimits | None:
    """`limits` of an admin call: absent, or an object of limits. Raises Invalid naming the limit."""
    if value is None:
        return None
    try:
        return msgspec.convert(value, GrantedLimits)
    except msgspec.ValidationError as error:
        raise Invalid(f"limits: {error}") from error


def effective_capabilities(wishes: Wishes, approval: Approval) -> frozenset[str]:
    """Defaults, and what the version asks for and an admin approved."""
    return capability.effective(requested=wishes.capabilities, approved=approval.capabilities)


def egress_in_force(capabilities: frozenset[str], approval: Approval) -> tuple[str, ...]:
    """The hosts an install may reach: none without the capability, none unless approved."""
    return approval.egress if capability.HTTP_FETCH in capabilities else ()


def limits_in_force(operator: OperatorLimits, requested: RequestedLimits, granted: GrantedLimits) -> Limits:
    """The least of what the operator allows, the version asks for and an admin granted; absent is the default."""
    return Limits(
        timeout_ms=_least("timeout_ms", operator, requested, granted),
        async_timeout_ms=_least("async_timeout_ms", operator, requested, granted),
        memory_mb=_least("memory_mb", operator, requested, granted),
        concurrency=_concurrency(operator, requested, granted),
        reuse=_least("reuse", operator, requested, granted),
        fuel=granted.fuel,
    )


def approve(wishes: Wishes, request: Request, *, before: Approval | None = None) -> Approval:
    """The approval after an admin call on a version with these wishes.

    `before`: what held until now, for an update; a part that the call does not mention keeps it, cut to the wishes.
    """
    held = before or Approval()
    if request.grants == ALL_OF_MANIFEST:
        return Approval(
            capabilities=wishes.capabilities,
            egress=_merged(held.egress, wishes.egress) if request.egress is None else request.egress,
            limits=_as_granted(wishes.limits, held.limits) if request.limits is None else request.limits,
        )
    listed = request.grants if isinstance(request.grants, frozenset) else frozenset()
    return Approval(
        capabilities=(held.capabilities | listed) & wishes.capabilities,
        egress=held.egress if request.egress is None else request.egress,
        limits=held.limits if request.limits is None else request.limits,
    )


def replace_approval(wishes: Wishes, request: Request, before: Approval) -> Approval:
    """The approval after an admin set the grants anew: capabilities left out of a list are revoked."""
    if request.grants is None:
        return approve(wishes, request, before=before)
    kept = Approval(egress=before.egress, limits=before.limits)
    return approve(wishes, request, before=kept)


def status_at_install(wishes: Wishes, request: Request) -> InstallStatus:
    """Pending when nobody decided about grants and the version asks for more than the defaults."""
    if request.grants is not None or not beyond_defaults(wishes):
        return InstallStatus.ENABLED
    return InstallStatus.PENDING


def beyond_defaults(wishes: Wishes) -> Missing:
    """All that a version asks for beyond what every install has."""
    return _widened(wishes, Wishes(), Approval())


def missing_consent(new: Wishes, *, old: Wishes, held: Approval, request: Request) -> Missing:
    """What an update from `old` to `new` widens and this call does not decide about.

    What the old version asked for already was decided then, also where the answer was no. A part that the call
    states (a list of grants, of hosts, of limits) is decided by it.
    """
    if request.grants == ALL_OF_MANIFEST:
        return Missing()
    widened = _widened(new, old, held)
    listed = request.grants if isinstance(request.grants, frozenset) else None
    return Missing(
        capabilities=() if listed is not None else widened.capabilities,
        egress=() if request.egress is not None else widened.egress,
        events=() if listed is not None and capability.EVENTS_SUBSCRIBE in listed else widened.events,
        limits={} if request.limits is not None else widened.limits,
    )


def narrow(old: Wishes, new: Wishes, held: Approval) -> Approval:
    """What is left of an approval under a version that asks for less; hosts an admin added stay."""
    dropped = frozenset(old.egress) - frozenset(new.egress)
    return Approval(
        capabilities=held.capabilities & new.capabilities,
        egress=tuple(host for host in held.egress if host not in dropped),
        limits=held.limits,
    )


def _widened(new: Wishes, old: Wishes, held: Approval) -> Missing:
    known_hosts = [egress.parse_entry(entry) for entry in (*old.egress, *held.egress)]
    return Missing(
        capabilities=tuple(sorted(new.capabilities - old.capabilities)),
        egress=tuple(rule.text for rule in egress.widening(known_hosts, egress.parse_entries(new.egress))),
        events=tuple(topic for topic in new.topics if topic not in old.topics),
        limits=_widened_limits(new.limits, old.limits, held.limits),
    )


def _widened_limits(new: RequestedLimits, old: RequestedLimits, held: GrantedLimits) -> dict[str, int]:
    widened: dict[str, int] = {}
    for name, baseline in _BASELINE.items():
        asked = getattr(new, name) or 0
        if asked > max(baseline, getattr(old, name) or 0, getattr(held, name) or 0):
            widened[name] = asked
    return widened


def _least(name: str, operator: OperatorLimits, requested: RequestedLimits, granted: GrantedLimits) -> int:
    default = _BASELINE[name]
    asked, given = getattr(requested, name), getattr(granted, name)
    ceiling: int = getattr(operator, name)
    return min(ceiling, default if asked is None else asked, default if given is None else given)


def _concurrency(operator: OperatorLimits, requested: RequestedLimits, granted: GrantedLimits) -> int | None:
    """None leaves it to the worker's own share; a wish beyond the smallest share counts only where it was granted."""
    asked, given = requested.concurrency, granted.concurrency
    if given is not None:
        return min(operator.concurrency, given, given if asked is None else asked)
    return asked if asked is not None and asked <= CONCURRENCY_WITHOUT_CONSENT else None


def _as_granted(wishes: RequestedLimits, held: GrantedLimits) -> GrantedLimits:
    asked = {name: getattr(wishes, name) for name in _BASELINE if getattr(wishes, name) is not None}
    return msgspec.structs.replace(held, **asked)


def _merged(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*first, *second)))


def _known_capability(name: str) -> str:
    canonical = capability.ALIASES.get(name.strip().lower(), name.strip().lower())
    if canonical not in capability.ALL:
        raise Invalid(f"grants: {name[:80]!r} is not a capability")
    return canonical
