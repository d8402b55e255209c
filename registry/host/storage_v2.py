"""The `storage-v2` interface: its words for what `registry/storage.py` does.

Owns the mapping of values and errors. Every failure says why, and which key it is about.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
import orjson

from registry import storage_rules
from registry.serving import HostCall, HostFunction, Service
from registry.storage import Storage
from registry.storage_rules import Entry, PutItem, PutResult
from schemas.capability import Err, Ok
from schemas.errors import (
    Conflict,
    DeadlineExceeded,
    ErrorCode,
    Exhausted,
    FleetError,
    Forbidden,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
)

TEXT, BASE64 = "text", "base64"
_CODES: tuple[tuple[type[FleetError], str], ...] = (
    (TooLarge, "too-large"),
    (Invalid, "invalid"),
    (Conflict, "conflict"),
    (NotFound, "denied"),
    (Forbidden, "denied"),
    (Unavailable, "unavailable"),
    (DeadlineExceeded, "unavailable"),
)
"""The first that fits. An install that is gone may not store any more: `denied`."""


class Item(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`put-item` of the world."""

    key: str
    value: str
    encoding: Literal["text", "base64"]
    metadata: str | None
    ttl_seconds: int | None
    create_only: bool
    if_revision: int | None


class Query(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`list-query` of the world."""

    prefix: str | None
    cursor: str | None
    limit: int | None
    include_values: bool


def service(storage: Storage) -> Service:
    """The functions of `storage-v2`."""
    answers = _Answers(storage)
    functions: dict[str, tuple[Any, Callable[..., Awaitable[Any]]]] = {
        "get": (tuple[str, str], answers.get),
        "get-many": (tuple[str, list[str]], answers.get_many),
        "put": (tuple[str, Item], answers.put),
        "put-many": (tuple[str, list[Item]], answers.put_many),
        "delete": (tuple[str, str, int | None], answers.delete),
        "delete-many": (tuple[str, list[str]], answers.delete_many),
        "list-entries": (tuple[str, Query], answers.list_entries),
        "get-usage": (tuple[()], answers.get_usage),
    }
    return {name: HostFunction(arguments, _typed(answer)) for name, (arguments, answer) in functions.items()}


class _Answers:
    """Each answers the value of its ok case."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def get(self, call: HostCall, namespace: str, key: str) -> dict[str, Any] | None:
        entry = await self._storage.get(call.ticket.tenant, call.ticket.install, namespace=namespace, key=key)
        return None if entry is None else _entry(entry)

    async def get_many(self, call: HostCall, namespace: str, keys: list[str]) -> list[dict[str, Any]]:
        entries = await self._storage.get_many(call.ticket.tenant, call.ticket.install, namespace=namespace, keys=keys)
        return [_entry(entry) for entry in entries]

    async def put(self, call: HostCall, namespace: str, item: Item) -> dict[str, Any]:
        result = await self._storage.put(
            call.ticket.tenant, call.ticket.install, namespace=namespace, item=_put_item(item)
        )
        return _result(result)

    async def put_many(self, call: HostCall, namespace: str, items: list[Item]) -> list[dict[str, Any]]:
        results = await self._storage.put_many(
            call.ticket.tenant, call.ticket.install, namespace=namespace, items=[_put_item(item) for item in items]
        )
        return [_result(result) for result in results]

    async def delete(self, call: HostCall, namespace: str, key: str, if_revision: int | None) -> bool:
        return await self._storage.delete(
            call.ticket.tenant, call.ticket.install, namespace=namespace, key=key, if_revision=if_revision
        )

    async def delete_many(self, call: HostCall, namespace: str, keys: list[str]) -> int:
        return await self._storage.delete_many(call.ticket.tenant, call.ticket.install, namespace=namespace, keys=keys)

    async def list_entries(self, call: HostCall, namespace: str, query: Query) -> dict[str, Any]:
        page = await self._storage.list(
            call.ticket.tenant,
            call.ticket.install,
            namespace=namespace,
            query=storage_rules.page_query(
                prefix=query.prefix, cursor=query.cursor, limit=query.limit, include_values=query.include_values
            ),
        )
        return {"items": [_entry(entry) for entry in page.entries], "next_cursor": page.next_cursor}

    async def get_usage(self, call: HostCall) -> dict[str, Any]:
        usage = await self._storage.usage(call.ticket.tenant, call.ticket.install)
        return msgspec.structs.asdict(usage)


def failure_of(error: FleetError) -> dict[str, Any]:
    """`storage-failure` of the world."""
    extra = error.extra
    return {
        "code": _code(error),
        "message": error.message,
        "key": extra.get("key"),
        "revision": extra.get("revision"),
    }


def _code(error: FleetError) -> str:
    if isinstance(error, Exhausted):
        return "quota-exceeded" if error.code is ErrorCode.QUOTA_EXCEEDED else "rate-limited"
    return next((code for kind, code in _CODES if isinstance(error, kind)), "internal")


def _typed(answer: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Ok | Err]]:
    async def answered(call: HostCall, *arguments: Any) -> Ok | Err:
        try:
            return Ok(await answer(call, *arguments))
        except FleetError as error:
            return Err(failure_of(error))

    return answered


def _put_item(item: Item) -> PutItem:
    return PutItem(
        key=item.key,
        value=_bytes(item),
        metadata=storage_rules.parse_metadata(item.metadata, key=item.key),
        ttl_seconds=item.ttl_seconds,
        create_only=item.create_only,
        if_revision=item.if_revision,
    )


def _bytes(item: Item) -> bytes:
    if item.encoding == TEXT:
        return item.value.encode()
    try:
        return base64.b64decode(item.value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("value is not base64", extra={"key": item.key}) from error


def _entry(entry: Entry) -> dict[str, Any]:
    value, encoding = _text(entry.value)
    return {
        "key": entry.key,
        "value": value,
        "encoding": encoding,
        "revision": entry.revision,
        "metadata": None if entry.metadata is None else orjson.dumps(entry.metadata).decode(),
        "expires_at": _time(entry.expires_at),
        "updated_at": _time(entry.updated_at),
    }


def _text(value: bytes) -> tuple[str, str]:
    try:
        return value.decode(), TEXT
    except UnicodeDecodeError:
        return base64.b64encode(value).decode(), BASE64


def _result(result: PutResult) -> dict[str, Any]:
    return {"key": result.key, "revision": result.revision, "expires_at": _time(result.expires_at)}


def _time(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, milliseconds."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
