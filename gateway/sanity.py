"""Is this a request that everybody reads alike? Pure checks of what the HTTP parser lets through (hazards F44, F45).

Owns version, target form, framing and encoding. A request refused here was never identified, and its connection
closes: what follows on it cannot be trusted.
"""

from __future__ import annotations

import re

from aiohttp import HttpVersion10, HttpVersion11, web

from schemas import ids
from schemas.errors import Invalid

REFUSED_METHODS = frozenset({"TRACE", "CONNECT"})
_HOST = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?", re.ASCII)


def check(request: web.BaseRequest) -> None:
    """Raises Invalid for a request that two readers could take for different ones."""
    given = request.headers
    if request.version not in (HttpVersion10, HttpVersion11):
        raise Invalid("request is not HTTP/1.0 or HTTP/1.1")
    if request.method in REFUSED_METHODS:
        raise Invalid(f"method {request.method} is not served")
    if not request.raw_path.startswith("/") or "#" in request.raw_path:
        raise Invalid("request target must be a path, not a URL, an authority or a fragment")
    _check_host(given.getall("host", []), required=request.version == HttpVersion11)
    _check_framing(request)
    if given.get("expect", "100-continue").lower() != "100-continue":
        raise Invalid("Expect must be 100-continue")
    encoding = given.get("content-encoding")
    if encoding is not None and encoding.strip().lower() != "identity":
        raise Invalid("content-encoding of a request must be identity")


def request_id_of(given: str | None) -> str:
    """The caller's request id if it is well-formed, else a new one."""
    return given if given is not None and ids.is_request_id(given) else ids.uuid7()


def raw_target(request: web.BaseRequest) -> tuple[str, str]:
    """Path and query of the target exactly as they came."""
    path, _, query = request.raw_path.partition("?")
    return path, query


def _check_host(hosts: list[str], *, required: bool) -> None:
    if len(hosts) > 1 or (required and not hosts):
        raise Invalid(f"request must have one Host header, not {len(hosts)}")
    if hosts and not _HOST.fullmatch(hosts[0]):
        raise Invalid("Host is not a name or address with an optional port")


def _check_framing(request: web.BaseRequest) -> None:
    given = request.headers
    transfer = given.getall("transfer-encoding", None)
    if transfer is None and "upgrade" not in given:
        return
    if transfer is not None and request.version == HttpVersion10:
        raise Invalid("Transfer-Encoding is not part of HTTP/1.0")
    if transfer is not None and ([value.strip().lower() for value in transfer] != ["chunked"]):
        raise Invalid("Transfer-Encoding must be chunked, once")
    if transfer is not None and "content-length" in given:
        raise Invalid("request has Content-Length and Transfer-Encoding")
    if "upgrade" in given and (transfer is not None or given.get("content-length", "0") != "0"):
        raise Invalid("a request with a body cannot ask for an upgrade")
