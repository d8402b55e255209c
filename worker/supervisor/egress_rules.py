"""What a guest's http.fetch may ask for: method, URL, headers, size; and what its answer looks like. Pure.

Owns the rules of `compat.md` 3.1 that need no network. Hosts are `schemas/egress.py`'s, addresses `addresses.py`'s.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from schemas import egress

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
MAX_URL_CHARACTERS = 8 * 1024
MAX_HEADERS = 100
MAX_HEADER_BYTES = 32 * 1024
MAX_BODY_BYTES = 2 * 1024 * 1024
MAX_CALLS = 10
MAX_TOTAL_BYTES = 5 * 1024 * 1024
TIMEOUT_SECONDS = 30.0

INVALID_URL, NOT_ALLOWED, TRANSPORT, INTERNAL = "invalid-url", "not-allowed", "transport", "internal"
"""The cases of `http-error`."""

_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9a-f:.]+\]|[^\s/?#@:\[\]\\]+)(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<rest>[/?][!-~]*)?",
    re.ASCII | re.IGNORECASE,
)
_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+", re.ASCII)
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "te", "trailer", "trailers", "transfer-encoding", "upgrade", "expect"}
)
_OURS = frozenset({"host", "content-length"})


class Refused(Exception):
    """A fetch that will not be made, or has failed: the case for the guest, and the reason for the live log."""

    def __init__(self, case: str, reason: str) -> None:
        super().__init__(reason)
        self.case, self.reason = case, reason


@dataclass(frozen=True)
class Destination:
    """Where a fetch goes. `host` is normal; `target` is path and query as the guest wrote them."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == egress.DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}{self.target}"


@dataclass(frozen=True)
class Fetch:
    """One request that keeps the rules."""

    method: str
    destination: Destination
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def size(self) -> int:
        """Bytes it puts on the wire, near enough to bill."""
        return len(self.destination.target) + sum(len(n) + len(v) + 4 for n, v in self.headers) + len(self.body)


def check(request: Any) -> Fetch:
    """The `http-request` record of a guest as a Fetch. Raises Refused."""
    try:
        method, url = request["method"], request["url"]
        headers = [(header["name"], header["value"]) for header in request["headers"]]
        body = request["body"] or b""
    except (KeyError, TypeError) as error:
        raise Refused(INTERNAL, "the request is not an http-request record") from error
    if method.upper() not in METHODS:
        raise Refused(INVALID_URL, f"method is not one of {', '.join(sorted(METHODS))}")
    destination = parse_url(url)
    if len(body) > MAX_BODY_BYTES:
        raise Refused(TRANSPORT, f"request body is {len(body)} bytes, over the limit of {MAX_BODY_BYTES}")
    return Fetch(method.upper(), destination, _check_headers(headers), body)


def parse_url(text: str) -> Destination:
    """An absolute http or https URL. Raises Refused: invalid-url, or not-allowed for what only looks like a host."""
    if len(text) > MAX_URL_CHARACTERS:
        raise Refused(INVALID_URL, f"URL is {len(text)} characters, over the limit of {MAX_URL_CHARACTERS}")
    match = _URL.fullmatch(text.partition("#")[0])
    if match is None:
        raise Refused(INVALID_URL, "URL is not an absolute http or https URL without user information")
    scheme, port_text = match["scheme"].lower(), match["port"]
    port = egress.DEFAULT_PORTS[scheme] if port_text is None else int(port_text)
    if not 1 <= port <= 65_535:
        raise Refused(INVALID_URL, f"port must be 1 to 65535, not {port}")
    host = egress.normal_host(match["host"])
    if host is None:
        raise Refused(NOT_ALLOWED, "the host of the URL is neither a plain host name nor an IP address")
    rest = match["rest"] or "/"
    return Destination(scheme, host, port, rest if rest.startswith("/") else f"/{rest}")


def check_answer_headers(headers: list[tuple[str, str]]) -> list[dict[str, str]]:
    """An answer's headers as the guest gets them: lower-case names, repeats kept. Raises Refused over the limits."""
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise Refused(
            TRANSPORT,
            f"the answer's {len(headers)} headers of {size} bytes are over {MAX_HEADERS} or {MAX_HEADER_BYTES} bytes",
        )
    return [{"name": name.lower(), "value": value} for name, value in headers]


def _check_headers(headers: list[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise Refused(
            NOT_ALLOWED,
            f"{len(headers)} headers of {size} bytes are over the limit of {MAX_HEADERS} or {MAX_HEADER_BYTES}",
        )
    for name, value in headers:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise Refused(NOT_ALLOWED, "a header has characters that HTTP does not allow")
        if is_forbidden_header(name):
            raise Refused(NOT_ALLOWED, f"the header {name.lower()[:60]} may not be set")
    return tuple(headers)


def is_forbidden_header(name: str) -> bool:
    """Headers that decide where a request goes, how it is framed, or who we say it is."""
    lowered = name.lower()
    return lowered in _OURS or lowered in _HOP_BY_HOP or lowered.startswith(("proxy-", "x-alga-"))
