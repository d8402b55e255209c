"""`alga grant`: what a tenant's admin approves for an install. Counts from the next invocation."""

from __future__ import annotations

from typing import Any

import click

from cli import client, connection, references
from cli.client import Client
from cli.connection import Connection
from cli.install import consent
from cli.output import emit, json_option
from schemas.errors import Invalid


@click.command()
@click.argument("extension")
@click.option("--grant", "grants", multiple=True, help="Capability to approve; those left out are revoked.")
@click.option("--grant-all", is_flag=True, help="Approve all that the manifest asks for.")
@click.option("--none", "revoke_all", is_flag=True, help="Revoke every capability beyond the defaults.")
@click.option("--egress", multiple=True, help="Host that http.fetch may reach; replaces the list there is.")
@json_option
@connection.options
def grant(
    extension: str,
    grants: tuple[str, ...],
    grant_all: bool,
    revoke_all: bool,
    egress: tuple[str, ...],
    as_json: bool,
    connection: Connection,
) -> None:
    """Set the grants of the install EXTENSION (any id, or its name) anew."""
    body = consent(grants, grant_all, egress)
    if revoke_all and "grants" in body:
        raise Invalid("--none excludes --grant and --grant-all")
    if revoke_all:
        body["grants"] = []
    if not body:
        raise Invalid("nothing to decide: give --grant, --grant-all, --none or --egress")
    emit(client.run(_grant(connection, extension, body)), as_json=as_json)


async def _grant(connection: Connection, extension: str, body: dict[str, Any]) -> Any:
    async with Client.open(connection) as session:
        return (await session.put(f"{references.install_path(extension)}/grants", body))["data"]
