"""What is in force: defaults, wishes and approvals; what an update may not widen by itself."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import grants
from registry.grants import Approval, GrantedLimits, OperatorLimits, Request, Wishes
from schemas import capability
from schemas.errors import Invalid
from schemas.install import InstallStatus
from schemas.manifest import RequestedLimits

SOME = frozenset({capability.HTTP_FETCH, capability.STORAGE_KV, capability.SECRETS_GET, capability.EVENTS_SUBSCRIBE})
capabilities = st.frozensets(st.sampled_from(sorted(capability.ALL)))
requests = st.builds(Request, grants=st.none() | st.just("manifest") | capabilities)


@given(wished=capabilities, approved=capabilities)
def test_in_force_are_the_defaults_and_what_was_both_asked_and_approved(
    wished: frozenset[str], approved: frozenset[str]
) -> None:
    """Nothing but an admin's approval of a wish widens the defaults."""
    effective = grants.effective_capabilities(Wishes(capabilities=wished), Approval(capabilities=approved))

    assert effective == capability.DEFAULTS | (wished & approved & capability.REQUESTABLE)


@given(wished=capabilities, request=requests, held=capabilities)
def test_an_approval_never_holds_more_than_the_version_asks_for(
    wished: frozenset[str], request: Request, held: frozenset[str]
) -> None:
    """A grant for a capability of some later version cannot lie in wait."""
    approval = grants.approve(Wishes(capabilities=wished), request, before=Approval(capabilities=held))

    assert approval.capabilities <= wished


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (Request(), frozenset()),
        (Request(grants="manifest"), SOME),
        (Request(grants=frozenset({capability.HTTP_FETCH})), {capability.HTTP_FETCH}),
        (Request(grants=frozenset({capability.UI_PROXY})), frozenset()),
    ],
)
def test_an_install_call_approves_all_some_or_nothing(request_: Request, expected: frozenset[str]) -> None:
    """A list approves a subset, the word "manifest" everything, silence nothing."""
    assert grants.approve(Wishes(capabilities=SOME), request_).capabilities == expected


def test_hosts_of_the_manifest_are_open_only_when_they_were_approved() -> None:
    """Egress is denied by default: a list of capabilities says nothing of hosts."""
    wishes = Wishes(capabilities=frozenset({capability.HTTP_FETCH}), egress=("api.example",))

    listed = grants.approve(wishes, Request(grants=wishes.capabilities))
    everything = grants.approve(wishes, Request(grants="manifest"))
    own = grants.approve(wishes, Request(grants=wishes.capabilities, egress=("other.example",)))

    assert listed.egress == ()
    assert everything.egress == ("api.example",)
    assert own.egress == ("other.example",)


def test_hosts_without_the_capability_open_nothing() -> None:
    """The list of hosts is worth nothing without cap:http.fetch."""
    assert grants.egress_in_force(capability.DEFAULTS, Approval(egress=("api.example",))) == ()


@pytest.mark.parametrize(
    ("wishes", "request_", "status"),
    [
        (Wishes(), Request(), InstallStatus.ENABLED),
        (Wishes(capabilities=SOME), Request(), InstallStatus.PENDING),
        (Wishes(capabilities=SOME), Request(grants=frozenset()), InstallStatus.ENABLED),
        (Wishes(capabilities=SOME), Request(grants="manifest"), InstallStatus.ENABLED),
        (Wishes(egress=("a.example",)), Request(), InstallStatus.PENDING),
        (Wishes(limits=RequestedLimits(timeout_ms=9_000)), Request(), InstallStatus.PENDING),
        (Wishes(limits=RequestedLimits(timeout_ms=500, memory_mb=16)), Request(), InstallStatus.ENABLED),
    ],
)
def test_an_install_waits_for_consent_only_when_nobody_decided(
    wishes: Wishes, request_: Request, status: InstallStatus
) -> None:
    """More than the defaults and not a word about grants: pending; a decision, even to nothing, ends the wait."""
    assert grants.status_at_install(wishes, request_) is status


def test_an_update_that_widens_says_exactly_what_it_widens() -> None:
    """The admin is shown the difference, not the whole manifest."""
    old = Wishes(capabilities=frozenset({capability.STORAGE_KV}), egress=("a.example",), topics=("ticket.created",))
    new = Wishes(
        capabilities=frozenset({capability.STORAGE_KV, capability.HTTP_FETCH}),
        egress=("a.example", "b.example"),
        topics=("ticket.created", "ticket.closed"),
        limits=RequestedLimits(timeout_ms=8_000, memory_mb=64),
    )

    missing = grants.missing_consent(new, old=old, held=Approval(), request=Request())

    assert missing.as_extra() == {
        "consent_required": {
            "capabilities": [capability.HTTP_FETCH],
            "egress": ["b.example"],
            "events": ["ticket.closed"],
            "limits": {"timeout_ms": 8_000},
        }
    }


@pytest.mark.parametrize(
    ("request_", "left"),
    [
        (Request(grants="manifest"), {}),
        (Request(grants=frozenset({capability.HTTP_FETCH})), {"egress", "limits"}),
        (Request(egress=("b.example",)), {"capabilities", "limits"}),
        (Request(limits=GrantedLimits(timeout_ms=8_000)), {"capabilities", "egress"}),
    ],
)
def test_a_call_decides_about_the_parts_it_states(request_: Request, left: set[str]) -> None:
    """Consent given in the same call is not asked for again; what was not mentioned still is."""
    new = Wishes(
        capabilities=frozenset({capability.HTTP_FETCH}),
        egress=("b.example",),
        limits=RequestedLimits(timeout_ms=8_000),
    )

    missing = grants.missing_consent(new, old=Wishes(), held=Approval(), request=request_)

    assert {name for name in ("capabilities", "egress", "events", "limits") if getattr(missing, name)} == set(left)


def test_narrowing_needs_no_consent_and_takes_the_grant_with_it() -> None:
    """What a version stops asking for must be asked for again before it is granted again."""
    held = Approval(capabilities=SOME, egress=("a.example", "added.example"))
    old = Wishes(capabilities=SOME, egress=("a.example",))
    new = Wishes(capabilities=frozenset({capability.STORAGE_KV}))

    missing = grants.missing_consent(new, old=old, held=held, request=Request())
    narrowed = grants.narrow(old, new, held)

    assert not missing
    assert narrowed.capabilities == {capability.STORAGE_KV}
    assert narrowed.egress == ("added.example",)


def test_a_host_that_an_approved_pattern_covers_is_no_widening() -> None:
    """`*.example.com` was approved, so `a.example.com` needs no new consent."""
    held = Approval(egress=("*.example.com",))

    assert not grants.missing_consent(Wishes(egress=("a.example.com",)), old=Wishes(), held=held, request=Request())


def test_a_list_set_anew_revokes_what_it_leaves_out_and_leaves_hosts_alone() -> None:
    """Revoking is setting the list without it."""
    before = Approval(capabilities=SOME, egress=("a.example",))

    after = grants.replace_approval(
        Wishes(capabilities=SOME), Request(grants=frozenset({capability.STORAGE_KV})), before
    )

    assert after.capabilities == {capability.STORAGE_KV}
    assert after.egress == ("a.example",)


@pytest.mark.parametrize(
    ("operator", "requested", "granted", "timeout_ms"),
    [
        (60_000, None, None, 5_000),
        (60_000, 8_000, None, 5_000),
        (60_000, 8_000, 8_000, 8_000),
        (60_000, 8_000, 6_000, 6_000),
        (60_000, None, 20_000, 5_000),
        (3_000, 8_000, 8_000, 3_000),
        (60_000, 500, None, 500),
    ],
)
def test_the_least_of_operator_wish_and_grant_is_in_force(
    operator: int, requested: int | None, granted: int | None, timeout_ms: int
) -> None:
    """An unmentioned limit is its default, so a wish beyond it counts only where it was granted."""
    limits = grants.limits_in_force(
        OperatorLimits(timeout_ms=operator), RequestedLimits(timeout_ms=requested), GrantedLimits(timeout_ms=granted)
    )

    assert limits.timeout_ms == timeout_ms


@pytest.mark.parametrize(
    ("requested", "granted", "concurrency"),
    [(None, None, None), (16, None, None), (2, None, 2), (16, 8, 8), (None, 4, 4), (4, 200, 4)],
)
def test_a_wish_for_more_slots_counts_only_when_it_was_granted(
    requested: int | None, granted: int | None, concurrency: int | None
) -> None:
    """Without a number the worker's own share holds."""
    limits = grants.limits_in_force(
        OperatorLimits(), RequestedLimits(concurrency=requested), GrantedLimits(concurrency=granted)
    )

    assert limits.concurrency == concurrency


def test_grants_are_read_with_their_aliases_and_unknown_names_are_refused() -> None:
    """The same spellings as in a manifest; a typo is an error, not a silent nothing."""
    assert grants.parse_grants([" HTTP.fetch ", "cap:storage.kv"]) == {capability.HTTP_FETCH, capability.STORAGE_KV}
    assert grants.parse_grants("manifest") == "manifest"
    assert grants.parse_grants(None) is None
    with pytest.raises(Invalid, match="cap:root"):
        grants.parse_grants(["cap:root"])
    with pytest.raises(Invalid):
        grants.parse_grants("everything")


@pytest.mark.parametrize("limits", [{"timeout_ms": 60_001}, {"memory_mb": 8}, {"speed": 3}, {"reuse": "many"}, []])
def test_granted_limits_out_of_bounds_are_refused_by_name(limits: object) -> None:
    """An admin cannot grant what no install may have."""
    with pytest.raises(Invalid, match="limits"):
        grants.parse_limits(limits)
