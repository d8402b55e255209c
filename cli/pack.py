"""`alga pack`: a project into `bundle.tar.zst`, the same bytes for the same inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli import project
from cli.output import emit, json_option, step
from registry import packing
from schemas import ids
from schemas.bundle import COMPONENT_PATH, MANIFEST_PATH
from schemas.errors import Conflict, Invalid

DEFAULT_OUT = Path("dist/bundle.tar.zst")


@click.command()
@click.option("--project", "--dir", "--cwd", "directory", type=click.Path(path_type=Path, exists=True), default=Path())
@click.option("--out", "--outfile", "out", type=click.Path(path_type=Path), help="Default dist/bundle.tar.zst.")
@click.option("--force", is_flag=True, help="Replace the bundle there is.")
@json_option
def pack(directory: Path, out: Path | None, force: bool, as_json: bool) -> None:
    """Check the manifest and pack the project."""
    emit(perform(directory, out or directory / DEFAULT_OUT, force=force), as_json=as_json)


def perform(directory: Path, out: Path, *, force: bool, next_patch: bool = False) -> dict[str, Any]:
    """Write the bundle and `bundle.sha256` beside it; what was written.

    `next_patch`: the bundle's manifest says `X.Y.*`, so that publishing takes the next patch version.
    """
    wanted, data = project.read_manifest(directory)
    files = project.files_of(directory)
    if next_patch:
        files[MANIFEST_PATH] = project.with_next_patch(wanted, data)
    if (wanted.endpoints or wanted.events) and COMPONENT_PATH not in files:
        raise Invalid(f"{directory} declares endpoints or events but has no {COMPONENT_PATH}; run `alga build` first")
    if out.exists() and not force:
        raise Conflict(f"{out} exists; --force replaces it")
    with step(f"packing {wanted.name} {wanted.version}"):
        data = packing.pack(files)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(data)
    content_hash = ids.content_hash_of(data)
    out.with_name("bundle.sha256").write_bytes(packing.sidecar(content_hash))
    return {"bundle": str(out), "content_hash": content_hash, "bytes": len(data), "files": len(files)}
