"""The execution log as tenants read it: newest first, page by page. `registry/ledger.py` writes the rows.

A page's cursor is the instant and the id of its last row, so a page neither repeats nor skips what was there before.
"""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from registry import statements
from registry.database import Database, Row
from schemas import ids
from schemas.call import CallContext
from schemas.errors import Invalid, NotFound

MAX_PAGE = 100
_SQL = statements.load("invocations")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class InvocationView(msgspec.Struct, frozen=True, kw_only=True):
    """One row. `status`: the words of `schemas.record.LogStatus`; `metrics`: how it was called and what it used."""

    invocation_id: str
    registry_id: str
    install_id: str
    version_id: str
    request_id: str
    trigger: str
    started_at: datetime
    finished_at: datetime | None
    status: str
    error: str | None
    metrics: dict[str, Any]


class InvocationPage(msgspec.Struct, frozen=True, kw_only=True):
    """`cursor` None: this was the last page."""

    items: tuple[InvocationView, ...]
    cursor: str | None


class Invocations:
    """The execution log of each tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_invocations(
        self, ctx: CallContext, *, extension: str | None = None, cursor: str = "", limit: int = MAX_PAGE
    ) -> InvocationPage:
        """A page of the caller's tenant, of one extension (either id, `publisher.name` or name) or of all.

        Raises NotFound for an extension that was never published, Invalid for a cursor that is none.
        """
        at, last = parse_cursor(cursor) if cursor else (None, None)
        size = min(max(1, limit), MAX_PAGE)
        async with self._database.transaction(ctx.tenant) as connection:
            if extension is None:
                rows = await connection.fetch(_SQL.list_invocations, ctx.tenant, at, last, size)
            else:
                registry = await connection.fetchval(_SQL.find_extension, ctx.tenant, extension.lower())
                if registry is None:
                    raise NotFound("there is no such extension")
                rows = await connection.fetch(_SQL.list_invocations_of, ctx.tenant, at, last, size, registry)
        items = tuple(_view(row) for row in rows)
        return InvocationPage(items=items, cursor=make_cursor(items[-1]) if len(items) == size else None)


def make_cursor(last: InvocationView) -> str:
    """The place after this row."""
    microseconds = (last.started_at - _EPOCH) // timedelta(microseconds=1)
    return base64.urlsafe_b64encode(f"{microseconds} {last.invocation_id}".encode()).decode().rstrip("=")


def parse_cursor(text: str) -> tuple[datetime, str]:
    """The instant and the invocation id behind a cursor. Raises Invalid."""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode("ascii")
        microseconds, invocation = decoded.split(" ")
        at = _EPOCH + timedelta(microseconds=int(microseconds))
    except (binascii.Error, ValueError, OverflowError) as error:
        raise Invalid("cursor is not one that a page gave") from error
    return at, ids.parse_uuid(invocation, field="cursor")


def _view(row: Row) -> InvocationView:
    return InvocationView(
        invocation_id=row["invocation_id"],
        registry_id=row["registry_id"],
        install_id=row["install_id"],
        version_id=row["version_id"],
        request_id=row["request_id"],
        trigger=row["trigger"],
        started_at=row["started_at"],
        finished_at=row["finished_at"],
        status=row["status"],
        error=row["error"],
        metrics=row["metrics"],
    )
