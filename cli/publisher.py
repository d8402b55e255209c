"""`alga publisher create`: who may publish under which name prefixes, with which signing key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli import client, connection
from cli.client import Client
from cli.connection import Connection
from cli.output import emit, json_option


@click.group()
def publisher() -> None:
    """Publishers and their signing keys (needs an operator key)."""


@publisher.command("create")
@click.argument("name")
@click.option(
    "--public-key", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="PEM of an Ed25519 signing key."
)
@json_option
@connection.options
def create(name: str, public_key: Path | None, as_json: bool, connection: Connection) -> None:
    """Create the publisher NAME (1 to 100 characters, as its manifests say it)."""
    body = {"name": name}
    if public_key is not None:
        body["public_key"] = public_key.read_text()
    emit(client.run(_create(connection, body)), as_json=as_json)


async def _create(connection: Connection, body: dict[str, str]) -> Any:
    async with Client.open(connection, key="operator_key") as session:
        return await session.post("/api/v1/publishers", body)
