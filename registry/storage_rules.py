"""The rules of extension storage, without a database: names, sizes, revisions, counters, cursors. Pure.

Owns what a guest may store and when a write is refused. `registry/storage.py` performs it. Every refusal names the
key it is about in `extra`, and a lost race over a revision names the stored one.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import unicodedata
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
import orjson

from schemas.errors import Conflict, ErrorCode, Exhausted, Invalid, TooLarge

MAX_NAMESPACES: Final = 32
MAX_KEYS: Final = 5_120
"""Per namespace."""
MAX_BYTES: Final = 256 * 1024 * 1024
"""Values and metadata of one install."""
MAX_VALUE_BYTES: Final = 64 * 1024
MAX_METADATA_BYTES: Final = 4 * 1024
MAX_BULK_ITEMS: Final = 20
MAX_BULK_BYTES: Final = 512 * 1024
MAX_NAMESPACE_CHARACTERS: Final = 128
MAX_KEY_CHARACTERS: Final = 256
MIN_TTL_SECONDS: Final = 60
MAX_TTL_SECONDS: Final = 30 * 24 * 3600
READS_PER_SECOND: Final = 500
WRITES_PER_SECOND: Final = 100
DEFAULT_PAGE: Final = 25
MAX_PAGE: Final = 100
PAGE_VALUE_BYTES: Final = 1024 * 1024
V1_MAX_ENTRIES: Final = 1_000
V1_VALUE_BYTES: Final = 256 * 1024
"""Without a limit a list goes on, after its first 25 entries, until one of these two."""


class Encoding(StrEnum):
    """What the bytes of a value are: whatever a guest gave, or JSON text written over the REST mirror."""

    BYTES = "bytes"
    JSON = "json"


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A stored record. `value` is empty where a list was asked without values."""

    namespace: str
    key: str
    value: bytes
    encoding: Encoding
    revision: int
    metadata: dict[str, Any] | None
    expires_at: datetime.datetime | None
    updated_at: datetime.datetime


class PutItem(msgspec.Struct, frozen=True, kw_only=True):
    """A write. It replaces value, metadata and time to live.

    `if_revision` n: only over exactly that revision; 0, or `create_only`: only where nothing is.
    """

    key: str
    value: bytes
    encoding: Encoding = Encoding.BYTES
    metadata: dict[str, Any] | None = None
    ttl_seconds: int | None = None
    create_only: bool = False
    if_revision: int | None = None


class PutResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a write made."""

    key: str
    revision: int
    expires_at: datetime.datetime | None
    updated_at: datetime.datetime


class EntryPage(msgspec.Struct, frozen=True, kw_only=True):
    """Entries by key bytes; `next_cursor` None: that was all."""

    entries: tuple[Entry, ...]
    next_cursor: str | None


class StorageUsage(msgspec.Struct, frozen=True, kw_only=True):
    """Counters of one install, expired records that are not reaped yet included."""

    bytes_used: int
    keys: int
    namespaces: int
    bytes_limit: int = MAX_BYTES


class Existing(msgspec.Struct, frozen=True, kw_only=True):
    """What lies under a key now. An expired record counts as absent, but its room is taken until it goes."""

    revision: int
    size_bytes: int
    is_expired: bool = False


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """A write that may happen: its new revision, and what it adds to the counters."""

    item: PutItem
    revision: int
    metadata_bytes: int
    added_bytes: int
    adds_key: bool


class ListQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which part of a namespace: literal `prefix`, strictly `after` a key, how much."""

    prefix: str = ""
    after: str = ""
    limit: int = DEFAULT_PAGE
    value_bytes: int = PAGE_VALUE_BYTES
    at_least: int = 1
    include_values: bool = True


def check_namespace(namespace: str) -> None:
    """1 to 128 characters, no `/`, no control characters."""
    _check_name(namespace, what="namespace", limit=MAX_NAMESPACE_CHARACTERS)


def check_key(key: str) -> None:
    """1 to 256 characters, no `/`, no control characters. Two spellings of a letter are two keys."""
    _check_name(key, what="key", limit=MAX_KEY_CHARACTERS)


def check_keys(keys: Sequence[str]) -> None:
    """A bulk of keys: at most 20, none twice."""
    if len(keys) > MAX_BULK_ITEMS:
        raise Invalid(f"{len(keys)} keys at once are over the limit of {MAX_BULK_ITEMS}")
    for key in keys:
        check_key(key)
    _check_distinct(keys)


def check_items(items: Sequence[PutItem]) -> None:
    """A bulk of writes: each one, at most 20, at most 512 KiB, no key twice."""
    if len(items) > MAX_BULK_ITEMS:
        raise Invalid(f"{len(items)} items at once are over the limit of {MAX_BULK_ITEMS}")
    for item in items:
        check_item(item)
    _check_distinct([item.key for item in items])
    size = sum(len(item.value) + metadata_bytes(item) for item in items)
    if size > MAX_BULK_BYTES:
        raise TooLarge(f"the items have {size} bytes, over the limit of {MAX_BULK_BYTES}")


def check_item(item: PutItem) -> None:
    """Whether a write is well formed, whatever is stored. Raises Invalid or TooLarge naming the key."""
    check_key(item.key)
    if len(item.value) > MAX_VALUE_BYTES:
        raise _too_large("value", len(item.value), MAX_VALUE_BYTES, item.key)
    size = metadata_bytes(item)
    if size > MAX_METADATA_BYTES:
        raise _too_large("metadata", size, MAX_METADATA_BYTES, item.key)
    if item.ttl_seconds is not None and not MIN_TTL_SECONDS <= item.ttl_seconds <= MAX_TTL_SECONDS:
        raise _invalid(f"ttl must be {MIN_TTL_SECONDS} to {MAX_TTL_SECONDS} seconds, not {item.ttl_seconds}", item.key)
    if item.create_only and item.if_revision is not None:
        raise _invalid("create-only and if-revision cannot both be given", item.key)
    if item.if_revision is not None and item.if_revision < 0:
        raise _invalid(f"if-revision must be 0 or more, not {item.if_revision}", item.key)


def metadata_bytes(item: PutItem) -> int:
    """The size of the metadata as JSON; 0 without. Raises Invalid where it cannot be stored as JSON."""
    if not item.metadata:
        return 0
    try:
        text = orjson.dumps(item.metadata)
    except TypeError as error:
        raise _invalid("metadata must be a JSON object", item.key) from error
    if b"\\u0000" in text:
        raise _invalid("metadata must not have a NUL character in it", item.key)
    return len(text)


def parse_metadata(text: str | None, *, key: str) -> dict[str, Any] | None:
    """Metadata as guests give it: the text of a JSON object, or none."""
    if text is None:
        return None
    if len(text) > MAX_METADATA_BYTES:
        raise _too_large("metadata", len(text), MAX_METADATA_BYTES, key)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise _invalid("metadata must be a JSON object", key) from error
    if not isinstance(value, dict):
        raise _invalid("metadata must be a JSON object", key)
    return value


def decide_put(item: PutItem, existing: Existing | None) -> Write:
    """What a checked write does to what is there. Raises Conflict with the stored revision, None where nothing is."""
    live = None if existing is None or existing.is_expired else existing
    stored = None if live is None else live.revision
    if (item.create_only or item.if_revision == 0) and live is not None:
        raise conflict(item.key, stored)
    if item.if_revision and stored != item.if_revision:
        raise conflict(item.key, stored)
    size = metadata_bytes(item)
    return Write(
        item=item,
        revision=1 if stored is None else stored + 1,
        metadata_bytes=size,
        added_bytes=len(item.value) + size - (existing.size_bytes if existing else 0),
        adds_key=existing is None,
    )


def counters_after(usage: StorageUsage, writes: Iterable[Write], *, namespace_keys: int) -> StorageUsage:
    """The counters when all these writes of one namespace happen. Raises Exhausted (quota_exceeded).

    `namespace_keys`: how many keys the namespace has, of which only "none" and "so many that the limit is near" matter.
    Only growth is refused: a smaller value is always taken.
    """
    planned = tuple(writes)
    added_keys = sum(write.adds_key for write in planned)
    added_bytes = sum(write.added_bytes for write in planned)
    opens_namespace = added_keys > 0 and namespace_keys == 0
    after = StorageUsage(
        bytes_used=usage.bytes_used + added_bytes,
        keys=usage.keys + added_keys,
        namespaces=usage.namespaces + opens_namespace,
        bytes_limit=usage.bytes_limit,
    )
    if opens_namespace and after.namespaces > MAX_NAMESPACES:
        raise _quota(f"{MAX_NAMESPACES} namespaces are in use", planned)
    if added_keys and namespace_keys + added_keys > MAX_KEYS:
        raise _quota(f"the namespace would have over {MAX_KEYS} keys", planned)
    if added_bytes > 0 and after.bytes_used > usage.bytes_limit:
        raise _quota(f"{after.bytes_used} bytes would be stored, over the limit of {usage.bytes_limit}", planned)
    return after


def page_query(
    *, prefix: str | None = None, cursor: str | None = None, limit: int | None = None, include_values: bool = True
) -> ListQuery:
    """A page of `storage-v2` and the REST mirror: 25 entries unless said otherwise, at most 100, 1 MiB of values."""
    if limit is not None and not 1 <= limit <= MAX_PAGE:
        raise Invalid(f"limit must be 1 to {MAX_PAGE}, not {limit}")
    return ListQuery(
        prefix=_checked_prefix(prefix),
        after=parse_cursor(cursor),
        limit=limit or DEFAULT_PAGE,
        include_values=include_values,
    )


def whole_query(cursor: str | None) -> ListQuery:
    """A list of the frozen `storage` interface, which has no page: 25 entries, then more up to 1 000 or 256 KiB."""
    after = parse_cursor(cursor)
    return ListQuery(after=after, limit=V1_MAX_ENTRIES, value_bytes=V1_VALUE_BYTES, at_least=DEFAULT_PAGE)


def format_cursor(key: str) -> str:
    """The cursor that means strictly after this key."""
    return base64.urlsafe_b64encode(orjson.dumps({"key": key})).decode().rstrip("=")


def parse_cursor(cursor: str | None) -> str:
    """The key a cursor stands for; "" without one. Raises Invalid."""
    if cursor is None:
        return ""
    if len(cursor) > 4 * MAX_KEY_CHARACTERS * 2:
        raise Invalid("cursor is not one of ours")
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        value = orjson.loads(raw)
    except (binascii.Error, ValueError) as error:
        raise Invalid("cursor is not one of ours") from error
    if not isinstance(value, dict) or list(value) != ["key"] or not isinstance(value["key"], str):
        raise Invalid("cursor is not one of ours")
    check_key(value["key"])
    return value["key"]


def conflict(key: str, revision: int | None) -> Conflict:
    """The stored revision is not the one the caller assumed; None: nothing is stored."""
    stored = "does not exist" if revision is None else f"has revision {revision}"
    return Conflict(f"the record {stored}", extra={"key": key, "revision": revision})


def _check_name(text: str, *, what: str, limit: int) -> None:
    if not 1 <= len(text) <= limit:
        raise _invalid(f"{what} must have 1 to {limit} characters, not {len(text)}", text[:limit])
    if "/" in text or any(unicodedata.category(character) in ("Cc", "Cs") for character in text):
        raise _invalid(f"{what} must not have a slash or a control character in it", text)


def _check_distinct(keys: Sequence[str]) -> None:
    seen: set[str] = set()
    for key in keys:
        if key in seen:
            raise _invalid("the key stands there twice", key)
        seen.add(key)


def _checked_prefix(prefix: str | None) -> str:
    if not prefix:
        return ""
    _check_name(prefix, what="prefix", limit=MAX_KEY_CHARACTERS)
    return prefix


def _invalid(message: str, key: str) -> Invalid:
    return Invalid(message, extra={"key": key})


def _too_large(what: str, size: int, limit: int, key: str) -> TooLarge:
    return TooLarge(f"{what} is {size} bytes, over the limit of {limit}", extra={"key": key})


def _quota(why: str, writes: Sequence[Write]) -> Exhausted:
    return Exhausted(
        f"storage quota: {why}",
        code=ErrorCode.QUOTA_EXCEEDED,
        retry_after_seconds=60,
        extra={"key": writes[0].item.key},
    )
