"""`alga uninstall`: end a tenant's install."""

from __future__ import annotations

from typing import Any

import click

from cli import client, connection, references
from cli.client import Client
from cli.connection import Connection
from cli.output import emit, json_option


@click.command()
@click.argument("extension")
@json_option
@connection.options
def uninstall(extension: str, as_json: bool, connection: Connection) -> None:
    """Uninstall EXTENSION (registry id or name) for the key's tenant; its secrets and schedules go with it."""
    emit(client.run(_uninstall(connection, extension))["data"], as_json=as_json)


async def _uninstall(connection: Connection, extension: str) -> Any:
    async with Client.open(connection) as session:
        registry = await references.registry_id(session, extension)
        return await session.post("/api/v1/extensions/uninstall", {"registryId": registry})
