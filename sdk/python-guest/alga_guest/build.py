"""A Python project -> one component, by componentize-py.

The project has an `app.py` with `app = App()` (other modules beside it are found), and may have a `vendor/` folder of
pure-Python packages. Everything that runs at import time runs at build time and is kept in the component's snapshot.

    python -m alga_guest.build --project <folder> --out main.wasm --wit <folder of the guest world>
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ENTRY = """\
import wit_world
from wit_world import imports
from wit_world.imports import ({interfaces})
from alga_guest.component import bind
from app import app

_handler = bind(app, imports)


class WitWorld(wit_world.WitWorld):
    def handler(self, request):
        return _handler(request)
"""
INTERFACES = (
    "types, context, secrets, http, storage, logging, ui_proxy, user, user_v2, scheduler, invoicing, clients, "
    "services, context_v2, storage_v2, metrics, events"
)


class BuildFailed(RuntimeError):
    """The project cannot be built; the message is for its author."""


def build(project: Path, out: Path, *, wit: Path) -> Path:
    """Write the project's component to `out` and return it; `wit` is the folder with world `runner`.

    Takes about 10 s and 1 GiB. Raises BuildFailed with what the tool said.
    """
    if not (project / "app.py").is_file():
        raise BuildFailed(f"{project} has no app.py with `app = App()`")
    with tempfile.TemporaryDirectory() as scratch:
        entry = Path(scratch) / "alga_entry.py"
        entry.write_text(ENTRY.format(interfaces=INTERFACES))
        made = Path(scratch) / "main.wasm"
        search = [Path(scratch), project, project / "vendor", Path(__file__).resolve().parents[1]]
        _componentize([path for path in search if path.is_dir()], made, wit)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(made.read_bytes())
    return out


def _componentize(search: list[Path], made: Path, wit: Path) -> None:
    tool = Path(sys.executable).parent / "componentize-py"
    paths = [argument for path in search for argument in ("-p", str(path))]
    command = [str(tool), "-q", "-d", str(wit), "-w", "runner", "componentize", "alga_entry", *paths, "-o", str(made)]
    # Without VIRTUAL_ENV the tool does not put the builder's own site-packages on the guest's path.
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    # No shell, and every word but the paths is ours.
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise BuildFailed(f"{done.stdout}{done.stderr}".strip())


def main() -> None:
    parser = argparse.ArgumentParser(description="Build a Python extension into a component")
    parser.add_argument("--project", type=Path, default=Path())
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wit", type=Path, required=True)
    options = parser.parse_args()
    try:
        build(options.project, options.out, wit=options.wit)
    except BuildFailed as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)


if __name__ == "__main__":
    main()
