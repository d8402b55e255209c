"""`__method` of `/api/ext-proxy`: which method a bridged request really has. Pure.

Bridges in iframes can only POST. `__method` in the query or as a top-level key of a JSON body names the method that
is authorised and delivered, and is taken out again; the query wins. Nothing here applies to anything but a POST.
"""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple
from urllib.parse import unquote_plus

from schemas.errors import Invalid

KEY = "__method"
METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE"})
_MARK = b'"__method"'
_ABSENT: Final = object()


class Bridged(NamedTuple):
    """A request after the rules: `stated` says that `__method` was there."""

    method: str
    query: str
    body: bytes | None
    stated: bool


def apply(query: str, body: bytes | None) -> Bridged:
    """The request that a POST with this raw query and body stands for. Raises Invalid for an unknown method."""
    named, rest = _from_query(query)
    in_body, without = _from_body(body)
    chosen = named if named is not None else in_body
    if chosen is _ABSENT:
        return Bridged("POST", query, body or None, stated=False)
    method = _parse(chosen)
    return Bridged(method, rest, None if method == "GET" else without, stated=True)


def _from_query(query: str) -> tuple[str | None, str]:
    """The value of `__method` and the query without it; other parameters keep their spelling and order."""
    if "method" not in query.lower():
        return None, query
    values: list[str] = []
    kept: list[str] = []
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if unquote_plus(name) == KEY:
            values.append(unquote_plus(value))
        else:
            kept.append(pair)
    if len({value.upper() for value in values}) > 1:
        raise Invalid(f"query has {len(values)} values of {KEY} that differ")
    return (values[0] if values else None), "&".join(kept)


def _from_body(body: bytes | None) -> tuple[object, bytes | None]:
    """The value of the top-level key `__method` of a JSON body, or _ABSENT, and the body without it."""
    if not body or _MARK not in body:
        return _ABSENT, body or None
    document = _parse_object(body)
    if document is None or KEY not in document:
        return _ABSENT, body
    value = document.pop(KEY)
    return value, _dump(document) if document else None


def _parse_object(body: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _dump(document: dict[str, Any]) -> bytes:
    try:
        return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except ValueError as error:
        raise Invalid(f"a body with {KEY} has a number or a text that JSON does not allow") from error


def _parse(value: object) -> str:
    method = value.upper() if isinstance(value, str) else ""
    if method not in METHODS:
        raise Invalid(f"{KEY} must be one of {', '.join(sorted(METHODS))}, not {str(value)[:20]!r}")
    return method
