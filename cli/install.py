"""`alga install`: a tenant's decision to run one version, with grants."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import orjson

from cli import client, connection, references
from cli.client import Client
from cli.connection import Connection
from cli.output import emit, json_option, say
from schemas.errors import Invalid
from service import environ


@click.command()
@click.argument("extension")
@click.option("--version", help="Exact version, or X.Y.* for the highest published one [ALGA_EXTENSION_VERSION].")
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
    version: str | None,
    grants: tuple[str, ...],
    grant_all: bool,
    egress: tuple[str, ...],
    config_file: Path | None,
    secrets: tuple[str, ...],
    update: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Install EXTENSION (its registry id) for the key's tenant; with --update its name will do."""
    version = version or environ.get("ALGA_EXTENSION_VERSION")
    if version is None:
        raise Invalid("--version is missing: give it, or set ALGA_EXTENSION_VERSION")
    body: dict[str, Any] = {"registryId": extension, "version": version, **consent(grants, grant_all, egress)}
    if config_file is not None:
        body["config"] = _object(config_file)
    data = client.run(perform(connection, body, parse_secrets(secrets), update=update))
    warn_if_pending(data)
    emit(data, as_json=as_json)


def consent(grants: tuple[str, ...], grant_all: bool, egress: tuple[str, ...]) -> dict[str, Any]:
    """What the options say about grants, as the API wants it. Nothing said leaves it to the platform."""
    if grants and grant_all:
        raise Invalid("--grant and --grant-all exclude each other")
    said: dict[str, Any] = {}
    if grants or grant_all:
        said["grants"] = "manifest" if grant_all else list(grants)
    if egress:
        said["egress"] = list(egress)
    return said


def warn_if_pending(data: dict[str, Any]) -> None:
    if data.get("status") == "pending":
        say(f"nothing runs yet: approve with `alga grant {data['registryId']} --grant-all`, or name each --grant")


async def perform(connection: Connection, body: dict[str, Any], secrets: dict[str, str], *, update: bool) -> Any:
    """Install or update, then set the secrets; the answer's data."""
    async with Client.open(connection) as session:
        registry = await references.registry_id(session, body["registryId"])
        sent = {**body, "registryId": registry}
        answer = await session.post(f"/api/v1/extensions/{'update' if update else 'install'}", sent)
        data: dict[str, Any] = answer["data"]
        if secrets:
            await session.put(f"{references.install_path(registry)}/secrets", {"set": secrets})
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
