"""The strict JSON reader for documents that get hashed and signed: one document means one value, or is refused.

Refuses what parsers disagree about: a BOM, bytes that are not UTF-8, duplicate keys, NaN and infinities, numbers that
do not survive a double, lone surrogates, NUL, depth, and anything after the document.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from typing import Any, NoReturn

from schemas.errors import Invalid

MAX_DEPTH = 32
MAX_INTEGER = 2**53 - 1
_MAX_DIGITS = 400
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
"""What Postgres' jsonb and UTF-8 cannot hold."""


def read(data: bytes, *, max_bytes: int, what: str = "document") -> Any:
    """The value of a JSON document. Raises Invalid, its message naming `what` and the reason."""
    if len(data) > max_bytes:
        raise Invalid(f"{what} is {len(data)} bytes, over the limit of {max_bytes}")
    try:
        value = _DECODER.decode(_text(data))
        _check(value)
    except Invalid as problem:
        raise Invalid(f"{what} {problem.message}") from problem
    except json.JSONDecodeError as error:
        raise Invalid(f"{what} is not JSON: {error.msg} at line {error.lineno} column {error.colno}") from error
    except RecursionError as error:
        raise Invalid(f"{what} is nested deeper than {MAX_DEPTH} levels") from error
    return value


def canonical(value: Any) -> str:
    """One text per JSON value that `read` answered: equal values, equal texts; 1 and 1.0 are equal, 1 and true not."""
    return json.dumps(_with_one_number(value), sort_keys=True, separators=(",", ":"))


def _with_one_number(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _with_one_number(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_with_one_number(child) for child in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _text(data: bytes) -> str:
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        raise Invalid("starts with a byte order mark")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise Invalid(f"is not UTF-8 at byte {error.start}") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise Invalid(f"has the key {twice[:80]!r} twice in one object")
    return members


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


def _check(value: Any) -> None:
    """Level by level, so that depth costs no stack."""
    level = [value]
    depth = 0
    while level:
        depth += any(isinstance(item, dict | list) for item in level)
        if depth > MAX_DEPTH:
            raise Invalid(f"is nested deeper than {MAX_DEPTH} levels")
        for item in level:
            _check_texts(item)
        level = [child for item in level for child in _children(item)]


def _check_texts(item: Any) -> None:
    for text in item if isinstance(item, dict) else (item,):
        if isinstance(text, str) and (match := _UNSTORABLE.search(text)):
            kind = "the character U+0000" if match[0] == "\0" else "half of a surrogate pair"
            raise Invalid(f"has a string with {kind}")


def _children(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant)
