"""`alga verify`: whether a signature is of this bundle and by this key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import click

from cli.output import emit, json_option
from cli.sign import signature_path, statement_of
from registry import signing
from registry.signing import Bound, PublisherKey
from schemas import bundle as bundles
from schemas import ids


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option(
    "--key", type=click.Path(path_type=Path, exists=True, dir_okay=False), required=True, help="Public key, PEM."
)
@click.option("--signature", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Default BUNDLE.sig.")
@json_option
def verify(bundle: Path, key: Path, signature: Path | None, as_json: bool) -> None:
    """Check BUNDLE against its signature and the author's public key. Exit 2 when it does not hold."""
    now = datetime.now(UTC)
    found = statement_of(bundle.read_bytes(), issued=now)
    document = bundles.parse_signature((signature or signature_path(bundle)).read_bytes())
    spki = signing.spki_of(signing.load_public_key(key.read_bytes()))
    trusted = PublisherKey(key_id=bundles.key_id_of(spki), publisher=found.publisher, public_key=spki)
    bound = Bound(
        publisher=found.publisher,
        name=found.name,
        version=found.version,
        manifest_sha256=found.manifest_sha256,
        content_hash=ids.parse_content_hash(found.content_hash),
    )
    verified = signing.verify_bundle(document, bound=bound, keys=[trusted], roots=(), now=now)
    emit(
        {"valid": True, "content_hash": found.content_hash, "name": found.name, "issued": verified.statement.issued},
        as_json=as_json,
    )
