"""Records of extension storage as JSON over HTTP, and the codes older clients look for. Pure.

A record that a guest wrote is bytes: it appears as base64 with metadata `{"encoding": "base64-bytes"}`, and can be
written that way. A record written here as JSON reads in the guest as its UTF-8 text.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson

from registry.storage_rules import Encoding, Entry, PutItem
from schemas import bundle
from schemas.errors import Conflict, ErrorCode, Exhausted, FleetError, Forbidden, Invalid, NotFound, TooLarge

BYTES_METADATA = {"encoding": "base64-bytes"}


def shown(entry: Entry, *, values: bool = True, metadata: bool = True) -> dict[str, Any]:
    """A record as it is answered."""
    is_json = entry.encoding is Encoding.JSON
    record: dict[str, Any] = {
        "namespace": entry.namespace,
        "key": entry.key,
        "revision": entry.revision,
        "ttlExpiresAt": entry.expires_at,
        "updatedAt": entry.updated_at,
    }
    if values:
        record["value"] = orjson.Fragment(entry.value) if is_json else base64.b64encode(entry.value).decode()
    if metadata:
        record["metadata"] = entry.metadata if is_json else {**(entry.metadata or {}), **BYTES_METADATA}
    return record


def item_of(
    key: str, value: Any, *, metadata: dict[str, Any] | None, ttl_seconds: int | None, if_revision: int | None
) -> PutItem:
    """A write. Raises Invalid for a value that says it is base64 and is not."""
    encoding, data, kept = Encoding.JSON, b"", metadata
    if metadata is not None and metadata.get("encoding") == BYTES_METADATA["encoding"] and isinstance(value, str):
        encoding, data = Encoding.BYTES, _decode(value)
        kept = {name: other for name, other in metadata.items() if name != "encoding"} or None
    else:
        data = _json(value)
    return PutItem(
        key=key, value=data, encoding=encoding, metadata=kept, ttl_seconds=ttl_seconds, if_revision=if_revision
    )


def with_old_code(problem: FleetError) -> FleetError:
    """The same failure with the code older clients read in `error.details.code`. Sizes are theirs as 400."""
    extra = {**problem.extra, "details": {"code": _old_code(problem), **problem.extra}}
    if isinstance(problem, TooLarge):
        return Invalid(problem.message, detail=problem.detail, extra=extra)
    return type(problem)(
        problem.message,
        code=problem.code,
        detail=problem.detail,
        retry_after_seconds=problem.retry_after_seconds,
        extra=extra,
    )


def _old_code(problem: FleetError) -> str:
    match problem:
        case TooLarge():
            return "LIMIT_EXCEEDED"
        case Invalid():
            return "VALIDATION_FAILED"
        case Forbidden():
            return "NAMESPACE_DENIED"
        case NotFound():
            return "NOT_FOUND"
        case Conflict():
            return "REVISION_MISMATCH"
        case Exhausted():
            return "RATE_LIMITED" if problem.code is ErrorCode.RATE_LIMITED else "QUOTA_EXCEEDED"
        case _:
            return "INTERNAL_ERROR"


def _decode(text: str) -> bytes:
    try:
        return bundle.decode_base64(text, field="value")
    except Invalid as error:
        raise Invalid("value is not base64, as metadata.encoding says it is") from error


def _json(value: Any) -> bytes:
    """One JSON value, an array among them, as text; numbers as they came."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except (ValueError, UnicodeEncodeError) as error:
        raise Invalid("value has a number or a text that JSON does not allow") from error
