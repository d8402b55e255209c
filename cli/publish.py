"""`alga publish`: pack and sign where needed, upload, finalize, and install for the key's tenant unless told not to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli import client, connection, install, pack, sign
from cli.client import Client
from cli.connection import Connection
from cli.output import emit, json_option, say, step
from schemas import ids
from schemas.errors import Conflict, Invalid


@click.command()
@click.argument("source", type=click.Path(path_type=Path, exists=True), default=Path())
@click.option(
    "--key", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Signing key; default: alga dev's."
)
@click.option("--no-install", is_flag=True, help="Publish only.")
@click.option("--grant", "grants", multiple=True, help="Capability to approve; may be repeated.")
@click.option("--grant-all", is_flag=True, help="Approve all that the manifest asks for.")
@click.option("--egress", multiple=True, help="Host that http.fetch may reach; may be repeated.")
@click.option("--secret", "secrets", multiple=True, help="NAME=VALUE; may be repeated.")
@click.option("--force", is_flag=True, help="Update an install that exists.")
@json_option
@connection.options
def publish(
    source: Path,
    key: Path | None,
    no_install: bool,
    grants: tuple[str, ...],
    grant_all: bool,
    egress: tuple[str, ...],
    secrets: tuple[str, ...],
    force: bool,
    as_json: bool,
    connection: Connection,
) -> None:
    """Publish SOURCE, a built project or a bundle.tar.zst, and install the resolved version."""
    consent, known_secrets = install.consent(grants, grant_all, egress), install.parse_secrets(secrets)
    bundle = prepare(source, key, connection)
    published = client.run(upload(connection, bundle))
    for warning in published.get("warnings", ()):
        say(f"warning: {warning}")
    if not no_install:
        body = {"registryId": published["extension"]["id"], "version": published["version"]["version"], **consent}
        published["install"] = client.run(install_or_update(connection, body, known_secrets, update=force))
        install.warn_if_pending(published["install"])
    emit(published, as_json=as_json, text=_summary(published))


def _summary(published: dict[str, Any]) -> str:
    lines = [
        f"published {published['extension']['name']} {published['version']['version']}",
        f"registry id   {published['extension']['id']}",
        f"content hash  sha256:{published['contentHash']}",
    ]
    if "install" in published:
        lines.append(f"install       {published['install']['message']}")
    return "\n".join(lines)


def prepare(source: Path, key: Path | None, connection: Connection) -> Path:
    """A signed bundle: a project is packed, and signed with the key given or that of `alga dev`."""
    if source.is_file():
        if key is not None:
            sign.perform(source, key)
        return source
    bundle = source / pack.DEFAULT_OUT
    pack.perform(source, bundle, force=True)
    signing_key = key or (Path(connection.dev.signing_key) if connection.dev else None)
    if signing_key is None:
        raise Invalid("no signing key: give --key, or publish a bundle with its .sig beside it")
    sign.perform(bundle, signing_key)
    return bundle


async def upload(connection: Connection, bundle: Path) -> Any:
    """Stage and finalize; the answer of finalize."""
    data, signature = bundle.read_bytes(), sign.signature_path(bundle)
    if not signature.exists():
        raise Invalid(f"{signature} is missing: sign the bundle with `alga sign` first")
    declared = ids.hex_of(ids.content_hash_of(data))
    params = {"filename": bundle.name, "size": str(len(data)), "declaredHash": declared}
    async with Client.open(connection, key="publisher_key") as session:
        with step(f"uploading {len(data)} bytes"):
            staged = await session.send("POST", "/api/ext-bundles/upload-proxy", data=data, params=params)
        body = {
            "key": staged["upload"]["key"],
            "size": len(data),
            "declaredHash": declared,
            "signature": {"text": signature.read_text(), "algorithm": "ed25519"},
        }
        with step("checking, compiling and publishing (a large component takes up to a minute)"):
            return await session.post("/api/ext-bundles/finalize", body)


async def install_or_update(
    connection: Connection, body: dict[str, Any], secrets: dict[str, str], *, update: bool
) -> Any:
    """Install; where it is installed already and `update` is given, move it to this version."""
    try:
        return await install.perform(connection, body, secrets, update=False)
    except Conflict:
        if not update:
            raise
        return await install.perform(connection, body, secrets, update=True)
