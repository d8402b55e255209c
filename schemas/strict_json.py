"""The strict JSON reader for documents that get hashed and signed: one document means one value, or is refused.

Refuses what parsers disagree about: a BOM, bytes that are not UTF-8, duplicate keys, NaN and infinities, numbers that
do not survive a double, lone surrogates, NUL, depth, and anything after the document.
"""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

from schemas.errors import Invalid

MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1
_MAX_DIGITS = 400


def read(data: bytes, *, max_bytes: int, what: str = "document") -> Any:
    """The value of a JSON document. Raises Invalid, its message naming `what` and the reason."""
    if len(data) > max_bytes:
        raise Invalid(f"{what} is {len(data)} bytes, over the limit of {max_bytes}")
    try:
        value = _DECODER.decode(_text(data))
    except Invalid as problem:
        raise Invalid(f"{what} {problem.message}") from problem
    except json.JSONDecodeError as error:
        raise Invalid(f"{what} is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise Invalid(f"{what} is nested deeper than {MAX_DEPTH} levels") from error
    if _deeper_than(value, MAX_DEPTH):
        raise Invalid(f"{what} is nested deeper than {MAX_DEPTH} levels")
    return value


def _text(data: bytes) -> str:
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise Invalid("starts with a byte order mark")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"is not UTF-8 at byte {error.start}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise Invalid(f"has the key {key[:80]!r} twice in one object")
        _check_text(key)
        members[key] = value
    for value in members.values():
        _check_texts(value)
    return members


def _check_texts(value: Any) -> None:
    """Strings directly in `value`; objects below it were checked when they were read."""
    if isinstance(value, str):
        _check_text(value)
    elif isinstance(value, list):
        for item in value:
            _check_texts(item)


def _check_text(text: str) -> None:
    if "\0" in text:
        raise Invalid("has a string with the character U+0000")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise Invalid("has a string with half of a surrogate pair")


def _integer(text: str) -> int:
    if len(text) > _MAX_DIGITS or abs(int(text)) > MAX_INTEGER:
        raise Invalid(f"has the integer {text[:40]}, beyond ±{MAX_INTEGER}")
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise Invalid(f"has the number {text[:40]}, beyond a double")
    return number


def _constant(text: str) -> NoReturn:
    raise Invalid(f"has {text}, which JSON does not know")


def _deeper_than(value: Any, levels: int) -> bool:
    layer = [value]
    for _ in range(levels):
        layer = [child for item in layer for child in _children(item)]
        if not layer:
            return False
    return any(isinstance(item, dict | list) for item in layer)


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
