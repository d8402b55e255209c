"""A caller's request as a guest gets it, and a guest's answer as a caller gets it. Pure.

Owns the two allowlists at work: nothing crosses that is not named in `schemas/headers.py`. Guest HTML must not run
on the gateway's origin, so every answer says nosniff and carries a sandboxing policy.
"""

from __future__ import annotations

import re

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from gateway import errors
from schemas import headers
from schemas.errors import ErrorCode
from schemas.guest_http import MAX_BODY_BYTES, GuestRequest, GuestResponse, Header
from schemas.install import Resolved
from schemas.invocation import Outcome, OutcomeKind

CONTENT_SECURITY_POLICY = "sandbox; default-src 'none'"
_BODILESS = frozenset({204, 304})
_NOT_A_VALUE = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_NAME = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)


def request_of(
    resolved: Resolved,
    *,
    method: str,
    url: str,
    given: CIMultiDictProxy[str],
    body: bytes | None,
    request_id: str,
    idempotency_key: str | None,
) -> GuestRequest:
    """What the guest sees. `idempotency_key` None: the method has none."""
    crossing: list[Header] = [
        (name, _text(value)) for key, value in given.items() if (name := key.lower()) in headers.TO_GUEST
    ]
    crossing.append((headers.REQUEST_ID, request_id))
    crossing.append((headers.TENANT, resolved.tenant))
    crossing.append((headers.EXTENSION, resolved.registry))
    if idempotency_key is not None:
        crossing.append((headers.IDEMPOTENCY_KEY, idempotency_key))
    return GuestRequest(method=method, url=url, headers=tuple(crossing), body=body)


def response_of(outcome: Outcome, *, request_id: str) -> web.Response:
    """What the caller gets for an outcome, whatever it is."""
    if outcome.kind is not OutcomeKind.COMPLETED or outcome.response is None:
        return errors.response_of_outcome(outcome, request_id=request_id)
    answer = outcome.response
    crossing = CIMultiDict(
        (name, value)
        for key, value in answer.headers
        if (name := key.lower()) in headers.TO_CALLER or name.startswith(headers.TO_CALLER_PREFIX)
    )
    if is_bad(answer, crossing):
        return errors.response_of_outcome(_bad_response(outcome), request_id=request_id)
    crossing.setdefault("cache-control", "no-store")
    crossing["x-content-type-options"] = "nosniff"
    crossing["content-security-policy"] = CONTENT_SECURITY_POLICY
    body = None if answer.status in _BODILESS else answer.body
    return web.Response(status=answer.status, headers=crossing, body=body)


def is_bad(answer: GuestResponse, crossing: CIMultiDict[str]) -> bool:
    """Whether the worker let something through that cannot be an HTTP answer; the edge believes no one."""
    if not 200 <= answer.status <= 599 or (answer.body is not None and len(answer.body) > MAX_BODY_BYTES):
        return True
    return any(_NOT_A_VALUE.search(value) or not _NAME.fullmatch(name) for name, value in crossing.items())


def _bad_response(outcome: Outcome) -> Outcome:
    return Outcome(
        kind=OutcomeKind.GUEST_FAILED,
        usage=outcome.usage,
        code=ErrorCode.GUEST_BAD_RESPONSE,
        message="the extension's answer is not valid HTTP",
    )


def _text(value: str) -> str:
    """A header value as text: bytes that are no UTF-8 are read as Latin-1, as HTTP once had it."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return value.encode("utf-8", "surrogateescape").decode("latin-1")
    return value
