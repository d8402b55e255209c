"""The former runner's body: what is read, what is clamped, and what the guest sees."""

from __future__ import annotations

import pytest

from gateway import execute_bodies
from gateway.execute_bodies import Http, WantedLimits
from schemas.errors import ErrorCode, Invalid
from schemas.guest_http import GuestResponse
from schemas.invocation import Limits, Trigger
from tests.unit.gateway.test_access import install


@pytest.mark.parametrize(
    ("http", "url"),
    [
        (Http(method="get", path="/api/x"), "/api/x"),
        (Http(method="GET", path="api/x"), "/api/x"),
        (Http(method="GET", path="/x", query={"k": "v w", "é": "&"}), "/x?k=v+w&%C3%A9=%26"),
        (Http(method="GET", path="/x", query={"a": ["1", "2"], "b": True, "c": None}), "/x?a=1&a=2&b=true&c=null"),
        (Http(method="GET", path="/a?b#c"), "/a%3Fb%23c"),
        (Http(method="GET", path="/é"), "/%C3%A9"),
    ],
)
def test_the_url_is_path_and_encoded_query(http: Http, url: str) -> None:
    """What a host gives as a path stays a path."""
    assert execute_bodies.guest_request(http).url == url


@pytest.mark.parametrize(("text", "body"), [(None, None), ("", b""), ("aGk=", b"hi")])
def test_no_body_and_an_empty_one_differ(text: str | None, body: bytes | None) -> None:
    """Absent is none, the empty text is an empty body."""
    assert execute_bodies.guest_request(Http(method="POST", path="/", body_b64=text)).body == body


def test_a_body_that_is_not_base64_is_invalid() -> None:
    """It is named, not guessed."""
    with pytest.raises(Invalid, match="body_b64"):
        execute_bodies.guest_request(Http(method="POST", path="/", body_b64="!"))


@pytest.mark.parametrize(
    ("wanted", "timeout_ms", "memory_mb"),
    [
        (WantedLimits(), 5000, 128),
        (WantedLimits(timeout_ms=100, memory_mb=64), 100, 64),
        (WantedLimits(timeout_ms=10**9, memory_mb=10**9), 5000, 128),
        (WantedLimits(timeout_ms=0, memory_mb=0), 5000, 128),
        (WantedLimits(timeout_ms=-5, memory_mb=float("inf")), 5000, 128),
        (WantedLimits(timeout_ms=1.9), 1, 128),
    ],
)
def test_limits_only_lower(wanted: WantedLimits, timeout_ms: int, memory_mb: int) -> None:
    """Clamped, never refused; zero is the default and not an immediate end."""
    limits = execute_bodies.limits_of(wanted, install(client_portal=False))
    assert limits is not None
    assert (limits.timeout_ms, limits.memory_mb) == (timeout_ms, memory_mb)


def test_fuel_only_lowers() -> None:
    """None stays none; a number counts where it is less."""
    resolved = install(client_portal=False)
    assert execute_bodies.limits_of(None, resolved) is None
    lowered = execute_bodies.limits_of(WantedLimits(fuel=5), resolved)
    assert isinstance(lowered, Limits)
    assert lowered.fuel == 5


def test_repeated_headers_are_joined_and_cookies_dropped() -> None:
    """The envelope has one text per header."""
    headers = (("Vary", "a"), ("vary", "b"), ("Set-Cookie", "c"), ("x-ext-d", "e"))
    envelope = execute_bodies.answer_of(GuestResponse(status=201, headers=headers, body=b""))
    assert envelope == {"status": 201, "headers": {"vary": "a, b", "x-ext-d": "e"}, "body_b64": ""}
    assert "body_b64" not in execute_bodies.answer_of(GuestResponse(status=204))


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (ErrorCode.INVALID_REQUEST, "message"),
        (ErrorCode.BUNDLE_INTEGRITY, "bundle_fetch_failed: message"),
        (ErrorCode.DEPENDENCY_UNAVAILABLE, "bundle_fetch_failed: message"),
        (ErrorCode.INTERNAL, "engine_init_failed: message"),
        (ErrorCode.GUEST_TRAP, "execute_failed: guest_trap"),
        (ErrorCode.DEADLINE_EXCEEDED, "execute_failed: deadline_exceeded"),
        (ErrorCode.TENANT_MISMATCH, "tenant_mismatch"),
        (ErrorCode.RATE_LIMITED, "rate_limited"),
        (ErrorCode.NO_WORKER, "no_worker"),
    ],
)
def test_errors_have_the_strings_hosts_know(code: ErrorCode, text: str) -> None:
    """Codes the former runner never had stand for themselves."""
    assert execute_bodies.error_text(code, "message") == text


@pytest.mark.parametrize(
    ("text", "trigger"),
    [(None, Trigger.HTTP), ("http", Trigger.HTTP), ("schedule", Trigger.SCHEDULE), ("anything", Trigger.HTTP)],
)
def test_an_unknown_trigger_is_http(text: str | None, trigger: Trigger) -> None:
    """Hosts send what they like; the log knows three."""
    assert execute_bodies.trigger_of(text) is trigger
