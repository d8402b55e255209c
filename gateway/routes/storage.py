"""The REST mirror of extension storage: an admin's look into what an install keeps.

Owns the parameters; the rules are `registry/storage.py`'s, shapes and old codes `storage_records.py`'s.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any

from pydantic import Field

from gateway import keys, storage_records
from gateway.json_bodies import Body
from gateway.operations import Access, Call, Handler, Operation
from registry import storage_rules
from schemas import ids
from schemas.errors import FleetError, Invalid, NotFound
from schemas.ids import InstallId, TenantId

IF_REVISION_MATCH = "if-revision-match"
_ALL = "/api/ext-storage/install/{install}/{namespace}/records"
_ONE = _ALL + "/{key}"


class Record(Body):
    """A write of one record: any one JSON value. `ifRevision` 0: only where nothing is."""

    value: Any
    metadata: dict[str, Any] | None = None
    ttl_seconds: Annotated[int | None, Field(alias="ttlSeconds")] = None
    if_revision: Annotated[int | None, Field(alias="ifRevision", ge=0)] = None
    schema_version: Annotated[int | None, Field(alias="schemaVersion", ge=1)] = None


class KeyedRecord(Record):
    """The same with its key, in a bulk write."""

    key: str


class Records(Body):
    """All are written, or none."""

    items: Annotated[list[KeyedRecord], Field(min_length=1, max_length=storage_rules.MAX_BULK_ITEMS)]


async def list_records(call: Call) -> object:
    query = call.request.query
    page = await call.request.app[keys.STORAGE].list(
        *await _install(call),
        namespace=_namespace(call),
        query=storage_rules.page_query(
            prefix=query.get("keyPrefix"),
            cursor=query.get("cursor"),
            limit=_number(query.get("limit"), "limit"),
            include_values=_flag(query.get("includeValues"), default=True),
        ),
    )
    values = _flag(query.get("includeValues"), default=True)
    metadata = _flag(query.get("includeMetadata"), default=True)
    items = [storage_records.shown(entry, values=values, metadata=metadata) for entry in page.entries]
    return {"items": items, "nextCursor": page.next_cursor}


async def put_many(call: Call) -> object:
    body: Records = call.body
    items = [_item(item.key, item) for item in body.items]
    done = await call.request.app[keys.STORAGE].put_many(*await _install(call), namespace=_namespace(call), items=items)
    return {"items": [{"key": one.key, "revision": one.revision, "ttlExpiresAt": one.expires_at} for one in done]}


async def get(call: Call) -> object:
    entry = await call.request.app[keys.STORAGE].get(
        *await _install(call), namespace=_namespace(call), key=call.request.match_info["key"]
    )
    if entry is None:
        raise NotFound("there is no such record")
    wanted = _number(call.request.headers.get(IF_REVISION_MATCH), IF_REVISION_MATCH)
    if wanted is not None and wanted != entry.revision:
        raise storage_rules.conflict(entry.key, entry.revision)
    return storage_records.shown(entry)


async def put(call: Call) -> object:
    body: Record = call.body
    done = await call.request.app[keys.STORAGE].put(
        *await _install(call), namespace=_namespace(call), item=_item(call.request.match_info["key"], body)
    )
    return {
        "namespace": _namespace(call),
        "key": done.key,
        "revision": done.revision,
        "ttlExpiresAt": done.expires_at,
        "updatedAt": done.updated_at,
    }


async def delete(call: Call) -> object:
    await call.request.app[keys.STORAGE].delete(
        *await _install(call),
        namespace=_namespace(call),
        key=call.request.match_info["key"],
        if_revision=_number(call.request.query.get("ifRevision"), "ifRevision"),
    )
    return None


def _with_old_codes(handler: Callable[[Call], Awaitable[object]]) -> Handler:
    async def translated(call: Call) -> object:
        try:
            return await handler(call)
        except FleetError as problem:
            raise storage_records.with_old_code(problem) from problem

    translated.__name__ = handler.__name__
    translated.__module__ = handler.__module__
    return translated


async def _install(call: Call) -> tuple[TenantId, InstallId]:
    """The caller's tenant and its install, whatever its state. NotFound for anybody else's."""
    reference = ids.parse_uuid(call.request.match_info["install"], field="install")
    view = await call.request.app[keys.INSTALLS].get(call.context, reference)
    return call.context.tenant, view.id


def _namespace(call: Call) -> str:
    return call.request.match_info["namespace"]


def _item(key: str, body: Record) -> storage_rules.PutItem:
    return storage_records.item_of(
        key, body.value, metadata=body.metadata, ttl_seconds=body.ttl_seconds, if_revision=body.if_revision
    )


def _number(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Invalid(f"{name} must be a whole number, not {text[:20]!r}")
    return int(text)


def _flag(text: str | None, *, default: bool) -> bool:
    """`false` and `0` are false, `true` and `1` are true; anything else is refused."""
    if text is None:
        return default
    if text.lower() not in ("true", "1", "false", "0"):
        raise Invalid(f"a flag must be true or false, not {text[:20]!r}")
    return text.lower() in ("true", "1")


OPERATIONS = (
    Operation(
        "GET",
        _ALL,
        Access.READ,
        _with_old_codes(list_records),
        "List records",
        query=("limit", "cursor", "keyPrefix", "includeValues", "includeMetadata"),
    ),
    Operation("POST", _ALL, Access.WRITE, _with_old_codes(put_many), "Write several records", model=Records),
    Operation("GET", _ONE, Access.READ, _with_old_codes(get), "Read a record"),
    Operation("PUT", _ONE, Access.WRITE, _with_old_codes(put), "Write a record", model=Record),
    Operation(
        "DELETE", _ONE, Access.WRITE, _with_old_codes(delete), "Delete a record", query=("ifRevision",), status=204
    ),
)
