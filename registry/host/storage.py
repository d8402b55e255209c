"""The frozen `storage` interface: its words for what `registry/storage.py` does.

Owns the mapping of values and errors. An enum without a reason loses it: what becomes `internal` is raised, so that
the worker writes the sentence to the install's live log.
"""

from __future__ import annotations

from typing import Any

import msgspec

from registry import storage_rules
from registry.serving import HostCall, HostFunction, Service
from registry.storage import Storage
from registry.storage_rules import Entry, PutItem
from schemas.capability import Err, Ok
from schemas.errors import Conflict, Exhausted


class StorageEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`storage-entry` of the world."""

    namespace: str
    key: str
    value: bytes
    revision: int | None = None


def service(storage: Storage) -> Service:
    """The functions of `storage`."""
    answers = _Answers(storage)
    return {
        "get": HostFunction(tuple[str, str], answers.get),
        "put": HostFunction(tuple[StorageEntry], answers.put),
        "delete": HostFunction(tuple[str, str], answers.delete),
        "list-entries": HostFunction(tuple[str, str | None], answers.list_entries),
    }


class _Answers:
    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def get(self, call: HostCall, namespace: str, key: str) -> Ok | Err:
        try:
            entry = await self._storage.get(call.ticket.tenant, call.ticket.install, namespace=namespace, key=key)
        except Exhausted:
            return Err("denied")
        return Err("missing") if entry is None else Ok(_value(entry))

    async def put(self, call: HostCall, entry: StorageEntry) -> Ok | Err:
        item = PutItem(key=entry.key, value=entry.value, if_revision=entry.revision)
        try:
            result = await self._storage.put(
                call.ticket.tenant, call.ticket.install, namespace=entry.namespace, item=item
            )
        except Conflict:
            return Err("conflict")
        except Exhausted:
            return Err("denied")
        return Ok(msgspec.to_builtins(msgspec.structs.replace(entry, revision=result.revision), builtin_types=(bytes,)))

    async def delete(self, call: HostCall, namespace: str, key: str) -> Ok | Err:
        try:
            await self._storage.delete(call.ticket.tenant, call.ticket.install, namespace=namespace, key=key)
        except Exhausted:
            return Err("denied")
        return Ok()

    async def list_entries(self, call: HostCall, namespace: str, cursor: str | None) -> Ok | Err:
        query = storage_rules.whole_query(cursor)
        try:
            page = await self._storage.list(call.ticket.tenant, call.ticket.install, namespace=namespace, query=query)
        except Exhausted:
            return Err("denied")
        return Ok([_value(entry) for entry in page.entries])


def _value(entry: Entry) -> dict[str, Any]:
    return {"namespace": entry.namespace, "key": entry.key, "value": entry.value, "revision": entry.revision}
