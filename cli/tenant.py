"""`alga tenant create`: a customer whose isolation the fleet guarantees."""

from __future__ import annotations

from typing import Any

import click

from cli import client, connection
from cli.client import Client
from cli.connection import Connection
from cli.output import emit, json_option


@click.group()
def tenant() -> None:
    """Tenants of the fleet (needs an operator key)."""


@tenant.command("create")
@click.argument("tenant_id")
@click.option("--name", help="Company name shown to guests; the id where absent.")
@json_option
@connection.options
def create(tenant_id: str, name: str | None, as_json: bool, connection: Connection) -> None:
    """Create the tenant TENANT_ID."""
    emit(client.run(_create(connection, tenant_id, name))["data"], as_json=as_json)


async def _create(connection: Connection, tenant_id: str, name: str | None) -> Any:
    async with Client.open(connection, key="operator_key") as session:
        return await session.post("/api/v1/tenants", {"id": tenant_id, "name": name or tenant_id})
