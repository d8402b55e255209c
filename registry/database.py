"""Postgres: pools, transactions with the tenant set for row security, and what its errors mean to us.

Owns the connections and the one table from Postgres errors to FleetErrors. Knows no noun: statements come from
`statements.py`. Every context is one transaction: committed at its end, rolled back when anything is raised.

The tenant is set with `SET LOCAL`: it ends with the transaction, so nothing of it is left on a pooled connection.
Outside of a transaction with a tenant, the policies of every tenant table show no row.

Ids are `str` both ways (`uuid` columns included), `jsonb` columns are Python values, times are aware datetimes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg
import orjson

from registry import database_check, database_errors
from registry.database_errors import RETRY_AFTER_SECONDS, Failure
from schemas.errors import Internal, Unavailable
from schemas.ids import TenantId, parse_tenant
from service.settings import PostgresSettings

Row = Mapping[str, Any]
"""One row, by column name."""

ACQUIRE_TIMEOUT_SECONDS = 2.0
CONNECT_TIMEOUT_SECONDS = 3.0
COMMAND_TIMEOUT_SECONDS = 15.0
"""Above the server's own timeouts, so that normally the server gives up first and the connection stays usable."""
_CACHED_STATEMENTS = 512
_SESSION = {
    "application_name": "alga",
    "jit": "off",
    "timezone": "UTC",
    "statement_timeout": "10s",
    "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": "30s",
}
_LOST = ("closed", "closing", "released back to the pool")
"""How the driver says, in a general error, that the connection is gone; the pool takes a dead one back at once."""
_FOREIGN = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class Connection:
    """A connection inside one transaction. All methods raise FleetErrors (`database_errors.py`).

    After a failed statement the transaction is void, unless the statement was inside a `savepoint`.
    """

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    async def fetch(self, statement: str, *arguments: object) -> Sequence[Row]:
        with translated():
            rows: Sequence[Row] = await self._raw.fetch(statement, *arguments)
            return rows

    async def fetchrow(self, statement: str, *arguments: object) -> Row | None:
        with translated():
            row: Row | None = await self._raw.fetchrow(statement, *arguments)
            return row

    async def fetchval(self, statement: str, *arguments: object) -> Any:
        """The first column of the first row, None when there is no row."""
        with translated():
            return await self._raw.fetchval(statement, *arguments)

    async def execute(self, statement: str, *arguments: object) -> int:
        """The number of rows that were inserted, updated, deleted or selected."""
        with translated():
            tag: str = await self._raw.execute(statement, *arguments)
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdecimal() else 0

    async def executemany(self, statement: str, arguments: Sequence[Sequence[object]]) -> None:
        """The statement for each tuple of arguments, sent in few messages; all or nothing, as the transaction is."""
        with translated():
            await self._raw.executemany(statement, arguments)

    async def set_tenant(self, tenant: TenantId) -> None:
        """Set the tenant for what follows in this transaction: for work on rows of several tenants, one by one."""
        with translated():
            await self._raw.execute(f"SET LOCAL alga.tenant = '{parse_tenant(tenant)}'")

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """What fails inside is undone and raised; the transaction goes on."""
        await self.execute("SAVEPOINT inner_part")
        try:
            yield
        except BaseException:
            await self.execute("ROLLBACK TO SAVEPOINT inner_part; RELEASE SAVEPOINT inner_part")
            raise
        await self.execute("RELEASE SAVEPOINT inner_part")


class Database:
    """The pools of one process: one as `alga_app`, and where there is a system DSN one as `alga_system`."""

    def __init__(self, app: Any, system: Any | None) -> None:
        self._app, self._system = app, system

    @asynccontextmanager
    async def transaction(self, tenant: TenantId) -> AsyncIterator[Connection]:
        """A transaction in which this tenant's rows, and global tables, are visible.

        Raises Invalid for what is not a tenant id, Unavailable when no connection is free within 2 s.
        """
        begin = f"BEGIN; SET LOCAL alga.tenant = '{parse_tenant(tenant)}'"
        async with _transaction(self._app, begin) as connection:
            yield connection

    @asynccontextmanager
    async def unscoped(self) -> AsyncIterator[Connection]:
        """A transaction without tenant: global tables and look-up functions; tables of tenants show nothing."""
        async with _transaction(self._app, "BEGIN") as connection:
            yield connection

    @asynccontextmanager
    async def system(self) -> AsyncIterator[Connection]:
        """A transaction as `alga_system`: what `sql/system.sql` lists, of all tenants."""
        if self._system is None:
            raise Internal("this process has no access across tenants", detail="opened without a system DSN")
        async with _transaction(self._system, "BEGIN") as connection:
            yield connection

    async def check(self) -> None:
        """One round trip, for readiness. Raises Unavailable."""
        async with self.unscoped() as connection:
            await connection.fetchval("SELECT 1")


@asynccontextmanager
async def open_database(settings: PostgresSettings) -> AsyncIterator[Database]:
    """Connect, and refuse a database that is not migrated, or would let rows past their tenant (`database_check.py`).

    Raises Unavailable when Postgres does not answer, Conflict or Internal naming every fault found.
    """
    async with _pool(settings.dsn, size=settings.pool_size) as app:
        async with _transaction(app, "BEGIN") as connection:
            await database_check.check_migrated(connection.fetch)
        await _check_before_serving(app)
        if settings.system_dsn is None:
            yield Database(app, None)
            return
        async with _pool(settings.system_dsn, size=settings.pool_size) as system:
            await _check_before_serving(system)
            yield Database(app, system)


@asynccontextmanager
async def administration(dsn: str) -> AsyncIterator[Any]:
    """One plain connection for `migrate.py`, outside of any transaction and of every check, and without time limits.

    What is raised inside becomes a FleetError, as everywhere."""
    with translated():
        raw = await asyncpg.connect(
            dsn, timeout=CONNECT_TIMEOUT_SECONDS, server_settings={"application_name": "alga migrate"}
        )
        try:
            await _prepare_connection(raw)
            yield raw
        finally:
            await raw.close()


@contextmanager
def translated() -> Iterator[None]:
    """The seam: whatever Postgres, the driver or the network raises becomes a FleetError."""
    try:
        yield
    except _FOREIGN as error:
        raise database_errors.meaning(_failure(error)) from error


def _failure(error: BaseException) -> Failure:
    """What the driver raised, as plain values. It names a lost connection and a bad argument only by kind."""
    is_server_error = isinstance(error, asyncpg.PostgresError)
    is_closed = isinstance(error, asyncpg.InterfaceError) and any(word in str(error) for word in _LOST)
    return Failure(
        text=f"{type(error).__name__}: {str(error).partition(chr(10))[0]}",
        sqlstate=getattr(error, "sqlstate", None) if is_server_error else None,
        constraint=getattr(error, "constraint_name", None),
        server_detail=getattr(error, "detail", None) or "",
        is_connection_lost=is_closed or isinstance(error, (OSError, TimeoutError)),
        is_bad_value=isinstance(error.__cause__, (UnicodeEncodeError, OverflowError)),
    )


@asynccontextmanager
async def _pool(dsn: str, *, size: int) -> AsyncIterator[Any]:
    with translated():
        pool = await asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=size,
            timeout=CONNECT_TIMEOUT_SECONDS,
            command_timeout=COMMAND_TIMEOUT_SECONDS,
            statement_cache_size=_CACHED_STATEMENTS,
            max_cached_statement_lifetime=0,
            init=_prepare_connection,
            reset=_keep_session,
            server_settings=_SESSION,
        )
    try:
        yield pool
    finally:
        pool.terminate() if _has_borrowed(pool) else await pool.close()


def _has_borrowed(pool: Any) -> bool:
    """Whether a connection is still out: its user was cancelled or will fail, waiting for it could take for ever."""
    return bool(pool.get_size() - pool.get_idle_size())


async def _prepare_connection(raw: Any) -> None:
    await raw.set_type_codec(
        "jsonb",
        schema="pg_catalog",
        format="binary",
        encoder=_encode_jsonb,
        decoder=lambda data: orjson.loads(data[1:]),
    )
    await raw.set_type_codec("uuid", schema="pg_catalog", format="text", encoder=str, decoder=str)


def _encode_jsonb(value: object) -> bytes:
    return b"\x01" + orjson.dumps(value)


async def _keep_session(_raw: Any) -> None:
    """Nothing to reset: our settings are local to transactions, which saves a round trip for each of them."""


@asynccontextmanager
async def _transaction(pool: Any, begin: str) -> AsyncIterator[Connection]:
    with translated():
        raw = await _acquire(pool)
    try:
        with translated():
            await raw.execute(begin)
        try:
            yield Connection(raw)
        except BaseException:
            await _roll_back(raw)
            raise
        await _commit(raw)
    finally:
        with translated():
            await pool.release(raw)


async def _acquire(pool: Any) -> Any:
    try:
        return await pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS)
    except TimeoutError as error:
        raise Unavailable(
            "the database has no free connection",
            detail=f"waited {ACQUIRE_TIMEOUT_SECONDS} s, pool of {pool.get_max_size()}",
            retry_after_seconds=RETRY_AFTER_SECONDS,
        ) from error


async def _commit(raw: Any) -> None:
    with translated():
        tag = await raw.execute("COMMIT")
    if tag != "COMMIT":
        # Postgres answers the COMMIT of a transaction with a failed statement by rolling it back.
        raise Internal("the change was not stored", detail=f"COMMIT answered {tag}: an error was swallowed")


async def _roll_back(raw: Any) -> None:
    """The error that brought us here is the one to raise; a connection that cannot roll back is closed."""
    try:
        await raw.execute("ROLLBACK")
    except _FOREIGN:
        with suppress(asyncpg.InterfaceError):  # The pool has taken a dead connection back by itself.
            raw.terminate()


async def _check_before_serving(pool: Any) -> None:
    async with _transaction(pool, "BEGIN") as connection:
        await database_check.check_row_security(connection.fetch)
