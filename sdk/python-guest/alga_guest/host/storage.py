"""Key-value records and secrets of the install."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from alga_guest.host.calling import call, case_of, text_of
from alga_guest.host.errors import Missing

INTERFACE = "storage"


@dataclass(frozen=True)
class Record:
    """One record. `value` is None in a listing without values; revisions start at 1."""

    key: str
    value: bytes | None
    revision: int
    metadata: Any
    expires_at: str | None
    updated_at: str

    @property
    def text(self) -> str:
        return (self.value or b"").decode()

    def json(self) -> Any:
        return json.loads(self.value or b"null")


@dataclass(frozen=True)
class Page:
    items: tuple[Record, ...]
    next_cursor: str | None


@dataclass(frozen=True)
class Put:
    """One write. Text and bytes are stored as they are, anything else as JSON text."""

    key: str
    value: object
    metadata: object = None
    ttl_seconds: int | None = None
    create_only: bool = False
    if_revision: int | None = None


class Storage:
    """`if_revision` writes only over that revision (else Conflict); `create_only` only where nothing is."""

    def __init__(self, imports: Any) -> None:
        self._raw = imports.storage_v2

    def find(self, namespace: str, key: str) -> Record | None:
        raw = call(INTERFACE, self._raw.get, namespace, key)
        return None if raw is None else _record(raw)

    def get(self, namespace: str, key: str) -> Record:
        """Raises Missing where there is no such record."""
        found = self.find(namespace, key)
        if found is None:
            raise Missing(INTERFACE, "missing", f"{namespace}/{key}")
        return found

    def get_many(self, namespace: str, keys: list[str]) -> list[Record]:
        """In the order asked for, without those that do not exist. At most 20."""
        return [_record(raw) for raw in call(INTERFACE, self._raw.get_many, namespace, keys)]

    def put(self, namespace: str, key: str, value: object, **options: Any) -> int:
        """The new revision. Options: metadata, ttl_seconds, create_only, if_revision."""
        item = self._item(Put(key, value, **options))
        return int(call(INTERFACE, self._raw.put, namespace, item).revision)

    def put_many(self, namespace: str, items: list[Put]) -> list[int]:
        """All or none; their new revisions. At most 20 items and 512 KiB."""
        raw = [self._item(item) for item in items]
        return [int(result.revision) for result in call(INTERFACE, self._raw.put_many, namespace, raw)]

    def delete(self, namespace: str, key: str, *, if_revision: int | None = None) -> bool:
        """True where there was something to delete."""
        return bool(call(INTERFACE, self._raw.delete, namespace, key, if_revision))

    def delete_many(self, namespace: str, keys: list[str]) -> int:
        return int(call(INTERFACE, self._raw.delete_many, namespace, keys))

    def list_page(
        self,
        namespace: str,
        *,
        prefix: str | None = None,
        cursor: str | None = None,
        limit: int | None = None,
        with_values: bool = True,
    ) -> Page:
        """By key; 25 records unless `limit` says otherwise, at most 100."""
        query = self._raw.ListQuery(prefix=prefix, cursor=cursor, limit=limit, include_values=with_values)
        raw = call(INTERFACE, self._raw.list_entries, namespace, query)
        return Page(tuple(_record(item, with_value=with_values) for item in raw.items), raw.next_cursor)

    def each(self, namespace: str, *, prefix: str | None = None) -> Iterator[Record]:
        """Every record, page after page."""
        cursor = None
        while True:
            page = self.list_page(namespace, prefix=prefix, cursor=cursor, limit=100)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def _item(self, item: Put) -> Any:
        value, encoding = _encoded(item.value)
        return self._raw.PutItem(
            key=item.key,
            value=value,
            encoding=case_of(self._raw.ValueEncoding, encoding),
            metadata=None if item.metadata is None else json.dumps(item.metadata),
            ttl_seconds=item.ttl_seconds,
            create_only=item.create_only,
            if_revision=item.if_revision,
        )


class Secrets:
    def __init__(self, imports: Any) -> None:
        self._imports = imports

    def get(self, key: str) -> str:
        """Raises Missing where the install has no such secret, or it has expired."""
        return str(call("secrets", self._imports.secrets.get, key))

    def list_keys(self) -> list[str]:
        return list(self._imports.secrets.list_keys())


def _encoded(value: object) -> tuple[str, str]:
    if isinstance(value, str):
        return value, "text"
    if isinstance(value, bytes):
        return base64.b64encode(value).decode(), "base64"
    return json.dumps(value, separators=(",", ":")), "text"


def _record(raw: Any, *, with_value: bool = True) -> Record:
    value = base64.b64decode(raw.value) if text_of(raw.encoding) == "base64" else raw.value.encode()
    metadata = None if raw.metadata is None else json.loads(raw.metadata)
    shown = value if with_value else None
    return Record(raw.key, shown, int(raw.revision), metadata, raw.expires_at, raw.updated_at)
