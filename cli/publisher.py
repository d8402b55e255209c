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
    pem = None if public_key is None else public_key.read_text()
    emit(client.run(perform(connection, name, pem)), as_json=as_json)


async def perform(connection: Connection, name: str, public_pem: str | None) -> Any:
    """The publisher, and the key id where a key was given."""
    async with Client.open(connection, key="operator_key") as session:
        made = (await session.post("/api/v1/publishers", {"name": name}))["data"]
        if public_pem is None:
            return made
        path = f"/api/v1/publishers/{made['id']}/keys"
        return {**made, "key": (await session.post(path, {"publicKey": public_pem}))["data"]}
