"""The table of statuses is complete, and a body says what it should and no more."""

from __future__ import annotations

import orjson
import pytest

from gateway import errors
from schemas.errors import Conflict, ErrorCode, Exhausted, FleetError, Internal, Unauthenticated, Unavailable, from_code
from schemas.invocation import Outcome, OutcomeKind

EXPECTED = {
    400: "invalid_request",
    413: "payload_too_large",
    422: "bundle_invalid manifest_invalid signature_invalid",
    401: "unauthenticated",
    403: "forbidden tenant_mismatch capability_denied",
    404: "not_found extension_not_installed endpoint_not_found",
    409: "conflict version_exists",
    429: "rate_limited quota_exceeded concurrency_exceeded",
    503: "no_worker overloaded draining dependency_unavailable",
    502: "bundle_integrity guest_trap guest_memory guest_bad_response",
    504: "deadline_exceeded",
    500: "internal",
}


def test_every_code_has_the_documented_status() -> None:
    """One status per code, none missing, none beside the list."""
    documented = {ErrorCode(code): status for status, codes in EXPECTED.items() for code in codes.split()}
    assert documented == errors.STATUS
    assert set(errors.STATUS) == set(ErrorCode)


@pytest.mark.parametrize("code", list(ErrorCode))
def test_a_response_carries_code_message_and_request_id(code: ErrorCode) -> None:
    """The body of every code has the same three fields; 429 and 503 say when to come back."""
    outcome = Outcome(kind=OutcomeKind.PLATFORM_FAILED, code=code, message="a sentence")
    response = errors.response_of_outcome(outcome, request_id="r-1")
    assert response.status == errors.STATUS[code]
    assert isinstance(response.body, bytes)
    assert orjson.loads(response.body) == {"error": {"code": code, "message": "a sentence", "request_id": "r-1"}}
    assert ("retry-after" in response.headers) == (response.status in (429, 503))
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(("seconds", "header"), [(None, "1"), (0.0, "1"), (0.2, "1"), (1.5, "2"), (7, "7")])
def test_retry_after_is_in_whole_seconds_and_at_least_one(seconds: float | None, header: str) -> None:
    """Nobody is told to come back at once."""
    response = errors.response_of(Exhausted("wait", retry_after_seconds=seconds), request_id="r")
    assert response.headers["retry-after"] == header


def test_detail_has_no_way_out() -> None:
    """What an error keeps for the log is in no part of the answer."""
    response = errors.response_of(Unavailable("not now", detail="password=hunter2"), request_id="r")
    assert isinstance(response.body, bytes)
    assert b"hunter2" not in response.body
    assert all("hunter2" not in value for value in response.headers.values())


def test_what_is_not_ours_becomes_internal_and_says_nothing() -> None:
    """A bug shows its class, text and origin to nobody."""
    problem = errors.error_of(ValueError("secret path /etc/x"))
    assert type(problem) is Internal
    assert "secret" not in problem.message


def test_extra_fields_cannot_replace_the_three() -> None:
    """What an error adds stands beside code, message and request id."""
    problem = Conflict("no", extra={"consent_required": {"egress": ["a"]}, "code": "x"})
    response = errors.response_of(problem, request_id="r")
    assert isinstance(response.body, bytes)
    assert orjson.loads(response.body)["error"] == {
        "code": "conflict",
        "message": "no",
        "request_id": "r",
        "consent_required": {"egress": ["a"]},
    }


def test_a_401_names_a_scheme() -> None:
    """RFC 9110 wants a challenge with a 401."""
    assert errors.response_of(Unauthenticated("who"), request_id="r").headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("code", [code for code in ErrorCode if not code.startswith("guest_")])
def test_a_client_can_rebuild_the_error_from_its_code(code: ErrorCode) -> None:
    """Codes go out and come back as the same class."""
    rebuilt = from_code(code, "m")
    assert isinstance(rebuilt, FleetError)
    assert rebuilt.code is code
