"""Secrets on a real Postgres: written key by key, never in plain, gone when they expire."""

from __future__ import annotations

import base64
import datetime
import json
from dataclasses import dataclass

import pytest

from registry import kek
from registry.database import Database
from registry.kek import Binding, KeyRing
from registry.secrets import Secrets
from schemas.errors import FleetError, Invalid, NotFound, TooLarge, Unavailable
from schemas.ids import InstallId, TenantId
from schemas.invocation import SecretEnvelope
from tests import catalogue
from tests.clocks import ManualClock
from tests.fixtures_postgres import TestDatabase

KEY, OTHER_KEY = bytes(range(32)), bytes(32)


@dataclass
class Vault:
    """One install's secrets, and ways to look behind them."""

    secrets: Secrets
    database: TestDatabase
    opened: Database
    clock: ManualClock
    tenant: TenantId
    install: InstallId

    async def set(self, **values: str) -> tuple[str, ...]:
        return (await self.secrets.set(catalogue.context(self.tenant), self.install, values)).names

    async def read(self) -> dict[str, str]:
        return dict((await self.secrets.open(self.tenant, self.install)).values)

    async def sql(self, statement: str) -> None:
        async with self.database.session() as session:
            await session.execute(statement)

    def again(self, ring: KeyRing, *, development: bool = False) -> Secrets:
        """Another process with these keys."""
        return Secrets(self.opened, ring, self.clock, development=development)


@pytest.fixture
async def vault(database: Database, fresh_database: TestDatabase) -> Vault:
    tenant = await catalogue.tenant(fresh_database)
    install = await catalogue.install_row(fresh_database, tenant, await catalogue.publish(fresh_database))
    clock = ManualClock()
    secrets = Secrets(database, KeyRing({"k1": KEY}, active="k1"), clock)
    return Vault(secrets, fresh_database, database, clock, tenant, install)


async def test_keys_are_set_and_deleted_one_by_one(vault: Vault) -> None:
    """A write leaves the keys it does not name."""
    await vault.set(a="1", b="2")
    assert await vault.set(b="3", c="4") == ("a", "b", "c")
    info = await vault.secrets.unset(catalogue.context(vault.tenant), vault.install, ("a", "absent"))

    assert info.names == ("b", "c")
    assert await vault.read() == {"b": "3", "c": "4"}
    await vault.secrets.unset(catalogue.context(vault.tenant), vault.install, ("b", "c"))
    assert await vault.read() == {}
    async with vault.database.session() as session:
        assert await session.fetchval("SELECT count(*) FROM tenant_extension_install_secrets") == 0


async def test_nothing_in_the_database_shows_a_name_or_a_value(vault: Vault) -> None:
    """Neither the envelope nor the audit log."""
    await vault.set(api_key="hunter2hunter2")

    async with vault.database.session() as session:
        rows = [dict(row) for row in await session.fetch("SELECT * FROM tenant_extension_install_secrets")]
        rows += [dict(row) for row in await session.fetch("SELECT * FROM extension_audit_logs")]

    stored = base64.b64decode(rows[0]["ciphertext"])
    assert rows[0]["algorithm"] == kek.ALGORITHM
    assert len(rows) == 2
    for text in ("hunter2hunter2", "api_key"):
        assert text not in str(rows)
        assert text.encode() not in stored


async def test_each_write_has_a_new_version_and_old_envelopes_do_not_come_back(vault: Vault) -> None:
    """Putting an older ciphertext back into the row does not open: it is bound to its version."""
    await vault.set(a="1")
    async with vault.database.session() as session:
        old = await session.fetchval("SELECT ciphertext FROM tenant_extension_install_secrets")
    await vault.set(a="2")
    await vault.sql(f"UPDATE tenant_extension_install_secrets SET ciphertext = '{old}'")

    with pytest.raises(Unavailable):
        await vault.again(KeyRing({"k1": KEY}, active="k1")).open(vault.tenant, vault.install)


async def test_an_envelope_of_another_install_does_not_open(vault: Vault) -> None:
    """Rows cannot be swapped between tenants."""
    stranger = await catalogue.tenant(vault.database)
    install = await catalogue.install_row(vault.database, stranger, await catalogue.publish(vault.database))
    await vault.set(a="mine")
    await vault.secrets.set(catalogue.context(stranger), install, {"a": "theirs"})
    await vault.sql(
        """UPDATE tenant_extension_install_secrets AS mine SET ciphertext = theirs.ciphertext, version = theirs.version
        FROM tenant_extension_install_secrets AS theirs WHERE mine.install_id <> theirs.install_id"""
    )

    with pytest.raises(Unavailable):
        await vault.again(KeyRing({"k1": KEY}, active="k1")).open(vault.tenant, vault.install)


async def test_a_write_fails_and_changes_nothing_when_what_is_stored_cannot_be_read(vault: Vault) -> None:
    """Closed, not open: a lost KEK never makes an empty map."""
    await vault.set(a="1")
    stranger = vault.again(KeyRing({"k2": OTHER_KEY}, active="k2"))

    with pytest.raises(Unavailable):
        await stranger.set(catalogue.context(vault.tenant), vault.install, {"b": "2"})

    assert await vault.read() == {"a": "1"}


async def test_after_a_rotation_old_envelopes_are_read_and_new_ones_use_the_new_key(vault: Vault) -> None:
    """Both keys are in the file until nothing names the old one."""
    await vault.set(a="1")
    rotated = vault.again(KeyRing({"k2": OTHER_KEY, "k1": KEY}, active="k2"))

    await rotated.set(catalogue.context(vault.tenant), vault.install, {"b": "2"})

    only_new = vault.again(KeyRing({"k2": OTHER_KEY}, active="k2"))
    assert dict((await only_new.open(vault.tenant, vault.install)).values) == {"a": "1", "b": "2"}


async def test_expired_secrets_are_not_served_nor_replaced_by_the_calls_own(vault: Vault) -> None:
    """Also where they were read a moment before, and a call brings an envelope."""
    at = datetime.datetime.fromtimestamp(vault.clock.now() + 20, datetime.UTC)
    await vault.secrets.set(catalogue.context(vault.tenant), vault.install, {"a": "1"}, expires_at=at)
    assert await vault.read() == {"a": "1"}

    vault.clock.advance(20)

    opened = await vault.secrets.open(vault.tenant, vault.install, envelope=SecretEnvelope(ciphertext_b64="e30="))
    assert (opened.is_expired, dict(opened.values)) == (True, {})


async def test_values_are_kept_for_thirty_seconds_and_no_longer(vault: Vault) -> None:
    """A change through another process is seen then; without the database they are gone then."""
    await vault.set(a="1")
    assert await vault.read() == {"a": "1"}
    other = vault.again(KeyRing({"k1": KEY}, active="k1"))
    await other.set(catalogue.context(vault.tenant), vault.install, {"a": "2"})

    vault.clock.advance(29)
    assert await vault.read() == {"a": "1"}
    vault.clock.advance(2)
    assert await vault.read() == {"a": "2"}


@pytest.mark.parametrize(
    ("values", "error"),
    [
        ({"": "x"}, Invalid),
        ({"a\n": "x"}, Invalid),
        ({"a" * 257: "x"}, Invalid),
        ({"a": "é" * 8193}, TooLarge),
        ({str(n): "x" for n in range(65)}, Invalid),
    ],
)
async def test_limits_of_names_values_and_their_number(
    vault: Vault, values: dict[str, str], error: type[FleetError]
) -> None:
    """64 keys, 16 KiB each in UTF-8; the refusal quotes neither name nor value."""
    with pytest.raises(error) as refusal:
        await vault.secrets.set(catalogue.context(vault.tenant), vault.install, values)

    assert "x" * 2 not in refusal.value.message
    assert await vault.read() == {}


async def test_the_limit_itself_is_allowed(vault: Vault) -> None:
    """64 keys of 16 KiB come back."""
    values = {f"k{n}": "é" * 8192 for n in range(64)}

    await vault.secrets.set(catalogue.context(vault.tenant), vault.install, values)

    assert await vault.read() == values


async def test_an_install_that_is_not_the_tenants_is_not_found(vault: Vault) -> None:
    """Neither read nor written."""
    stranger = await catalogue.tenant(vault.database)
    await vault.set(a="1")

    with pytest.raises(NotFound):
        await vault.secrets.set(catalogue.context(stranger), vault.install, {"a": "2"})
    with pytest.raises(NotFound):
        await vault.secrets.names(catalogue.context(stranger), vault.install)
    assert dict((await vault.secrets.open(stranger, vault.install)).values) == {}


async def test_a_calls_own_envelope_counts_only_without_stored_secrets(vault: Vault) -> None:
    """inline/base64 in development only; our own cipher anywhere."""
    inline = SecretEnvelope(
        ciphertext_b64=base64.b64encode(json.dumps({"a": "inline"}).encode()).decode(), algorithm="inline/base64"
    )
    ring = KeyRing({"k1": KEY}, active="k1")
    text, key_id = ring.seal(b'{"a":"sealed"}', Binding(tenant=vault.tenant, install=vault.install, version="7"))
    sealed = SecretEnvelope(ciphertext_b64=text, algorithm=kek.ALGORITHM, version="7", key_path=key_id)
    development = vault.again(ring, development=True)

    assert dict((await development.open(vault.tenant, vault.install, envelope=inline)).values) == {"a": "inline"}
    assert dict((await vault.secrets.open(vault.tenant, vault.install, envelope=sealed)).values) == {"a": "sealed"}
    for refused in (inline, SecretEnvelope(ciphertext_b64="e30=", algorithm="vault-transit:v1")):
        with pytest.raises(Unavailable):
            await vault.secrets.open(vault.tenant, vault.install, envelope=refused)
    await vault.set(a="stored")
    assert dict((await vault.secrets.open(vault.tenant, vault.install, envelope=sealed)).values) == {"a": "stored"}
