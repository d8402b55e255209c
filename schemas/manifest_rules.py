"""The rules of single values in `manifest.json`: each takes a value and answers its normal form, or raises Invalid.

Owns no structure (`schemas/manifest_shape.py`) and no rule across fields (`schemas/manifest.py`). A message reads
after the path of the value: "must be …".
"""

from __future__ import annotations

import re
from typing import Any

from schemas import bundle_path
from schemas.bundle import COMPONENT_PATH
from schemas.errors import Invalid

MAX_NAME = 200
MAX_PATH = 256
MAX_TOPIC = 200
MAX_ONE_OF = 100
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
NAME_PATTERN = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)+"
TOPIC_PATTERN = r"(?:[a-z0-9_-]+|\*)(?:\.(?:[a-z0-9_-]+|\*))*(?:\.>)?|>"
ENTRY_PATTERN = rf"{re.escape(COMPONENT_PATH)}(?:#[^#\s]+)?"
_PARAMETER = re.compile(r":[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_FORBIDDEN_IN_PATH = "?#*{}\\"


def endpoint_path(text: str) -> str:
    """An endpoint's path in its normal form. Raises Invalid.

    Leading `./` dropped, `//` collapsed, a leading `/` added, a trailing one dropped; segments literal or `:name`.
    """
    path = "/" + re.sub(r"/{2,}", "/", re.sub(r"^(?:\./+)+", "", text)).strip("/")
    if len(path) > MAX_PATH:
        raise Invalid(f"is {len(path)} characters, over the limit of {MAX_PATH}")
    if any(character.isspace() or not character.isprintable() for character in path):
        raise Invalid("must not have white space or control characters")
    if ".." in path or any(character in path for character in _FORBIDDEN_IN_PATH):
        raise Invalid(f"must not have '..' or any of {' '.join(_FORBIDDEN_IN_PATH)}")
    for segment in path.split("/"):
        if segment.startswith(":") and not _PARAMETER.fullmatch(segment):
            raise Invalid(f"has the parameter {segment[:40]!r}; a name is a letter or _, then letters, digits and _")
    return path


def topic_pattern(text: str) -> str:
    """A topic, or a pattern of topics. Raises Invalid."""
    if len(text) > MAX_TOPIC:
        raise Invalid(f"is {len(text)} characters, over the limit of {MAX_TOPIC}")
    if not re.fullmatch(TOPIC_PATTERN, text, re.ASCII):
        raise Invalid(
            "must be dotted segments of a-z 0-9 _ -, where * stands for one segment and a final > for the rest"
        )
    return text


def name(text: str) -> str:
    if len(text) > MAX_NAME or not re.fullmatch(NAME_PATTERN, text, re.ASCII):
        raise Invalid(
            f"must be a reverse-DNS name in lower case such as com.acme.reports, at most {MAX_NAME} characters, "
            f"not {text[:80]!r}"
        )
    return text


def publisher(text: str) -> str:
    if not text.strip() or not text.isprintable():
        raise Invalid("must be a display name of printable characters")
    return text


def label(text: str) -> str:
    if not text.strip():
        raise Invalid("must not be blank")
    return text


def handler(text: str) -> str:
    if ".." in text:
        raise Invalid("must not have '..'")
    return text


def event_handler(text: str) -> str:
    handler(text)
    if text.startswith("/") and "/:" in endpoint_path(text):
        raise Invalid("must be a request path without :parameters")
    return text


def method(text: str) -> str:
    if text.upper() not in METHODS:
        raise Invalid(f"must be one of {', '.join(METHODS)}, not {text[:20]!r}")
    return text.upper()


def file_path(text: str) -> str:
    problem = bundle_path.problem_of(text) or ("has a hidden segment" if bundle_path.is_hidden(text) else None)
    if problem:
        raise Invalid(f"must be the path of a file in the bundle: {text[:80]!r} {problem}")
    return text


def ui_file(text: str) -> str:
    if not text.startswith("ui/"):
        raise Invalid(f"must be a file below ui/, not {text[:80]!r}")
    return file_path(text)


def entry(text: str) -> str:
    if not re.fullmatch(ENTRY_PATTERN, text):
        raise Invalid(f"may only be {COMPONENT_PATH} or {COMPONENT_PATH}#name, not {text[:80]!r}")
    return text


def filter_path(text: str) -> str:
    if not all(text.split(".")) or len(text) > MAX_TOPIC:
        raise Invalid(f"must be a dotted path into the payload, at most {MAX_TOPIC} characters")
    return text


def filter_value(value: Any) -> Any:
    if _is_scalar(value) or _is_one_of(value):
        return value
    if isinstance(value, dict) and len(value) == 1:
        operator, operand = next(iter(value.items()))
        if _fits(operator, operand):
            return value
    raise Invalid(
        f"must be a scalar, an array of 1 to {MAX_ONE_OF} scalars, "
        'or one of {"not": value}, {"exists": true or false}, {"prefix": "text"}'
    )


def _fits(operator: str, operand: Any) -> bool:
    if operator == "not":
        return _is_scalar(operand) or _is_one_of(operand)
    return isinstance(operand, bool) if operator == "exists" else operator == "prefix" and isinstance(operand, str)


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float)


def _is_one_of(value: Any) -> bool:
    return isinstance(value, list) and 0 < len(value) <= MAX_ONE_OF and all(map(_is_scalar, value))
