"""Paths of endpoints: one normal form, and which declared endpoint a path is. Pure.

One function makes the canonical path; it is matched, authorised, logged and handed to the guest, so no spelling is
authorised as one endpoint and delivered as another. Percent-encoding is undone once per segment and redone with
one fixed alphabet; an encoded slash stays inside its segment.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from schemas.errors import ErrorCode, Invalid, NotFound
from schemas.guest_http import MAX_QUERY_BYTES
from schemas.install import Endpoint

MAX_SEGMENTS = 256
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
"""What an endpoint can be called with; a manifest may declare HEAD and OPTIONS, but they match nothing."""
_PLAIN = re.compile(r"(?:/[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*)+", re.ASCII)
"""A path that is canonical as it stands; a segment that begins with a dot takes the longer way."""
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_KEPT = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~!$&'()*+,;=:@")
_SPELLING = tuple(chr(byte) if byte in _KEPT else f"%{byte:02X}" for byte in range(256))
_QUERY_KEPT = _KEPT | frozenset(b'/?%"<>[]\\^`{|}')

Segments = tuple[str, ...]


class Match(msgspec.Struct, frozen=True):
    """The declared endpoint behind a path; `endpoint.path` is its template, for logs."""

    endpoint: Endpoint
    path: str


class EndpointTable:
    """The endpoints of one version, arranged for look-up by method and number of segments."""

    __slots__ = ("_by_shape",)

    def __init__(self, endpoints: Iterable[Endpoint]) -> None:
        shapes: dict[tuple[str, int], list[tuple[Segments, Endpoint]]] = {}
        for endpoint in endpoints:
            pattern = _pattern(endpoint.path)
            if pattern is None or endpoint.method.upper() not in METHODS:
                continue
            shapes.setdefault((endpoint.method.upper(), len(pattern)), []).append((pattern, endpoint))
        for candidates in shapes.values():
            candidates.sort(key=lambda candidate: tuple(part == "" for part in candidate[0]))
        self._by_shape = shapes

    def find(self, method: str, path: str) -> Match | None:
        """The endpoint of a canonical path; HEAD is GET. Literals beat parameters, from the left."""
        segments = split(path)
        for pattern, endpoint in self._by_shape.get(("GET" if method == "HEAD" else method, len(segments)), ()):
            if all(part in ("", segment) for part, segment in zip(pattern, segments, strict=True)):
                return Match(endpoint, path)
        return None

    def get(self, method: str, path: str) -> Match:
        match = self.find(method, path)
        if match is None:
            raise NotFound("the extension declares no such endpoint", code=ErrorCode.ENDPOINT_NOT_FOUND)
        return match


def canonical_path(raw: str) -> str:
    """The one normal form of a request path: `/` and segments, no empty ones, no trailing slash.

    Raises Invalid for a decoded `.` or `..` segment, a control character, a malformed escape or too many segments.
    """
    if _PLAIN.fullmatch(raw) and raw.count("/") <= MAX_SEGMENTS:
        return raw
    segments = [part for part in raw.split("/") if part]
    if len(segments) > MAX_SEGMENTS:
        raise Invalid(f"path has {len(segments)} segments, over the limit of {MAX_SEGMENTS}")
    return "/" + "/".join(map(_canonical_segment, segments))


def canonical_query(raw: str) -> str:
    """The raw query, order and repeats kept; bytes that may not stand in a URL are escaped."""
    if len(raw) > MAX_QUERY_BYTES:
        raise Invalid(f"query is {len(raw)} bytes, over the limit of {MAX_QUERY_BYTES}")
    if raw.isascii() and raw.isprintable():
        return raw
    data = raw.encode("utf-8", "surrogateescape")
    if any(byte < 32 or byte == 127 for byte in data):
        raise Invalid("query has a control character")
    return "".join(chr(byte) if byte in _QUERY_KEPT else f"%{byte:02X}" for byte in data)


def split(path: str) -> Segments:
    """The segments of a canonical path; none for `/`."""
    return tuple(path[1:].split("/")) if len(path) > 1 else ()


def _canonical_segment(raw: str) -> str:
    data = _ESCAPE.sub(_unescape, raw.encode("utf-8", "surrogateescape"))
    if data in (b".", b".."):
        raise Invalid("path has a segment that is . or .. when decoded")
    if any(byte < 32 or byte == 127 for byte in data):
        raise Invalid("path has a control character when decoded")
    return "".join(map(_SPELLING.__getitem__, data))


def _unescape(match: re.Match[bytes]) -> bytes:
    if match[1] is None:
        raise Invalid("path has a % that two hexadecimal digits do not follow")
    return bytes((int(match[1], 16),))


def _pattern(template: str) -> Segments | None:
    """Segments of a declared path, canonical, a parameter as the empty string; None: nothing can reach it."""
    try:
        return tuple("" if part.startswith(":") else _canonical_segment(part) for part in template.split("/") if part)
    except Invalid:
        return None
