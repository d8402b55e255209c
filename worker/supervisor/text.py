"""Strangers' text made fit for a log: control characters escaped, length bounded. Pure.

Owns what counts as a control character: everything that can break a line, move a cursor, or turn the reading
direction. Which text is logged where is the callers' business.
"""

from __future__ import annotations

import re

MAX_CHARACTERS = 4096
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def escape(text: str) -> str:
    """`text` with every control character, line separator and direction mark as its escape sequence."""
    return _UNSAFE.sub(_escaped, text)


def printable(text: str, *, limit: int = MAX_CHARACTERS) -> str:
    """At most `limit` characters of `text`, escaped."""
    return escape(text[:limit]) if len(text) <= limit else f"{escape(text[:limit])}…"


def cut(text: str, *, max_bytes: int) -> tuple[str, bool]:
    """`text` cut to `max_bytes` of UTF-8 on a character boundary, and whether anything was cut."""
    if len(text) * 4 <= max_bytes:
        return text, False
    raw = text.encode(errors="replace")
    if len(raw) <= max_bytes:
        return text, False
    return raw[:max_bytes].decode(errors="ignore"), True


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return {9: "\\t", 10: "\\n", 13: "\\r"}.get(code) or (f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
