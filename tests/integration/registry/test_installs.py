"""Installs on a real Postgres and a real NATS: what resolves, who must consent, and when the fronts know."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from deploy.embedded.nats import NatsServer
from registry import grants, install_changes
from registry.database import Database
from registry.grants import Request
from registry.install_changes import Announcer
from registry.install_rows import InstallView, Platform
from registry.installs import InstallRequest, Installs
from schemas import capability, ids
from schemas.errors import Conflict, ErrorCode, FleetError, NotFound, TooLarge, Unprocessable
from schemas.ids import InstallId, TenantId
from schemas.install import InstallStatus
from service.clock import SystemClock
from service.lifecycle import TaskOwner
from service.messaging import Messaging
from tests import catalogue
from tests.catalogue import Published
from tests.fixtures_postgres import TestDatabase

pytest_plugins = ["tests.fixtures_nats"]
FETCH, STORE, EVENTS = capability.HTTP_FETCH, capability.STORAGE_KV, capability.EVENTS_SUBSCRIBE


@dataclass
class Registry:
    """The installs of one database, one tenant, and where its changes are announced."""

    installs: Installs
    database: TestDatabase
    opened: Database
    messaging: Messaging
    announcer: Announcer
    tenant: TenantId

    async def install(self, published: Published, **request: Any) -> InstallView:
        return await self.installs.install(catalogue.context(self.tenant), wanted(published, **request))

    async def update(self, published: Published, **request: Any) -> InstallView:
        return await self.installs.update(catalogue.context(self.tenant), wanted(published, **request))

    async def audit(self) -> list[Any]:
        async with self.database.session() as session:
            return await session.fetch(
                "SELECT event_type, details FROM extension_audit_logs WHERE tenant = $1 ORDER BY created_at",
                self.tenant,
            )


def wanted(published: Published, *, consent: Request | None = None, **rest: Any) -> InstallRequest:
    return InstallRequest(
        registry=published.registry,
        version=rest.pop("version", published.version),
        consent=consent or Request(),
        **rest,
    )


@pytest.fixture
async def registry(
    fresh_database: TestDatabase, database: Database, nats_server: NatsServer
) -> AsyncIterator[Registry]:
    clock = SystemClock()
    async with (
        Messaging.connect(nats_server.url_for("gateway"), name="test", role="gateway") as messaging,
        TaskOwner() as tasks,
    ):
        announcer = await Announcer.open(messaging, tasks, clock)
        installs = Installs(database, announcer, clock, Platform(install_domain="ext.example"))
        tenant = await catalogue.tenant(fresh_database)
        yield Registry(installs, fresh_database, database, messaging, announcer, tenant)


async def test_an_install_resolves_by_each_of_its_names(registry: Registry) -> None:
    """Install id, registry id, publisher.name in lower case, and the bare name."""
    published = await catalogue.publish(registry.database, capabilities=[FETCH], egress=["api.example"])
    view = await registry.install(published, consent=Request(grants="manifest"), config={"a": "x", "n": 1, "z": None})
    slug = f"{published.publisher}.{published.name}".lower()

    found = [
        await registry.installs.resolve(registry.tenant, reference)
        for reference in (view.id, view.id.upper(), published.registry, slug, published.name)
    ]

    assert all(resolved == found[0] for resolved in found)
    assert found[0].install == view.id
    assert found[0].grants == capability.DEFAULTS | {FETCH}
    assert found[0].egress == ("api.example",)
    assert found[0].config == {"a": "x", "n": "1", "z": ""}
    assert found[0].has_component
    assert [endpoint.path for endpoint in found[0].endpoints] == ["/hello", "/notes/:id"]
    assert found[0].endpoints[1].idempotent


async def test_what_does_not_run_is_not_there(registry: Registry) -> None:
    """Unknown, disabled, pending, quarantined, key revoked, suspended and another tenant's: one answer."""
    published = await catalogue.publish(registry.database, capabilities=[FETCH])
    other = await catalogue.tenant(registry.database)

    async def refusal(reference: str, tenant: TenantId | None = None) -> tuple[object, str]:
        with pytest.raises(NotFound) as caught:
            await registry.installs.resolve(tenant or registry.tenant, reference)
        return caught.value.code, caught.value.message

    unknown = await refusal(ids.new_id())
    view = await registry.install(published)
    assert view.status is InstallStatus.PENDING
    assert await refusal(view.id) == unknown
    ctx = catalogue.context(registry.tenant)
    await registry.installs.set_grants(ctx, view.id, Request(grants=frozenset()))
    assert await refusal(view.id, other) == unknown
    assert await refusal("no.such") == unknown
    await registry.installs.disable(ctx, view.id)
    assert await refusal(view.id) == unknown
    await registry.installs.enable(ctx, view.id)
    for statement in (
        f"UPDATE extension_version SET state = 'quarantined' WHERE id = '{published.version_id}'",
        f"UPDATE extension_publisher_key SET revoked_at = now() WHERE key_id = '{published.key_id}'",
        f"UPDATE tenant SET state = 'suspended' WHERE tenant_id = '{registry.tenant}'",
    ):
        assert (await registry.installs.resolve(registry.tenant, view.id)).install == view.id
        async with registry.database.session() as session:
            await session.execute(statement)
        assert await refusal(view.id) == unknown
        async with registry.database.session() as session:
            await session.execute("UPDATE extension_version SET state = 'active'")
            await session.execute("UPDATE extension_publisher_key SET revoked_at = NULL")


async def test_a_name_that_two_publishers_share_with_a_full_name_means_the_full_one(registry: Registry) -> None:
    """`publisher.name` wins over a bare name that happens to read the same."""
    first = await catalogue.publish(registry.database, publisher="Acme", name="reports.pro")
    second = await catalogue.publish(registry.database, name="acme.reports.pro")
    await registry.install(second)
    assert (await registry.installs.resolve(registry.tenant, "acme.reports.pro")).registry == second.registry

    await registry.install(first)

    assert (await registry.installs.resolve(registry.tenant, "acme.reports.pro")).registry == first.registry


async def test_a_version_that_asks_for_more_waits_until_somebody_decides(registry: Registry) -> None:
    """Pending until set_grants; what the list leaves out is denied, not pending."""
    published = await catalogue.publish(registry.database, capabilities=[FETCH, STORE])
    view = await registry.install(published)
    ctx = catalogue.context(registry.tenant)

    with pytest.raises(Conflict) as refusal:
        await registry.installs.enable(ctx, view.id)
    assert refusal.value.extra["consent_required"]["capabilities"] == sorted([FETCH, STORE])  # type: ignore[index]
    decided = await registry.installs.set_grants(ctx, view.id, Request(grants=frozenset({STORE})))

    assert decided.status is InstallStatus.ENABLED
    assert (await registry.installs.resolve(registry.tenant, view.id)).grants == capability.DEFAULTS | {STORE}


async def test_an_update_that_widens_keeps_the_old_version_until_consent(registry: Registry) -> None:
    """409 with exactly what widens; the same call with consent rolls out."""
    old = await catalogue.publish(registry.database, capabilities=[STORE])
    new = await catalogue.publish(
        registry.database,
        of=old,
        version="1.1.0",
        capabilities=[STORE, FETCH],
        egress=["api.example"],
        events=[{"topic": "ticket.created", "handler": "/on/ticket"}],
        limits={"timeout_ms": 8000},
    )
    view = await registry.install(old, consent=Request(grants="manifest"))

    with pytest.raises(Conflict) as refusal:
        await registry.update(new)

    assert refusal.value.extra == {
        "consent_required": {
            "capabilities": [EVENTS, FETCH],
            "egress": ["api.example"],
            "events": ["ticket.created"],
            "limits": {"timeout_ms": 8000},
        }
    }
    waiting = await registry.installs.get(catalogue.context(registry.tenant), view.id)
    assert (waiting.version, waiting.pending_version) == ("1.0.0", "1.1.0")
    updated = await registry.update(new, consent=Request(grants="manifest"))
    assert (updated.id, updated.version, updated.pending_version) == (view.id, "1.1.0", None)
    resolved = await registry.installs.resolve(registry.tenant, view.id)
    assert resolved.grants >= {FETCH, STORE, EVENTS}
    assert resolved.limits.timeout_ms == 8000


async def test_an_update_that_does_not_widen_needs_nobody(registry: Registry) -> None:
    """And what it stopped asking for is gone, also for the version after it."""
    old = await catalogue.publish(registry.database, capabilities=[STORE, FETCH])
    less = await catalogue.publish(registry.database, of=old, version="1.1.0", capabilities=[STORE])
    again = await catalogue.publish(registry.database, of=old, version="1.2.0", capabilities=[STORE, FETCH])
    await registry.install(old, consent=Request(grants="manifest"))

    assert (await registry.update(less)).effective == tuple(sorted(capability.DEFAULTS | {STORE}))

    with pytest.raises(Conflict):
        await registry.update(again)


async def test_going_back_and_withdrawn_versions_need_an_audited_override(registry: Registry) -> None:
    """409 without, done with, and the audit row says which rule was overridden."""
    first = await catalogue.publish(registry.database)
    second = await catalogue.publish(registry.database, of=first, version="1.1.0")
    third = await catalogue.publish(registry.database, of=first, version="2.0.0")
    async with registry.database.session() as session:
        await session.execute("UPDATE extension_version SET state = 'withdrawn' WHERE id = $1::uuid", third.version_id)
    await registry.install(second)

    for target in (first, third):
        with pytest.raises(Conflict) as refusal:
            await registry.install(target)
        assert refusal.value.code is ErrorCode.CONFLICT
    await registry.update(first, override=True)
    await registry.update(third, override=True)

    overridden = [row["details"] for row in await registry.audit() if row["event_type"] == "install.updated"]
    assert ['"overridden": "older"' in text or '"overridden": "withdrawn"' in text for text in map(str, overridden)]
    assert "older" in str(overridden[0])
    assert "withdrawn" in str(overridden[1])


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE extension_publisher_key SET revoked_at = now()",
        "UPDATE extension_publisher_key SET not_after = now()",
        "UPDATE extension_publisher_key SET not_before = now() + interval '1 day'",
        "UPDATE extension_publisher SET state = 'suspended'",
        "UPDATE extension_bundle SET key_id = NULL",
        "UPDATE extension_bundle SET signature = NULL",
        "UPDATE extension_bundle SET content_hash = 'sha256:' || repeat('0', 64)",
        "UPDATE extension_version SET manifest_sha256 = repeat('0', 64)",
        "UPDATE extension_publisher_key SET public_key = public_key || '\\x00'::bytea",
    ],
)
async def test_a_version_whose_key_is_not_good_any_more_is_not_installed(registry: Registry, statement: str) -> None:
    """Signatures are judged again at install, by what the registry knows now."""
    published = await catalogue.publish(registry.database)
    async with registry.database.session() as session:
        await session.execute(statement)

    with pytest.raises(Unprocessable) as refusal:
        await registry.install(published)

    assert refusal.value.code is ErrorCode.SIGNATURE_INVALID


async def test_a_wildcard_means_the_highest_published_version(registry: Registry) -> None:
    """Older tools send the manifest's text; withdrawn versions and pre-releases are not meant."""
    first = await catalogue.publish(registry.database, version="1.2.0")
    for version in ("1.2.1", "1.2.9-rc.1", "1.3.0"):
        await catalogue.publish(registry.database, of=first, version=version)

    assert (await registry.install(first, version="1.2.*")).version == "1.2.1"
    with pytest.raises(NotFound):
        await registry.install(first, version="9.9.9")


async def test_uninstalling_removes_what_hung_on_it_and_installing_again_starts_anew(registry: Registry) -> None:
    """Schedules, subscriptions and secrets go, stored records get an expiry, a new install is another one."""
    published = await catalogue.publish(
        registry.database, capabilities=[STORE], events=[{"topic": "a.b", "handler": "/on"}]
    )
    view = await registry.install(published, consent=Request(grants="manifest"))
    async with registry.database.session() as session:
        await session.execute(
            """INSERT INTO ext_storage_records (tenant, extension_install_id, namespace, key, value, value_size_bytes)
            VALUES ($1, $2::uuid, 'n', 'k', 'v', 1)""",
            registry.tenant,
            view.id,
        )
        await session.execute(
            """INSERT INTO tenant_extension_schedule (tenant_id, install_id, endpoint_id, cron)
            SELECT $1, $2::uuid, id, '0 * * * *' FROM extension_api_endpoint WHERE version_id = $3::uuid LIMIT 1""",
            registry.tenant,
            view.id,
            published.version_id,
        )
    host = view.runner_domain or ""
    assert await registry.installs.find_by_host(host) == (
        registry.tenant,
        view.id,
        published.registry,
        published.content_hash,
    )

    await registry.installs.uninstall(catalogue.context(registry.tenant), published.registry)

    async with registry.database.session() as session:
        for table in ("tenant_extension_schedule", "extension_event_subscription", "tenant_extension_install_config"):
            assert await session.fetchval(f"SELECT count(*) FROM {table}") == 0
        assert await session.fetchval("SELECT ttl_expires_at > now() FROM ext_storage_records") is True
    assert await registry.installs.find_by_host(host) is None
    again = await registry.install(published, consent=Request(grants="manifest"))
    assert again.id != view.id
    assert again.runner_domain != view.runner_domain


async def test_the_host_label_of_an_install_cannot_be_guessed(registry: Registry) -> None:
    """At least 128 random bits in front of the operator's domain."""
    published = await catalogue.publish(registry.database)

    label, _, domain = ((await registry.install(published)).runner_domain or "").partition(".")

    assert domain == "ext.example"
    assert len(label) * 5 >= 128


async def test_subscriptions_follow_the_version_and_keep_their_id(registry: Registry) -> None:
    """Only where subscribing was approved; an unchanged (topic, handler) is the same row over an update."""
    old = await catalogue.publish(
        registry.database, events=[{"topic": "a.b", "handler": "/on/a"}, {"topic": "c.d", "handler": "/on/c"}]
    )
    new = await catalogue.publish(
        registry.database,
        of=old,
        version="1.1.0",
        events=[{"topic": "a.b", "handler": "/on/a", "filter": {"p": 1}}, {"topic": "c.d", "handler": "/on/other"}],
    )

    async def rows() -> dict[tuple[str, str], str]:
        async with registry.database.session() as session:
            found = await session.fetch("SELECT id::text, topic, handler FROM extension_event_subscription")
        return {(row["topic"], row["handler"]): row["id"] for row in found}

    await registry.install(old)
    assert await rows() == {}
    await registry.installs.set_grants(catalogue.context(registry.tenant), old.registry, Request(grants="manifest"))
    before = await rows()
    await registry.update(new)
    after = await rows()

    assert set(before) == {("a.b", "/on/a"), ("c.d", "/on/c")}
    assert set(after) == {("a.b", "/on/a"), ("c.d", "/on/other")}
    assert before["a.b", "/on/a"] == after["a.b", "/on/a"]


async def test_schedules_move_to_the_endpoint_of_the_new_version_or_stop_the_update(registry: Registry) -> None:
    """Lost endpoints are named; on request the schedules are switched off instead."""
    old = await catalogue.publish(registry.database)
    new = await catalogue.publish(registry.database, of=old, version="1.1.0", endpoints=catalogue.ENDPOINTS[1:])
    view = await registry.install(old)
    async with registry.database.session() as session:
        schedule = await session.fetchval(
            """INSERT INTO tenant_extension_schedule (tenant_id, install_id, endpoint_id, cron, next_run_at)
            SELECT $1, $2::uuid, id, '0 * * * *', now() FROM extension_api_endpoint
            WHERE version_id = $3::uuid AND path = '/hello' RETURNING id::text""",
            registry.tenant,
            view.id,
            old.version_id,
        )

    with pytest.raises(Conflict) as refusal:
        await registry.update(new)
    assert refusal.value.extra == {
        "code": "SCHEDULE_REMAP_FAILED",
        "missing": [{"scheduleId": schedule, "method": "GET", "path": "/hello"}],
    }
    await registry.update(new, disable_missing_schedules=True)

    async with registry.database.session() as session:
        row = await session.fetchrow("SELECT enabled, next_run_at, last_error FROM tenant_extension_schedule")
    assert row is not None
    assert (row["enabled"], row["next_run_at"]) == (False, None)
    assert "GET /hello" in row["last_error"]


async def test_a_configuration_has_its_limit_and_a_new_version_per_write(registry: Registry) -> None:
    """64 KiB as JSON."""
    published = await catalogue.publish(registry.database)
    view = await registry.install(published)
    ctx = catalogue.context(registry.tenant)

    written = await registry.installs.set_config(ctx, view.id, {"deep": {"a": [1]}})

    assert written.config_version != view.config_version
    assert (await registry.installs.resolve(registry.tenant, view.id)).config == {"deep": '{"a":[1]}'}
    with pytest.raises(TooLarge):
        await registry.installs.set_config(ctx, view.id, {"a": "x" * 65_530})
    with pytest.raises(FleetError):
        await registry.installs.set_config(ctx, view.id, ["a"])


async def test_two_installs_at_once_make_one(registry: Registry) -> None:
    """The unique key decides; nobody sees two."""
    published = await catalogue.publish(registry.database)

    results = await asyncio.gather(*(registry.install(published) for _ in range(4)), return_exceptions=True)

    made = {result.id for result in results if isinstance(result, InstallView)}
    assert len(made) == 1
    assert all(isinstance(result, InstallView | Conflict) for result in results)
    assert len(await registry.installs.list(catalogue.context(registry.tenant))) == 1


async def test_an_import_keeps_the_host_applications_id(registry: Registry) -> None:
    """So that ids in /v1/execute match."""
    published = await catalogue.publish(registry.database)
    wanted_id = InstallId(ids.new_id())

    assert (await registry.install(published, install=wanted_id)).id == wanted_id


async def test_a_pinned_tenant_goes_to_its_shard(registry: Registry) -> None:
    """And everybody else where the hash says."""
    registry.tenant = await catalogue.tenant(registry.database, shard=7)
    published = await catalogue.publish(registry.database)
    view = await registry.install(published)

    assert (await registry.installs.resolve(registry.tenant, view.id)).shard == 7


async def test_a_change_returns_after_every_live_front_dropped_its_entry(registry: Registry) -> None:
    """Revoking counts from the next invocation: the admin call waits for the acknowledgements."""
    published = await catalogue.publish(registry.database, capabilities=[FETCH])
    view = await registry.install(published, consent=Request(grants="manifest"))
    heard: list[tuple[int, TenantId]] = []
    async with (
        install_changes.listen(registry.messaging, lambda tenant: heard.append((1, tenant)), clear=lambda: None),
        install_changes.listen(registry.messaging, lambda tenant: heard.append((2, tenant)), clear=lambda: None),
    ):
        ctx = catalogue.context(registry.tenant)
        await registry.installs.set_grants(ctx, view.id, Request(grants=frozenset()))
        told = sorted(heard)

    assert told == [(1, registry.tenant), (2, registry.tenant)]


async def test_a_front_that_is_stuck_delays_a_change_by_two_seconds_at_most(registry: Registry) -> None:
    """It serves what it has for at most the ten seconds an entry lives."""
    published = await catalogue.publish(registry.database)
    view = await registry.install(published)
    bucket = await registry.messaging.bucket(
        install_changes.FRONTS_BUCKET, ttl_seconds=install_changes.FRONT_TTL_SECONDS
    )
    async with install_changes.listen(registry.messaging, lambda _: None, clear=lambda: None):
        await bucket.put("stuck", b"")
        began = asyncio.get_running_loop().time()
        await registry.installs.disable(catalogue.context(registry.tenant), view.id)
        took = asyncio.get_running_loop().time() - began
        await bucket.delete("stuck")

    assert install_changes.ACKNOWLEDGE_SECONDS - 0.2 <= took < install_changes.ACKNOWLEDGE_SECONDS + 1


async def test_every_change_is_audited_without_values(registry: Registry) -> None:
    """Who did what, never what the configuration says."""
    published = await catalogue.publish(registry.database)
    ctx = catalogue.context(registry.tenant)
    view = await registry.install(published, config={"password": "hunter2"})
    await registry.installs.set_config(ctx, view.id, {"password": "hunter3"})
    await registry.installs.disable(ctx, view.id)
    await registry.installs.enable(ctx, view.id)
    await registry.installs.set_grants(ctx, view.id, grants.Request(grants=frozenset()))
    await registry.installs.uninstall(ctx, view.id)

    rows = await registry.audit()

    assert [row["event_type"] for row in rows] == [
        "install.installed",
        "install.config_changed",
        "install.disabled",
        "install.enabled",
        "install.grants_changed",
        "install.uninstalled",
    ]
    assert "hunter" not in str([dict(row) for row in rows])
