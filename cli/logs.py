"""`alga logs`: what ran, newest first, out of the execution log."""

from __future__ import annotations

from typing import Any

import click

from cli import client, connection
from cli.client import Client
from cli.connection import Connection
from cli.output import emit, json_option

MAX_ROWS = 100
"""What the gateway gives on one page."""


@click.command()
@click.argument("extension", required=False)
@click.option("--limit", type=click.IntRange(1, MAX_ROWS), default=20, show_default=True)
@json_option
@connection.options
def logs(extension: str | None, limit: int, as_json: bool, connection: Connection) -> None:
    """Invocations of the key's tenant, of EXTENSION (any id, or its name) where given."""
    answer = client.run(_list(connection, extension, limit))
    emit(answer, as_json=as_json, text="\n".join(_line(row) for row in answer["items"]) or "no invocations yet")


async def _list(connection: Connection, extension: str | None, limit: int) -> Any:
    params = {"limit": str(limit), **({"extension": extension} if extension else {})}
    async with Client.open(connection) as session:
        return await session.get("/api/v1/invocations", params=params)


def _line(row: dict[str, Any]) -> str:
    metrics = row.get("metrics") or {}
    took = metrics.get("duration_ms")
    return " ".join(
        str(part)
        for part in (
            row["started_at"],
            row["status"],
            metrics.get("http_status") or row.get("error") or "-",
            metrics.get("method", "-"),
            metrics.get("path", "-"),
            "-" if took is None else f"{took:.1f} ms",
            row["request_id"],
        )
    )
