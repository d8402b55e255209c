"""Pages of lists: the two query parameters that every list has, read the same way everywhere."""

from __future__ import annotations

from aiohttp import web

from schemas.errors import Invalid

DEFAULT_LIMIT = 50
MAX_LIMIT = 100
MAX_CURSOR_CHARACTERS = 500


def limit_of(request: web.Request, *, default: int = DEFAULT_LIMIT, maximum: int = MAX_LIMIT) -> int:
    """`limit`, 1 to `maximum`. Raises Invalid naming the value."""
    text = request.query.get("limit")
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 6 and 1 <= int(text) <= maximum):
        raise Invalid(f"limit must be a number from 1 to {maximum}, not {text[:20]!r}")
    return int(text)


def cursor_of(request: web.Request, *, name: str = "cursor") -> str:
    """`cursor` as the last page gave it, or empty for the first page."""
    text = request.query.get(name, "")
    if len(text) > MAX_CURSOR_CHARACTERS or not (text.isprintable() or not text):
        raise Invalid(f"{name} must be printable and at most {MAX_CURSOR_CHARACTERS} characters")
    return text
