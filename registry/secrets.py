"""Secrets of installs: names and values, encrypted as one map per install, changed key by key.

Owns the map and its limits; the cipher is `registry/kek.py`'s. There is no plaintext at rest and no way to one: what
cannot be encrypted is not stored, what cannot be decrypted is not served, and a write that cannot read the map it
changes fails. Names and values never reach a log, an error or an audit row.

Decrypted maps are kept for at most `VALUES_SECONDS`, data keys for `DATA_KEYS_SECONDS`, neither beyond the expiry of
what they open. A change through another process is seen when these run out.
"""

from __future__ import annotations

import base64
import binascii
import datetime
from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from registry import audit, kek, statements
from registry.audit import Resource
from registry.database import Connection, Database, Row
from registry.install_cache import not_installed
from registry.kek import Binding, DataKey, KeyRing
from schemas import ids
from schemas.call import CallContext
from schemas.errors import Invalid, TooLarge, Unavailable
from schemas.ids import InstallId, TenantId
from schemas.invocation import SecretEnvelope
from service.clock import Clock

MAX_KEYS: Final = 64
MAX_NAME_CHARACTERS: Final = 256
MAX_VALUE_BYTES: Final = 16 * 1024
VALUES_SECONDS: Final = 30.0
DATA_KEYS_SECONDS: Final = 300.0
MAX_KEPT: Final = 2_000
INLINE: Final = "inline/base64"
_SQL = statements.load("secrets")
_Slot = tuple[TenantId, InstallId]


class OpenSecrets(msgspec.Struct, frozen=True, kw_only=True):
    """A decrypted map. `is_expired`: its values must not be served any more. Never shown by `repr`."""

    values: Mapping[str, str]
    is_expired: bool = False

    def __repr__(self) -> str:
        return f"OpenSecrets({len(self.values)} values, is_expired={self.is_expired})"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.values))


class SecretsInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What an admin may see: names, never values."""

    names: tuple[str, ...]
    expires_at: datetime.datetime | None
    version: str | None


class _KeptKey(msgspec.Struct, frozen=True):
    """A data key of one version of an install's secrets, until a monotonic instant."""

    version: str
    until: float
    data_key: DataKey


class _KeptValues(msgspec.Struct, frozen=True):
    """What was read of an install, until a monotonic instant. `secrets` None: nothing is stored."""

    until: float
    expires_at: datetime.datetime | None
    secrets: OpenSecrets | None


NONE = OpenSecrets(values={})
EXPIRED = OpenSecrets(values={}, is_expired=True)


class Secrets:
    """Reads and writes of secrets, with the KEKs of this process. `development` allows `inline/base64` envelopes."""

    def __init__(self, database: Database, ring: KeyRing, clock: Clock, *, development: bool = False) -> None:
        self._database, self._ring, self._clock, self._development = database, ring, clock, development
        self._values: OrderedDict[_Slot, _KeptValues] = OrderedDict()
        self._data_keys: OrderedDict[_Slot, _KeptKey] = OrderedDict()

    async def open(
        self, tenant: TenantId, install: InstallId, *, envelope: SecretEnvelope | None = None
    ) -> OpenSecrets:
        """The install's secrets, at most 30 s old; without stored ones those of `envelope`, if a call brought it.

        Raises Unavailable when they cannot be decrypted.
        """
        slot = (tenant, install)
        kept = self._values.get(slot)
        if kept is None or kept.until <= self._clock.monotonic():
            kept = await self._read(tenant, install)
            _keep(self._values, slot, kept)
        if kept.secrets is None:
            return NONE if envelope is None else self._from_call(tenant, install, envelope)
        return EXPIRED if self._is_over(kept.expires_at) else kept.secrets

    async def names(self, ctx: CallContext, install: InstallId) -> SecretsInfo:
        """Names for an admin. Raises NotFound, Unavailable."""
        async with self._database.transaction(ctx.tenant) as connection:
            if await connection.fetchrow(_SQL.find_install, ctx.tenant, install) is None:
                raise not_installed()
            row = await connection.fetchrow(_SQL.get_secrets, ctx.tenant, install)
        if row is None:
            return SecretsInfo(names=(), expires_at=None, version=None)
        opened = self._decrypt(ctx.tenant, install, row)
        return SecretsInfo(names=tuple(sorted(opened)), expires_at=row["expires_at"], version=row["version"])

    async def set(
        self,
        ctx: CallContext,
        install: InstallId,
        values: Mapping[str, str],
        *,
        expires_at: datetime.datetime | None = None,
    ) -> SecretsInfo:
        """Set these names, leave the others; `expires_at` counts for all of the install's. See `change`."""
        return await self.change(ctx, install, put=values, delete=(), expires_at=expires_at)

    async def unset(self, ctx: CallContext, install: InstallId, names: Collection[str]) -> SecretsInfo:
        """Delete these names; names that are not there are no error. See `change`."""
        return await self.change(ctx, install, put={}, delete=names)

    async def change(
        self,
        ctx: CallContext,
        install: InstallId,
        *,
        put: Mapping[str, str],
        delete: Collection[str],
        expires_at: datetime.datetime | None = None,
    ) -> SecretsInfo:
        """One write: names to set and names to delete, under a new version.

        `expires_at` None keeps what was set before. Raises Invalid, TooLarge, NotFound, Unavailable (what is stored
        cannot be decrypted: nothing is changed).
        """
        _check_values(put)
        async with self._database.transaction(ctx.tenant) as connection:
            if await connection.fetchrow(_SQL.lock_install, ctx.tenant, install) is None:
                raise not_installed()
            row = await connection.fetchrow(_SQL.get_secrets, ctx.tenant, install)
            before = {} if row is None else self._decrypt(ctx.tenant, install, row)
            after = {**{name: value for name, value in before.items() if name not in delete}, **put}
            expires_at = expires_at or (row["expires_at"] if row else None)
            info = await self._store(connection, ctx, install, after, expires_at)
            details = {"set": len(put), "deleted": len(delete), "names": len(after)}
            await audit.write(
                connection,
                ctx,
                "install.secrets_changed",
                Resource("install", install),
                tenant=ctx.tenant,
                details=details,
            )
        self.forget(ctx.tenant, install)
        return info

    def forget(self, tenant: TenantId, install: InstallId) -> None:
        """Drop what is kept of an install."""
        self._values.pop((tenant, install), None)
        self._data_keys.pop((tenant, install), None)

    async def _store(
        self,
        connection: Connection,
        ctx: CallContext,
        install: InstallId,
        values: dict[str, str],
        expires_at: datetime.datetime | None,
    ) -> SecretsInfo:
        if len(values) > MAX_KEYS:
            raise Invalid(f"an install may have {MAX_KEYS} secrets, not {len(values)}")
        if not values:
            await connection.execute(_SQL.delete_secrets, ctx.tenant, install)
            return SecretsInfo(names=(), expires_at=None, version=None)
        version = ids.new_id()
        binding = Binding(tenant=ctx.tenant, install=install, version=version)
        ciphertext, key_id = self._ring.seal(msgspec.json.encode(values), binding)
        await connection.execute(
            _SQL.put_secrets, ctx.tenant, install, ciphertext, kek.ALGORITHM, key_id, version, expires_at
        )
        return SecretsInfo(names=tuple(sorted(values)), expires_at=expires_at, version=version)

    async def _read(self, tenant: TenantId, install: InstallId) -> _KeptValues:
        until = self._clock.monotonic() + VALUES_SECONDS
        async with self._database.transaction(tenant) as connection:
            row = await connection.fetchrow(_SQL.get_secrets, tenant, install)
        if row is None:
            return _KeptValues(until, None, None)
        # What has expired is not decrypted any more.
        over = self._is_over(row["expires_at"])
        secrets = EXPIRED if over else OpenSecrets(values=self._decrypt(tenant, install, row))
        return _KeptValues(until, row["expires_at"], secrets)

    def _decrypt(self, tenant: TenantId, install: InstallId, row: Row) -> dict[str, str]:
        if row["algorithm"] != kek.ALGORITHM:
            raise _unreadable(f"algorithm {row['algorithm']!r} is not served here")
        binding = Binding(tenant=tenant, install=install, version=row["version"])
        data_key = self._data_key(tenant, install, row, binding)
        return _parse_map(kek.open_envelope(row["ciphertext"], data_key, binding))

    def _data_key(self, tenant: TenantId, install: InstallId, row: Row, binding: Binding) -> DataKey:
        slot, now = (tenant, install), self._clock.monotonic()
        kept = self._data_keys.get(slot)
        if kept is not None and kept.version == binding.version and kept.until > now:
            return kept.data_key
        data_key = self._ring.unwrap(row["ciphertext"], row["transit_key"] or "", binding)
        _keep(self._data_keys, slot, _KeptKey(binding.version, now + DATA_KEYS_SECONDS, data_key))
        return data_key

    def _from_call(self, tenant: TenantId, install: InstallId, envelope: SecretEnvelope) -> OpenSecrets:
        """The secrets a host application sent with a call. Never kept."""
        if self._is_over(_parse_time(envelope.expires_at)):
            return EXPIRED
        if envelope.algorithm == kek.ALGORITHM:
            binding = Binding(tenant=tenant, install=install, version=envelope.version or "")
            data_key = self._ring.unwrap(envelope.ciphertext_b64, envelope.key_path or self._ring.active, binding)
            values = _parse_map(kek.open_envelope(envelope.ciphertext_b64, data_key, binding))
            return OpenSecrets(values=values)
        if envelope.algorithm == INLINE and self._development:
            return OpenSecrets(values=_parse_map(_decode(envelope.ciphertext_b64)))
        raise _unreadable(f"envelope algorithm {str(envelope.algorithm)[:40]!r} is not served here")

    def _is_over(self, expires_at: datetime.datetime | None) -> bool:
        return expires_at is not None and expires_at.timestamp() <= self._clock.now()


def _check_values(values: Mapping[str, str]) -> None:
    """Limits of names and values; an error never quotes either."""
    for name, value in values.items():
        if not 1 <= len(name) <= MAX_NAME_CHARACTERS or not name.isprintable():
            raise Invalid(f"a secret's name must be 1 to {MAX_NAME_CHARACTERS} printable characters, not {len(name)}")
        if not isinstance(value, str):
            raise Invalid("a secret's value must be a text")
        size = len(value.encode("utf-8", errors="surrogatepass"))
        if size > MAX_VALUE_BYTES:
            raise TooLarge(f"a secret's value is {size} bytes, over the limit of {MAX_VALUE_BYTES}")


def _parse_map(plaintext: bytes) -> dict[str, str]:
    try:
        return msgspec.json.decode(plaintext, type=dict[str, str])
    except msgspec.MsgspecError as error:
        raise _unreadable("the plaintext is not a map of texts") from error


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _unreadable("the inline envelope is not base64") from error


def _parse_time(text: str | None) -> datetime.datetime | None:
    if not text:
        return None
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise _unreadable("the envelope's expires_at is not a time") from error
    return at if at.tzinfo else at.replace(tzinfo=datetime.UTC)


def _keep(kept: OrderedDict[Any, Any], slot: object, what: object) -> None:
    kept[slot] = what
    kept.move_to_end(slot)
    if len(kept) > MAX_KEPT:
        kept.popitem(last=False)


def _unreadable(detail: str) -> Unavailable:
    return Unavailable("secrets cannot be decrypted now", detail=detail, retry_after_seconds=5)
