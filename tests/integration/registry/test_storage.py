"""Storage on a real Postgres: what is read back, who loses a race, and counters that stay exact."""

from __future__ import annotations

import asyncio

import pytest

from registry import storage_rules
from registry.database import Database
from registry.quotas import RateLimiter
from registry.storage import Storage
from registry.storage_rules import Encoding, ListQuery, PutItem
from schemas.errors import Conflict, ErrorCode, Exhausted, Invalid, NotFound
from schemas.ids import InstallId, TenantId
from service.clock import SystemClock
from tests import catalogue
from tests.fixtures_postgres import TestDatabase

NS = "notes"


class Space:
    """One install and its storage, so that tests read as sentences."""

    def __init__(self, storage: Storage, database: TestDatabase, tenant: TenantId, install: InstallId) -> None:
        self.storage, self.database, self.tenant, self.install = storage, database, tenant, install

    async def put(self, key: str, value: bytes = b"v", *, namespace: str = NS, **rest: object) -> int:
        item = PutItem(key=key, value=value, **rest)  # type: ignore[arg-type]
        return (await self.storage.put(self.tenant, self.install, namespace=namespace, item=item)).revision

    async def get(self, key: str) -> bytes | None:
        entry = await self.storage.get(self.tenant, self.install, namespace=NS, key=key)
        return None if entry is None else entry.value

    async def keys(self, **query: object) -> list[str]:
        page = await self.storage.list(self.tenant, self.install, namespace=NS, query=ListQuery(**query))  # type: ignore[arg-type]
        return [entry.key for entry in page.entries]

    async def expire(self, key: str) -> None:
        async with self.database.session() as session:
            await session.execute(
                "UPDATE ext_storage_records SET ttl_expires_at = now() - interval '1s' WHERE key = $1", key
            )

    async def check_counters(self) -> None:
        """The counters are the sum of what is stored."""
        async with self.database.session() as session:
            stored = await session.fetchrow(
                """SELECT coalesce(sum(value_size_bytes + metadata_size_bytes), 0)::bigint AS bytes, count(*) AS keys,
                count(DISTINCT namespace) AS namespaces FROM ext_storage_records
                WHERE extension_install_id = $1::uuid""",
                self.install,
            )
        assert stored is not None
        usage = await self.storage.usage(self.tenant, self.install)
        assert (usage.bytes_used, usage.keys, usage.namespaces) == (
            stored["bytes"],
            stored["keys"],
            stored["namespaces"],
        )


@pytest.fixture
async def space(database: Database, fresh_database: TestDatabase) -> Space:
    return await another(database, fresh_database)


async def another(database: Database, fresh_database: TestDatabase) -> Space:
    tenant = await catalogue.tenant(fresh_database)
    published = await catalogue.publish(fresh_database)
    install = await catalogue.install_row(fresh_database, tenant, published)
    return Space(Storage(database, RateLimiter(SystemClock())), fresh_database, tenant, install)


async def test_a_record_comes_back_whole(space: Space) -> None:
    """Bytes, encoding, metadata, revision and time to live."""
    item = PutItem(key="k", value=bytes(range(256)), encoding=Encoding.JSON, metadata={"a": [1, None]}, ttl_seconds=60)
    await space.storage.put(space.tenant, space.install, namespace=NS, item=item)

    entry = await space.storage.get(space.tenant, space.install, namespace=NS, key="k")

    assert entry is not None
    assert (entry.value, entry.encoding, entry.metadata, entry.revision) == (
        item.value,
        Encoding.JSON,
        {"a": [1, None]},
        1,
    )
    assert entry.expires_at is not None
    assert (entry.expires_at - entry.updated_at).total_seconds() == pytest.approx(60, abs=1)


async def test_a_write_replaces_value_metadata_and_time_to_live(space: Space) -> None:
    """Nothing of the old record is left but its revision."""
    await space.put("k", b"old", metadata={"a": 1}, ttl_seconds=60)

    assert await space.put("k", b"new") == 2

    entry = await space.storage.get(space.tenant, space.install, namespace=NS, key="k")
    assert entry is not None
    assert (entry.value, entry.metadata, entry.expires_at) == (b"new", None, None)
    await space.check_counters()


async def test_conditions_of_a_write(space: Space) -> None:
    """Create only, exactly this revision, and the loser is told the stored one."""
    assert await space.put("k", create_only=True) == 1
    assert await space.put("k", if_revision=1) == 2
    for condition in ({"create_only": True}, {"if_revision": 1}, {"if_revision": 0}):
        with pytest.raises(Conflict) as refusal:
            await space.put("k", **condition)
        assert refusal.value.extra["revision"] == 2
    with pytest.raises(Conflict):
        await space.put("absent", if_revision=1)


async def test_of_many_writers_with_one_revision_exactly_one_wins(space: Space) -> None:
    """Lost updates do not happen."""
    await space.put("k")
    results = await asyncio.gather(
        *(space.put("k", str(n).encode(), if_revision=1) for n in range(12)), return_exceptions=True
    )

    assert [result for result in results if result == 2] == [2]
    assert sum(isinstance(result, Conflict) for result in results) == 11
    await space.check_counters()


async def test_a_bulk_of_writes_is_all_or_nothing(space: Space) -> None:
    """A conflict of the last item undoes the first."""
    await space.put("b")
    items = [PutItem(key="a", value=b"1"), PutItem(key="b", value=b"2", create_only=True)]

    with pytest.raises(Conflict) as refusal:
        await space.storage.put_many(space.tenant, space.install, namespace=NS, items=items)

    assert refusal.value.extra["key"] == "b"
    assert await space.get("a") is None
    await space.check_counters()


async def test_deleting_what_is_absent_succeeds(space: Space) -> None:
    """True only where something was there."""
    await space.put("k")

    async def delete(key: str, revision: int | None = None) -> bool:
        return await space.storage.delete(space.tenant, space.install, namespace=NS, key=key, if_revision=revision)

    with pytest.raises(Conflict):
        await delete("k", 7)
    assert await delete("k", 1) is True
    assert await delete("k") is False
    assert await delete("k", 1) is False
    usage = await space.storage.usage(space.tenant, space.install)
    assert (usage.bytes_used, usage.keys, usage.namespaces) == (0, 0, 0)


async def test_bulk_reads_keep_the_order_and_bulk_deletes_count_what_was_there(space: Space) -> None:
    """Absent keys are left out."""
    for key in "abc":
        await space.put(key, key.encode())

    found = await space.storage.get_many(space.tenant, space.install, namespace=NS, keys=["c", "x", "a"])
    removed = await space.storage.delete_many(space.tenant, space.install, namespace=NS, keys=["a", "x", "b"])

    assert [entry.key for entry in found] == ["c", "a"]
    assert removed == 2
    assert await space.keys() == ["c"]
    with pytest.raises(Invalid):
        await space.storage.get_many(space.tenant, space.install, namespace=NS, keys=["a", "a"])
    await space.check_counters()


async def test_an_expired_record_is_absent_everywhere_and_starts_again(space: Space) -> None:
    """Invisible to get, list and conditions; a new write is its first revision; the room comes back."""
    await space.put("k", b"old", ttl_seconds=60)
    await space.put("k", b"old", ttl_seconds=60)
    await space.expire("k")

    assert await space.get("k") is None
    assert await space.keys() == []
    with pytest.raises(Conflict):
        await space.put("k", if_revision=2)
    assert await space.put("k", create_only=True) == 1
    await space.check_counters()


async def test_the_reaper_removes_expired_records_and_their_share_of_the_counters(space: Space) -> None:
    """Across tenants, and the counters of an install that is gone go with its last record."""
    await space.put("gone", b"12345", namespace="other", ttl_seconds=60)
    await space.put("stays", b"1")
    await space.expire("gone")

    assert await space.storage.reap() == 1
    await space.check_counters()
    assert (await space.storage.usage(space.tenant, space.install)).namespaces == 1


async def test_lists_go_by_bytes_and_miss_nothing(space: Space) -> None:
    """Strictly after the last key, also where keys come and go between two pages."""
    keys = ["Z", "a", "a%", "a_", "ab", "b", "é", "\U0001f600"]
    for key in keys:
        await space.put(key)
    in_order = sorted(keys, key=lambda key: key.encode())

    assert await space.keys(limit=100) == in_order
    seen: list[str] = []
    query = ListQuery(limit=3)
    while True:
        page = await space.storage.list(space.tenant, space.install, namespace=NS, query=query)
        seen += [entry.key for entry in page.entries]
        if page.next_cursor is None:
            break
        await space.storage.delete(space.tenant, space.install, namespace=NS, key=seen[-1])
        query = ListQuery(limit=3, after=storage_rules.parse_cursor(page.next_cursor))
    assert seen == in_order


@pytest.mark.parametrize(
    ("prefix", "expected"), [("a", ["a", "a%", "a_", "ab"]), ("a%", ["a%"]), ("a_", ["a_"]), ("x", [])]
)
async def test_prefixes_are_literal(space: Space, prefix: str, expected: list[str]) -> None:
    """Percent and underscore mean themselves."""
    for key in ("Z", "a", "a%", "a_", "ab", "b"):
        await space.put(key)

    assert await space.keys(prefix=prefix) == expected


async def test_a_page_ends_at_its_bytes_but_always_goes_on(space: Space) -> None:
    """At least one entry however large, then as many as fit."""
    for key in "abcd":
        await space.put(key, bytes(1000))

    assert await space.keys(value_bytes=2500) == ["a", "b"]
    assert await space.keys(value_bytes=10) == ["a"]
    assert await space.keys(value_bytes=10, at_least=3) == ["a", "b", "c"]
    assert await space.keys(value_bytes=10, include_values=False) == ["a", "b", "c", "d"]


async def test_counters_stay_exact_under_concurrent_writes_and_deletes(space: Space) -> None:
    """Eight writers on overlapping keys and namespaces."""

    async def work(worker: int) -> None:
        for step in range(12):
            namespace, key = f"n{step % 3}", f"k{(worker + step) % 5}"
            if step % 4 == 3:
                await space.storage.delete_many(
                    space.tenant, space.install, namespace=namespace, keys=["k0", key][: 1 + (key != "k0")]
                )
            else:
                await space.put(key, bytes(worker * 10 + step), namespace=namespace, metadata={"w": worker})

    await asyncio.gather(*(work(worker) for worker in range(8)))

    await space.check_counters()


async def test_another_install_and_another_tenant_see_nothing(
    space: Space, database: Database, fresh_database: TestDatabase
) -> None:
    """The same namespace and key are another record."""
    other = await another(database, fresh_database)
    await space.put("k", b"mine")

    assert await other.get("k") is None
    stranger = Space(other.storage, fresh_database, other.tenant, space.install)
    assert await stranger.get("k") is None
    with pytest.raises(NotFound):
        await stranger.put("k")
    assert await space.get("k") == b"mine"


async def test_rates_bite_per_install(database: Database, fresh_database: TestDatabase) -> None:
    """100 writes at once, then a refusal that says when to come again."""
    space = await another(database, fresh_database)
    storage = space.storage
    item = PutItem(key="k", value=b"v")

    async def flood() -> None:
        for _ in range(400):
            await storage.put(space.tenant, space.install, namespace=NS, item=item)

    with pytest.raises(Exhausted) as refusal:
        await flood()
    assert refusal.value.code is ErrorCode.RATE_LIMITED
    assert "100 storage writes" in refusal.value.message
