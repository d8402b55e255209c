"""Which pages may read our answers: an exact list of origins; nobody else gets a CORS header. Pure."""

from __future__ import annotations

from aiohttp import web
from multidict import CIMultiDict

METHODS = "GET,POST,PUT,PATCH,DELETE,OPTIONS"
HEADERS = "content-type,x-request-id,x-idempotency-key"
MAX_AGE_SECONDS = "180"


class Cors:
    """The rule for one list of origins."""

    def __init__(self, origins: frozenset[str]) -> None:
        self._origins = origins

    def preflight(self, origin: str | None) -> web.Response:
        """The answer to OPTIONS, for every path alike."""
        response = web.Response(status=204)
        if origin is not None and origin in self._origins:
            response.headers["access-control-allow-methods"] = METHODS
            response.headers["access-control-allow-headers"] = HEADERS
            response.headers["access-control-max-age"] = MAX_AGE_SECONDS
        return response

    def mark(self, given: CIMultiDict[str], origin: str | None) -> None:
        """Add what the caller's origin is due. Answers differ by origin wherever the list is not empty."""
        if not self._origins or "access-control-allow-origin" in given:
            return
        given.add("vary", "Origin")
        if origin is not None and origin in self._origins:
            given["access-control-allow-origin"] = origin
            given["access-control-allow-credentials"] = "true"
