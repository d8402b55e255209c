"""`alga keygen`: an Ed25519 key pair for signing bundles."""

from __future__ import annotations

from pathlib import Path

import click

from cli.output import emit, json_option
from deploy.embedded.directory import write_private
from registry import key_pairs
from schemas.errors import Conflict


@click.command()
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False), default=Path("publisher.key"))
@json_option
def keygen(path: Path, as_json: bool) -> None:
    """Write a private key to PATH (0600) and its public key beside it as PATH.pub."""
    public = path.with_name(path.name + ".pub")
    for existing in (path, public):
        if existing.exists():
            raise Conflict(f"{existing} exists; a key is never overwritten")
    pair = key_pairs.generate()
    write_private(path, pair.private_pem)
    public.write_bytes(pair.public_pem)
    emit({"private_key": str(path), "public_key": str(public), "key_id": pair.key_id}, as_json=as_json)
