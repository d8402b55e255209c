"""`GET /api/v1/invocations`: the execution log of the caller's tenant, newest first."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway import keys, pages
from gateway.operations import Access, Call, Operation


async def list_invocations(call: Call) -> object:
    page = await call.request.app[keys.INVOCATIONS].list_invocations(
        call.context,
        extension=call.request.query.get("extension"),
        cursor=pages.cursor_of(call.request),
        limit=pages.limit_of(call.request),
    )
    items: list[Any] = [msgspec.to_builtins(item) for item in page.items]
    return {"items": items, "cursor": page.cursor}


OPERATIONS = (
    Operation(
        "GET",
        "/api/v1/invocations",
        Access.READ,
        list_invocations,
        "Read the execution log",
        query=("extension", "limit", "cursor"),
    ),
)
