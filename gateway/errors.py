"""Error codes as HTTP: the one table of statuses, and the body that an error has.

Owns nothing else: what failed is `schemas/errors.py`'s, how a guest failed is in its Outcome. A 429 or 503 always
carries Retry-After. `detail` of an error never comes near a response.
"""

from __future__ import annotations

import math

import orjson
from aiohttp import web

from schemas import headers
from schemas.errors import ErrorCode, FleetError, Internal
from schemas.invocation import Outcome

DEFAULT_RETRY_AFTER_SECONDS = 1.0
JSON_TYPE = "application/json"
SERVER = "alga"
"""What software and which version answers is nobody's business."""

STATUS: dict[ErrorCode, int] = {
    ErrorCode.INVALID_REQUEST: 400,
    ErrorCode.PAYLOAD_TOO_LARGE: 413,
    ErrorCode.BUNDLE_INVALID: 422,
    ErrorCode.MANIFEST_INVALID: 422,
    ErrorCode.SIGNATURE_INVALID: 422,
    ErrorCode.UNAUTHENTICATED: 401,
    ErrorCode.FORBIDDEN: 403,
    ErrorCode.TENANT_MISMATCH: 403,
    ErrorCode.CAPABILITY_DENIED: 403,
    ErrorCode.NOT_FOUND: 404,
    ErrorCode.EXTENSION_NOT_INSTALLED: 404,
    ErrorCode.ENDPOINT_NOT_FOUND: 404,
    ErrorCode.CONFLICT: 409,
    ErrorCode.VERSION_EXISTS: 409,
    ErrorCode.RATE_LIMITED: 429,
    ErrorCode.QUOTA_EXCEEDED: 429,
    ErrorCode.CONCURRENCY_EXCEEDED: 429,
    ErrorCode.NO_WORKER: 503,
    ErrorCode.OVERLOADED: 503,
    ErrorCode.DRAINING: 503,
    ErrorCode.DEPENDENCY_UNAVAILABLE: 503,
    ErrorCode.BUNDLE_INTEGRITY: 502,
    ErrorCode.DEADLINE_EXCEEDED: 504,
    ErrorCode.INTERNAL: 500,
    ErrorCode.GUEST_TRAP: 502,
    ErrorCode.GUEST_MEMORY: 502,
    ErrorCode.GUEST_BAD_RESPONSE: 502,
}


def status_of(code: ErrorCode) -> int:
    return STATUS[code]


def retry_after(code: ErrorCode, seconds: float | None) -> int | None:
    """Whole seconds for Retry-After, at least 1; None where the status has none."""
    if STATUS[code] not in (429, 503):
        return None
    return max(1, math.ceil(DEFAULT_RETRY_AFTER_SECONDS if seconds is None else seconds))


def body_of(code: ErrorCode, message: str, *, request_id: str, extra: dict[str, object] | None = None) -> bytes:
    """`{"error": {"code", "message", "request_id"}}`; what an error adds (`extra`) stands beside these three."""
    described: dict[str, object] = {"code": code.value, "message": message, "request_id": request_id}
    return orjson.dumps({"error": {**described, **(extra or {}), **described}})


def response_of(error: FleetError, *, request_id: str) -> web.Response:
    """The answer to a request that failed on the platform's side of the wall."""
    body = body_of(error.code, error.message, request_id=request_id, extra=error.extra)
    return _response(error.code, body, request_id=request_id, seconds=error.retry_after_seconds)


def response_of_outcome(outcome: Outcome, *, request_id: str) -> web.Response:
    """The answer to an invocation that did not complete."""
    code = ErrorCode.INTERNAL if outcome.code is None else outcome.code
    return _response(code, body_of(code, outcome.message, request_id=request_id), request_id=request_id, seconds=None)


def error_of(problem: Exception) -> FleetError:
    """Anything that is not one of ours is a bug of ours, and says nothing about itself."""
    return problem if isinstance(problem, FleetError) else Internal("something went wrong on our side")


def _response(code: ErrorCode, body: bytes, *, request_id: str, seconds: float | None) -> web.Response:
    response = web.Response(status=STATUS[code], body=body, content_type=JSON_TYPE)
    response.headers[headers.REQUEST_ID] = request_id
    response.headers["cache-control"] = "no-store"
    response.headers["x-content-type-options"] = "nosniff"
    wait = retry_after(code, seconds)
    if wait is not None:
        response.headers["retry-after"] = str(wait)
    if code is ErrorCode.UNAUTHENTICATED:
        response.headers["www-authenticate"] = "Bearer"
    return response
