"""A project directory of an author: which kind it is, and which of its files go into a bundle."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import orjson

from schemas import manifest
from schemas.bundle import COMPONENT_PATH, MANIFEST_PATH
from schemas.errors import Invalid
from schemas.manifest import Manifest

BUILT_COMPONENTS = (COMPONENT_PATH, "dist/component.wasm")
TREES = ("artifacts", "precompiled", "wit")
UI_TREES = ("dist/ui", "ui")
"""A built UI goes before its sources."""
SINGLE = ("sbom.spdx.json",)


class Kind(StrEnum):
    PYTHON = "python"
    JAVASCRIPT = "javascript"
    UI_ONLY = "ui only"


def read_manifest(project: Path) -> tuple[Manifest, bytes]:
    """The project's manifest, valid, and its bytes. Unprocessable with every problem."""
    path = project / MANIFEST_PATH
    try:
        data = path.read_bytes()
    except OSError as error:
        raise Invalid(f"{path} cannot be read: {error.strerror}; is --project an extension?") from error
    return manifest.parse(data), data


def with_next_patch(wanted: Manifest, data: bytes) -> bytes:
    """The manifest's bytes with the version `X.Y.*`."""
    major, minor, _ = wanted.version.split(".", 2)
    return orjson.dumps({**orjson.loads(data), "version": f"{major}.{minor}.*"}, option=orjson.OPT_INDENT_2)


def kind_of(project: Path) -> Kind:
    """By what is there: `package.json` is JavaScript, `app.py` is Python, `ui/` alone is a UI."""
    if (project / "package.json").exists():
        return Kind.JAVASCRIPT
    if (project / "app.py").exists():
        return Kind.PYTHON
    if (project / "ui").is_dir():
        return Kind.UI_ONLY
    raise Invalid(f"{project} has no package.json, no app.py and no ui/: there is nothing to build")


def files_of(project: Path) -> dict[str, Path | bytes]:
    """What goes into the bundle, by its path there. The manifest is not checked here."""
    files: dict[str, Path | bytes] = {MANIFEST_PATH: project / MANIFEST_PATH}
    for name in SINGLE:
        if (project / name).is_file():
            files[name] = project / name
    for tree in TREES:
        files |= _below(project / tree, tree)
    ui = next((project / tree for tree in UI_TREES if (project / tree).is_dir()), None)
    if ui is not None:
        files |= _below(ui, "ui")
    component = next((project / name for name in BUILT_COMPONENTS if (project / name).is_file()), None)
    if component is not None:
        files[COMPONENT_PATH] = component
    return files


def _below(directory: Path, prefix: str) -> dict[str, Path | bytes]:
    return {
        f"{prefix}/{path.relative_to(directory).as_posix()}": path
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }
