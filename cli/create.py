"""`alga create`: a new project from a template, which builds and publishes as it is."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jinja2

from cli import connection
from cli.output import emit, json_option, say
from schemas.errors import Conflict, Invalid

TEMPLATES = Path(__file__).with_name("templates")
UPSTREAM_TEMPLATES = {"basic": "javascript", "component-basic": "javascript"}
"""Names that existing scripts use -> ours."""
PUBLISHER = "Demo"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)+", re.ASCII)


def available() -> list[str]:
    return sorted(path.name for path in TEMPLATES.iterdir() if path.is_dir())


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        json_option,
        click.option("--dir", "directory", type=click.Path(path_type=Path), help="Default: the last label of NAME."),
        click.option("--publisher", help="Publisher's display name; default: the one of `alga dev` here, else Demo."),
        click.option("--template", default="python", show_default=True, help="python or javascript."),
        click.argument("name"),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("kind", type=click.Choice(["extension", "component"]))
@_options
def create(kind: str, **given: Any) -> None:
    """Write a new extension NAME, such as com.acme.reports."""
    del kind
    _create(**given)


@click.command()
@_options
def new(**given: Any) -> None:
    """Write a new extension NAME; short for `alga create extension NAME`."""
    _create(**given)


def _create(*, name: str, template: str, publisher: str | None, directory: Path | None, as_json: bool) -> None:
    template = UPSTREAM_TEMPLATES.get(template, template)
    if not _NAME.fullmatch(name) or len(name) > 200:
        raise Invalid(f"NAME must be reverse-DNS in lower case with at least two labels, not {name[:80]!r}")
    if template not in available():
        raise Invalid(f"--template must be one of {', '.join(available())}, not {template[:40]!r}")
    target = directory or Path(name.rpartition(".")[2])
    if target.exists() and any(target.iterdir()):
        raise Conflict(f"{target} exists and is not empty")
    files = _render(TEMPLATES / template, target, {"name": name, "publisher": publisher or _publisher()})
    emit({"directory": str(target), "files": files}, as_json=as_json, text=str(target))
    say(f"next: alga build --project {target}")


def _publisher() -> str:
    dev = connection.find_dev(None)
    return PUBLISHER if dev is None else dev.publisher


def _render(template: Path, target: Path, values: dict[str, str]) -> list[str]:
    environment = jinja2.Environment(  # noqa: S701 - writes source files, not HTML
        loader=jinja2.FileSystemLoader(template), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    written = []
    for source in environment.list_templates():
        path = target / source.removesuffix(".j2")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            environment.get_template(source).render(values) if source.endswith(".j2") else _text(template, source)
        )
        written.append(source.removesuffix(".j2"))
    return written


def _text(template: Path, source: str) -> str:
    return (template / source).read_text()
