"""What crosses between callers and guests, and what stays behind."""

from __future__ import annotations

import orjson
import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway import guest_messages
from schemas.errors import ErrorCode
from schemas.guest_http import MAX_BODY_BYTES, GuestResponse
from schemas.invocation import Outcome, OutcomeKind
from tests.unit.gateway.test_access import install


def completed(response: GuestResponse) -> Outcome:
    return Outcome(kind=OutcomeKind.COMPLETED, response=response)


def crossing(*given: tuple[str, str]) -> list[tuple[str, str]]:
    """The headers a guest gets of these."""
    request = guest_messages.request_of(
        install(client_portal=False),
        method="POST",
        url="/x",
        given=CIMultiDictProxy(CIMultiDict(given)),
        body=None,
        request_id="r-1",
        idempotency_key="k-1",
    )
    return list(request.headers)


OURS = [
    ("x-request-id", "r-1"),
    ("x-alga-tenant", "t"),
    ("x-alga-extension", "r"),
    ("x-idempotency-key", "k-1"),
]


def test_names_are_lower_case_and_repeats_keep_their_order() -> None:
    """A guest compares names as they are, and may see a header twice."""
    assert crossing(("Accept", "a"), ("ACCEPT", "b"), ("Cookie", "c"), ("X-Any", "d")) == [
        ("accept", "a"),
        ("accept", "b"),
        *OURS,
    ]


def test_our_own_headers_cannot_be_sent() -> None:
    """What the fleet states is stated by the fleet."""
    sent = [("x-alga-tenant", "other"), ("x-request-id", "other"), ("x-idempotency-key", "other")]
    assert crossing(*sent) == OURS


def test_bytes_that_are_no_text_become_text() -> None:
    """Header bytes are Latin-1 where they are no UTF-8; nothing that cannot be encoded travels on."""
    assert crossing(("accept", b"caf\xe9".decode("utf-8", "surrogateescape")))[0] == ("accept", "café")


@pytest.mark.parametrize(
    "response",
    [
        GuestResponse(status=199),
        GuestResponse(status=600),
        GuestResponse(status=0),
        GuestResponse(status=200, body=b"x" * (MAX_BODY_BYTES + 1)),
        GuestResponse(status=200, headers=(("etag", "a\r\nset-cookie: b=c"),)),
        GuestResponse(status=200, headers=(("etag", "a\nb"),)),
        GuestResponse(status=200, headers=(("x-ext-a", "a\0b"),)),
        GuestResponse(status=200, headers=(("x-ext-a b", "c"),)),
        GuestResponse(status=200, headers=(("x-ext-\r\n", "c"),)),
    ],
)
def test_an_answer_that_is_no_http_is_the_guests_failure(response: GuestResponse) -> None:
    """Whatever a worker let through, nothing malformed reaches a caller."""
    answer = guest_messages.response_of(completed(response), request_id="r")
    assert answer.status == 502
    assert isinstance(answer.body, bytes)
    assert orjson.loads(answer.body)["error"]["code"] == ErrorCode.GUEST_BAD_RESPONSE


def test_a_bad_header_that_does_not_cross_spoils_nothing() -> None:
    """Headers that stay behind are not looked at."""
    response = GuestResponse(status=200, headers=(("set-cookie", "a\r\nb"), ("etag", '"1"')))
    answer = guest_messages.response_of(completed(response), request_id="r")
    assert answer.status == 200
    assert answer.headers["etag"] == '"1"'
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("kind", [OutcomeKind.GUEST_FAILED, OutcomeKind.LIMIT_EXCEEDED, OutcomeKind.PLATFORM_FAILED])
def test_an_outcome_without_a_code_is_internal(kind: OutcomeKind) -> None:
    """A failure nobody named is ours."""
    assert guest_messages.response_of(Outcome(kind=kind), request_id="r").status == 500
