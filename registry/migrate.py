"""Brings a database to this version: roles, tables, row security; and the first operator's key.

Owns the order and that only one migration runs at a time; what is done is in `migrations/` and `sql/system.sql`, plain
SQL. Runs with the DSN of a superuser, or of the database's owner if that has CREATEROLE and BYPASSRLS (which making
`alga_lookup` takes) or an administrator has made the four roles and granted it `alga_owner` and `alga_lookup`.
Passwords given here are set on the login roles, so that running again with other ones rotates them.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pogo_core.error import BadMigrationError
from pogo_core.util import migrate as pogo

from registry import database, database_check, statements
from registry.keys import OPERATOR_PERMISSIONS, ApiKey
from schemas.errors import Conflict, Internal, Invalid

DIRECTORY = database_check.MIGRATIONS
OWNER, APP, SYSTEM = "alga_owner", "alga_app", "alga_system"
FIRST_OPERATOR = "bootstrap"
_LOCK = 0x616C6761
"""Any number, the same for every process that migrates: "alga"."""
_SCRAM_ITERATIONS = 4096
_PASSWORD = re.compile(r"[\x21-\x7e]{8,256}", re.ASCII)
_SQL = statements.load("system")


async def migrate(owner_dsn: str, *, app_password: str | None = None, system_password: str | None = None) -> None:
    """Apply what is not applied yet; nothing to do is fine. A password None leaves that role's as it is.

    Raises Unavailable when Postgres does not answer, Internal naming the migration that failed; it left no trace.
    """
    async with _locked(owner_dsn) as raw:
        await raw.execute(_SQL.create_roles)
        await _set_password(raw, APP, app_password)
        await _set_password(raw, SYSTEM, system_password)
        await raw.execute(_SQL.let_owner_create)
        await raw.execute(f"SET ROLE {OWNER}")
        await _apply(raw)
        await raw.execute(_SQL.show_what_is_applied)


async def bootstrap(owner_dsn: str) -> str:
    """The first operator's key, once for each database. Raises Conflict when it was made before, or nothing has been
    migrated yet."""
    key = ApiKey.new()
    async with _locked(owner_dsn) as raw:
        if not await raw.fetchval(_SQL.is_migrated):
            raise Conflict("this database has no tables yet; run `alga migrate` first")
        await raw.execute(f"SET ROLE {OWNER}")
        made = await raw.fetchval(
            _SQL.make_first_operator, key.id, FIRST_OPERATOR, key.hash, list(OPERATOR_PERMISSIONS)
        )
    if made is None:
        raise Conflict("the first operator's key was made before; make others with `alga key create`")
    return key.text


@asynccontextmanager
async def _locked(owner_dsn: str) -> AsyncIterator[Any]:
    async with database.administration(owner_dsn) as raw:
        await raw.execute("SELECT pg_advisory_lock($1)", _LOCK)
        yield raw


async def _set_password(raw: Any, role: str, password: str | None) -> None:
    if password is None:
        return
    if not _PASSWORD.fullmatch(password):
        raise Invalid(f"the password of {role} must be 8 to 256 visible ASCII characters")
    # The verifier, not the password: statements may be logged by the server.
    await raw.execute(f"ALTER ROLE {role} PASSWORD '{scram_verifier(password, salt=secrets.token_bytes(16))}'")


def scram_verifier(password: str, *, salt: bytes) -> str:
    """What Postgres stores for a password (RFC 5803), made here so that the password is never sent."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, _SCRAM_ITERATIONS)
    stored_key = hashlib.sha256(_hmac(salted, b"Client Key")).digest()
    parts = (base64.b64encode(part).decode() for part in (salt, stored_key, _hmac(salted, b"Server Key")))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_SCRAM_ITERATIONS, *parts)


def _hmac(key: bytes, text: bytes) -> bytes:
    return hmac.digest(key, text, "sha256")


async def _apply(raw: Any) -> None:
    try:
        await pogo.apply(raw, DIRECTORY, schema_name="public")
    except BadMigrationError as error:
        raise Internal(str(error), detail=repr(error.__cause__)) from error
