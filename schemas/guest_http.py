"""HTTP as a guest sees it: a request in, a response out, and the bounds of both."""

from __future__ import annotations

from schemas.codec import Wire
from schemas.errors import TooLarge

MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_QUERY_BYTES = 8 * 1024
MAX_RESPONSE_HEADERS = 256
MAX_RESPONSE_HEADER_BYTES = 64 * 1024

Header = tuple[str, str]


class GuestRequest(Wire, frozen=True):
    """`url` is the canonical path, `?` and the raw query. Header names are lower-case. `body` None: there is none."""

    method: str
    url: str
    headers: tuple[Header, ...] = ()
    body: bytes | None = None


class GuestResponse(Wire, frozen=True):
    """What the guest answered: status 200-599, headers in its order (repeats kept), an optional body."""

    status: int
    headers: tuple[Header, ...] = ()
    body: bytes | None = None


def check_body(body: bytes | None, *, limit: int = MAX_BODY_BYTES, what: str = "request body") -> None:
    if body is not None and len(body) > limit:
        raise TooLarge(f"{what} is {len(body)} bytes, over the limit of {limit}")


def problem_of_response(response: GuestResponse, *, limit: int = MAX_BODY_BYTES) -> str | None:
    """Why a guest's answer cannot be passed on (502 guest_bad_response), or None."""
    if not 200 <= response.status <= 599:
        return f"status {response.status} is not within 200 to 599"
    if response.body is not None and len(response.body) > limit:
        return f"body is {len(response.body)} bytes, over the limit of {limit}"
    if len(response.headers) > MAX_RESPONSE_HEADERS:
        return f"{len(response.headers)} headers, over the limit of {MAX_RESPONSE_HEADERS}"
    if sum(len(name) + len(value) for name, value in response.headers) > MAX_RESPONSE_HEADER_BYTES:
        return f"headers are over the limit of {MAX_RESPONSE_HEADER_BYTES} bytes"
    for name, value in response.headers:
        if not _is_token(name):
            return "a header name is not an HTTP token"
        if any((ord(char) < 32 and char != "\t") or ord(char) == 127 for char in value):
            return "a header value has a control character"
    return None


_TOKEN_CHARS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _is_token(name: str) -> bool:
    return bool(name) and _TOKEN_CHARS.issuperset(name)
