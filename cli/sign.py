"""`alga sign`: the author's statement over one bundle, signed, in `<bundle>.sig`."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cli.output import emit, json_option
from registry import archive, signing
from schemas import manifest
from schemas.bundle import ISSUED_FORMAT, STATEMENT_TYPE, Statement
from schemas.errors import Invalid


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--key", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True, help="Private key, PEM."
)
@click.option(
    "--chain", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Certificates, leaf first (x509)."
)
@click.option("--algorithm", type=click.Choice(signing.ALGORITHMS), default=signing.ED25519, show_default=True)
@json_option
def sign(bundle: Path, key: Path, chain: Path | None, algorithm: str, as_json: bool) -> None:
    """Sign BUNDLE; writes BUNDLE.sig."""
    if (algorithm == signing.X509) != (chain is not None):
        raise Invalid("--chain goes with --algorithm x509, and x509 needs it")
    emit(perform(bundle, key, chain=chain), as_json=as_json)


def perform(bundle: Path, key: Path, *, chain: Path | None = None) -> dict[str, Any]:
    """Write the signature document beside the bundle."""
    statement = statement_of(bundle.read_bytes(), issued=datetime.now(UTC))
    signature = signing.sign_bundle(
        statement,
        signing.load_private_key(key.read_bytes()),
        chain=None if chain is None else chain.read_text(),
    )
    path = signature_path(bundle)
    path.write_bytes(signing.encode_signature(signature))
    return {"signature": str(path), "key_id": signature.key_id, "content_hash": statement.content_hash}


def statement_of(data: bytes, *, issued: datetime) -> Statement:
    """What there is to sign about a bundle's bytes."""
    read = archive.read(io.BytesIO(data))
    wanted = manifest.parse(read.manifest)
    return Statement(
        content_hash=read.content_hash,
        issued=issued.strftime(ISSUED_FORMAT),
        manifest_sha256=wanted.sha256,
        name=wanted.name,
        publisher=wanted.publisher,
        type=STATEMENT_TYPE,
        version=wanted.version,
    )


def signature_path(bundle: Path) -> Path:
    return bundle.with_name(bundle.name + ".sig")
