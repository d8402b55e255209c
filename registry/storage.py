"""What guests store: records by namespace and key, per install, with revisions, expiry and exact counters.

Owns the order of the steps; the rules are `registry/storage_rules.py`'s, the tables `sql/storage.sql`'s. Tenant and
install are the caller's word: a host service reads them from the ticket, the REST mirror from the caller's identity.

Writers of one install take turns: each transaction first locks the install's one row of counters, then touches
records. So counters are exact however many write at once, and two writers cannot wait for each other.
Reads do not lock, and never write; records that have expired are removed by `reap`, or by a write that needs the room.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from registry import statements, storage_rules
from registry.database import Connection, Database, Row
from registry.install_cache import not_installed
from registry.quotas import RateLimiter
from registry.storage_rules import (
    READS_PER_SECOND,
    WRITES_PER_SECOND,
    Encoding,
    Entry,
    EntryPage,
    Existing,
    ListQuery,
    PutItem,
    PutResult,
    StorageUsage,
    Write,
)
from schemas.errors import ErrorCode, Exhausted
from schemas.ids import InstallId, TenantId

_SQL = statements.load("storage")
REAP_INSTALLS = 100


class Storage:
    """The storage of all installs. Rates are per process of ours: 500 reads and 100 writes per second and install."""

    def __init__(self, database: Database, rates: RateLimiter) -> None:
        self._database, self._rates = database, rates

    async def get(self, tenant: TenantId, install: InstallId, *, namespace: str, key: str) -> Entry | None:
        """The record, None where it is absent or expired."""
        storage_rules.check_namespace(namespace)
        storage_rules.check_key(key)
        self._charge_read(tenant, install)
        async with self._database.transaction(tenant) as connection:
            row = await connection.fetchrow(_SQL.get_entry, tenant, install, namespace, key)
        return None if row is None else _entry(row)

    async def get_many(
        self, tenant: TenantId, install: InstallId, *, namespace: str, keys: Sequence[str]
    ) -> tuple[Entry, ...]:
        """Those that exist, in the order of `keys` (at most 20, none twice)."""
        storage_rules.check_namespace(namespace)
        storage_rules.check_keys(keys)
        self._charge_read(tenant, install)
        async with self._database.transaction(tenant) as connection:
            rows = await connection.fetch(_SQL.get_entries, tenant, install, namespace, list(keys))
        found = {row["key"]: _entry(row) for row in rows}
        return tuple(found[key] for key in keys if key in found)

    async def list(self, tenant: TenantId, install: InstallId, *, namespace: str, query: ListQuery) -> EntryPage:
        """A page by key bytes; stable under writes, since a page starts after a key and not at a number."""
        storage_rules.check_namespace(namespace)
        self._charge_read(tenant, install)
        async with self._database.transaction(tenant) as connection:
            rows = await connection.fetch(
                _SQL.list_entries,
                tenant,
                install,
                namespace,
                query.after,
                query.prefix,
                query.limit,
                query.value_bytes,
                query.at_least,
                query.include_values,
            )
        entries = tuple(_entry(row) for row in rows)
        has_more = bool(rows) and rows[0]["candidates"] > len(rows)
        return EntryPage(
            entries=entries, next_cursor=storage_rules.format_cursor(entries[-1].key) if has_more else None
        )

    async def usage(self, tenant: TenantId, install: InstallId) -> StorageUsage:
        """What the install uses of its quota."""
        self._charge_read(tenant, install)
        async with self._database.transaction(tenant) as connection:
            row = await connection.fetchrow(_SQL.get_usage, tenant, install)
        return StorageUsage(bytes_used=0, keys=0, namespaces=0) if row is None else _usage(row)

    async def put(self, tenant: TenantId, install: InstallId, *, namespace: str, item: PutItem) -> PutResult:
        """Write one record. Raises Conflict (revision), Exhausted (quota, rate), Invalid, TooLarge."""
        return (await self.put_many(tenant, install, namespace=namespace, items=(item,)))[0]

    async def put_many(
        self, tenant: TenantId, install: InstallId, *, namespace: str, items: Sequence[PutItem]
    ) -> tuple[PutResult, ...]:
        """Write all or none; the error names the item's key in `extra`."""
        storage_rules.check_namespace(namespace)
        storage_rules.check_items(items)
        self._charge_write(tenant, install)
        if not items:
            return ()
        async with self._database.transaction(tenant) as connection:
            usage = await _lock(connection, tenant, install)
            existing = await _existing(connection, tenant, install, namespace, [item.key for item in items])
            writes = [storage_rules.decide_put(item, existing.get(item.key)) for item in items]
            after = await _fit(connection, tenant, install, namespace, usage=usage, writes=writes)
            results = [await _put(connection, tenant, install, namespace, write) for write in writes]
            await _set_usage(connection, tenant, install, after)
        return tuple(results)

    async def delete(
        self, tenant: TenantId, install: InstallId, *, namespace: str, key: str, if_revision: int | None = None
    ) -> bool:
        """Remove one record; whether it existed. Conflict when it exists with another revision than `if_revision`."""
        storage_rules.check_namespace(namespace)
        storage_rules.check_key(key)
        self._charge_write(tenant, install)
        async with self._database.transaction(tenant) as connection:
            usage = await _lock(connection, tenant, install)
            if if_revision is not None:
                stored = (await _existing(connection, tenant, install, namespace, [key])).get(key)
                if stored is not None and not stored.is_expired and stored.revision != if_revision:
                    raise storage_rules.conflict(key, stored.revision)
            return await _delete(connection, tenant, install, namespace, usage=usage, keys=[key]) == 1

    async def delete_many(self, tenant: TenantId, install: InstallId, *, namespace: str, keys: Sequence[str]) -> int:
        """Remove all of these (at most 20, none twice); how many existed."""
        storage_rules.check_namespace(namespace)
        storage_rules.check_keys(keys)
        self._charge_write(tenant, install)
        if not keys:
            return 0
        async with self._database.transaction(tenant) as connection:
            usage = await _lock(connection, tenant, install)
            return await _delete(connection, tenant, install, namespace, usage=usage, keys=list(keys))

    async def reap(self, *, installs: int = REAP_INSTALLS) -> int:
        """Remove expired records of up to so many installs of any tenant; how many records went. Needs alga_system."""
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL.find_expired_installs, installs)
        return sum([await self._reap(TenantId(row["tenant"]), row["extension_install_id"]) for row in rows])

    async def _reap(self, tenant: TenantId, install: InstallId) -> int:
        async with self._database.transaction(tenant) as connection:
            if await connection.fetchrow(_SQL.lock_left_usage, tenant, install) is None:
                return 0
            removed, after = await _remove_expired(connection, tenant, install)
            if removed:
                await _set_usage(connection, tenant, install, after)
            await connection.execute(_SQL.forget_usage, tenant, install)
        return removed

    def _charge_read(self, tenant: TenantId, install: InstallId) -> None:
        key = ("storage read", tenant, install)
        self._rates.charge(key, per_second=READS_PER_SECOND, burst=READS_PER_SECOND, what="storage reads")

    def _charge_write(self, tenant: TenantId, install: InstallId) -> None:
        key = ("storage write", tenant, install)
        self._rates.charge(key, per_second=WRITES_PER_SECOND, burst=WRITES_PER_SECOND, what="storage writes")


async def _lock(connection: Connection, tenant: TenantId, install: InstallId) -> StorageUsage:
    row = await connection.fetchrow(_SQL.lock_usage, tenant, install)
    if row is None:
        raise not_installed()
    return _usage(row)


async def _existing(
    connection: Connection, tenant: TenantId, install: InstallId, namespace: str, keys: list[str]
) -> Mapping[str, Existing]:
    rows = await connection.fetch(_SQL.get_existing, tenant, install, namespace, keys)
    return {
        row["key"]: Existing(revision=row["revision"], size_bytes=row["size_bytes"], is_expired=row["is_expired"])
        for row in rows
    }


async def _fit(
    connection: Connection,
    tenant: TenantId,
    install: InstallId,
    namespace: str,
    *,
    usage: StorageUsage,
    writes: Sequence[Write],
) -> StorageUsage:
    """The counters after these writes. At a limit, what has expired goes first and is counted no more."""
    namespace_keys = await _count_keys(connection, tenant, install, namespace, usage=usage, writes=writes)
    try:
        return storage_rules.counters_after(usage, writes, namespace_keys=namespace_keys)
    except Exhausted as error:
        if error.code is not ErrorCode.QUOTA_EXCEEDED:
            raise
        removed, fresh = await _remove_expired(connection, tenant, install)
        if not removed:
            raise
    stored = await _existing(connection, tenant, install, namespace, [write.item.key for write in writes])
    again = [storage_rules.decide_put(write.item, stored.get(write.item.key)) for write in writes]
    namespace_keys = await _count_keys(connection, tenant, install, namespace, usage=fresh, writes=again)
    return storage_rules.counters_after(fresh, again, namespace_keys=namespace_keys)


async def _count_keys(
    connection: Connection,
    tenant: TenantId,
    install: InstallId,
    namespace: str,
    *,
    usage: StorageUsage,
    writes: Sequence[Write],
) -> int:
    """The namespace's keys, exactly where its limit could be near; else 1 for some, 0 for none."""
    added = sum(write.adds_key for write in writes)
    if not added or not usage.keys:
        return 0
    enough = storage_rules.MAX_KEYS if usage.keys + added > storage_rules.MAX_KEYS else 1
    count: int = await connection.fetchval(_SQL.count_keys, tenant, install, namespace, enough)
    return count


async def _put(connection: Connection, tenant: TenantId, install: InstallId, namespace: str, write: Write) -> PutResult:
    item = write.item
    row = await connection.fetchrow(
        _SQL.put_entry,
        tenant,
        install,
        namespace,
        item.key,
        write.revision,
        item.value,
        item.encoding.value,
        item.metadata or {},
        write.metadata_bytes,
        item.ttl_seconds,
    )
    assert row is not None
    return PutResult(
        key=item.key, revision=row["revision"], expires_at=row["ttl_expires_at"], updated_at=row["updated_at"]
    )


async def _delete(
    connection: Connection,
    tenant: TenantId,
    install: InstallId,
    namespace: str,
    *,
    usage: StorageUsage,
    keys: list[str],
) -> int:
    rows = await connection.fetch(_SQL.delete_entries, tenant, install, namespace, keys)
    if not rows:
        return 0
    is_empty = not await connection.fetchval(_SQL.count_keys, tenant, install, namespace, 1)
    after = StorageUsage(
        bytes_used=usage.bytes_used - sum(row["size_bytes"] for row in rows),
        keys=usage.keys - len(rows),
        namespaces=usage.namespaces - is_empty,
    )
    await _set_usage(connection, tenant, install, after)
    return sum(not row["is_expired"] for row in rows)


async def _remove_expired(connection: Connection, tenant: TenantId, install: InstallId) -> tuple[int, StorageUsage]:
    """How many expired records went, and the counters counted anew. The caller holds the lock."""
    removed = await connection.execute(_SQL.delete_expired, tenant, install)
    row = await connection.fetchrow(_SQL.count_usage, tenant, install)
    assert row is not None
    return removed, _usage(row)


async def _set_usage(connection: Connection, tenant: TenantId, install: InstallId, usage: StorageUsage) -> None:
    await connection.execute(_SQL.set_usage, tenant, install, usage.bytes_used, usage.keys, usage.namespaces)


def _usage(row: Row) -> StorageUsage:
    return StorageUsage(bytes_used=row["bytes_used"], keys=row["keys_count"], namespaces=row["namespaces_count"])


def _entry(row: Row) -> Entry:
    return Entry(
        namespace=row["namespace"],
        key=row["key"],
        value=bytes(row["value"]),
        encoding=Encoding(row["encoding"]),
        revision=row["revision"],
        metadata=row["metadata"] or None,
        expires_at=row["ttl_expires_at"],
        updated_at=row["updated_at"],
    )
