"""`alga install`: a tenant's decision to run one version, with grants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from cli import client, connection
from cli.client import Client
from cli.connection import Connection
from cli.output import emit, json_option
from schemas.errors import Invalid


@click.command()
@click.argument("extension")
@click.option("--version", required=True, help="Exact version, or X.Y.* for the highest published one.")
@click.option("--grant", "grants", multiple=True, help="Capability to approve; may be repeated.")
@click.option("--grant-all", is_flag=True, help="Approve all that the manifest asks for.")
@click.option("--egress", multiple=True, help="Host that http.fetch may reach; may be repeated.")
@click.option("--config", "config_file", type=click.Path(path_type=Path, exists=True), help="JSON object, a file.")
@click.option("--secret", "secrets", multiple=True, help="NAME=VALUE; may be repeated.")
@click.option("--update", is_flag=True, help="Move an existing install to this version.")
@json_option
@connection.options
def install(
    extension: str,
    version: str,
    grants: tuple[str, ...],
    grant_all: bool,
    egress: tuple[str, ...],
    config_file: Path | None,
    secrets: tuple[str, ...],
    update: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Install EXTENSION (its registry id) for the key's tenant."""
    body: dict[str, Any] = {"registryId": extension, "version": version}
    if grant_all or grants:
        body["grants"] = "manifest" if grant_all else list(grants)
    if egress:
        body["egress"] = list(egress)
    if config_file is not None:
        body["config"] = _object(config_file)
    emit(client.run(perform(connection, body, parse_secrets(secrets), update=update)), as_json=as_json)


async def perform(connection: Connection, body: dict[str, Any], secrets: dict[str, str], *, update: bool) -> Any:
    """Install or update, then set the secrets; the answer's data."""
    async with Client.open(connection) as session:
        answer = await session.post(f"/api/v1/extensions/{'update' if update else 'install'}", body)
        data = answer["data"]
        if secrets:
            install_id = data.get("installId") or body["registryId"]
            await session.send(
                "PUT",
                f"/api/v1/extensions/installs/{install_id}/secrets",
                data=orjson.dumps({"set": secrets}),
                sent={"content-type": "application/json"},
            )
    return data


def parse_secrets(given: tuple[str, ...]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    if broken := [name for name, equals, _ in pairs if not equals or not name]:
        raise Invalid(f"--secret must be NAME=VALUE, not {broken[0][:40]!r}")
    return {name: value for name, _, value in pairs}


def _object(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except orjson.JSONDecodeError as error:
        raise Invalid(f"--config: {path} is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Invalid(f"--config: {path} must be a JSON object")
    return value
