"""`alga key create`: an API key of a tenant, a publisher or a service. Printed once, stored as a hash."""

from __future__ import annotations

from typing import Any

import click

from cli import client, connection
from cli.client import Client
from cli.connection import Connection
from cli.output import emit, json_option


@click.group()
def key() -> None:
    """API keys (needs an operator key)."""


@key.command("create")
@click.option("--for-tenant", "tenant_id", help="The tenant the key acts for.")
@click.option("--publisher", "publisher_id", help="Publisher id: the key may publish for it.")
@click.option("--permission", "permissions", multiple=True, help="For example extension:read; may be repeated.")
@click.option("--service", "name", help="Name of a platform or operator service instead of a tenant.")
@json_option
@connection.options
def create(
    tenant_id: str | None,
    publisher_id: str | None,
    permissions: tuple[str, ...],
    name: str | None,
    as_json: bool,
    connection: Connection,
) -> None:
    """Create a key and print it, this once."""
    body: dict[str, Any] = {"permissions": list(permissions)}
    body |= {
        field: value
        for field, value in (("tenant", tenant_id), ("publisher_id", publisher_id), ("name", name))
        if value is not None
    }
    emit(client.run(_create(connection, body))["data"], as_json=as_json)


async def _create(connection: Connection, body: dict[str, Any]) -> Any:
    async with Client.open(connection, key="operator_key") as session:
        return await session.post("/api/v1/keys", body)
