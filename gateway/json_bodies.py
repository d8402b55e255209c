"""JSON bodies of the administrative API: read within bounds, validated whole, every problem named.

Owns the strictness: unknown fields are refused, types are exact, and a refusal lists each problem as
`{path, message}` with the limit and the value, in `error.problems`.
"""

from __future__ import annotations

import json
from typing import Any, TypeVar

import pydantic
from aiohttp import web
from pydantic_core import ErrorDetails

from gateway import bodies
from schemas.errors import Invalid

MAX_BODY_BYTES = 1024 * 1024
MAX_SHOWN = 80

M = TypeVar("M", bound="Body")


class Body(pydantic.BaseModel):
    """Base of what people send: frozen, strict, nothing unknown."""

    model_config = pydantic.ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)


async def read(request: web.Request, model: type[M]) -> M:
    """The body as `model`. Raises Invalid naming every problem."""
    data = await bodies.read(request, limit=MAX_BODY_BYTES)
    return parse(data or b"{}", model)


def parse(data: bytes, model: type[M]) -> M:
    """JSON as `model`; duplicate keys, NaN and the like are refused as ambiguous."""
    document = _load(data)
    if not isinstance(document, dict):
        raise Invalid("request body must be a JSON object")
    try:
        return model.model_validate(document)
    except pydantic.ValidationError as error:
        problems = [_problem(found) for found in error.errors(include_url=False)]
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise Invalid(f"{first['path']}: {first['message']}{more}", extra={"problems": problems}) from None


def _load(data: bytes) -> Any:
    try:
        return json.loads(data, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        detail = str(error) if isinstance(error, _Ambiguous) else "it does not parse"
        raise Invalid(f"request body is not JSON: {detail}") from None


class _Ambiguous(ValueError):
    """JSON that two readers would read differently."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _Ambiguous(f"key {twice[:MAX_SHOWN]!r} stands there twice")
    return document


def _refuse_constant(text: str) -> Any:
    raise _Ambiguous(f"{text} is not a JSON number")


def _problem(found: ErrorDetails) -> dict[str, str]:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in found["loc"]).lstrip(".")
    message = found["msg"]
    if found["type"] not in ("missing", "extra_forbidden"):
        message = f"{message}, not {_shown(found['input'])}"
    return {"path": path or "$", "message": message}


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}… ({len(text)} characters)"
