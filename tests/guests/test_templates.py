"""What `alga create` writes is a project that builds and runs as it is."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli import build as cli_build
from cli import create
from schemas import manifest
from tests.guests.bare_host import BareHost, GuestCall


@pytest.mark.parametrize("template", ["python", "javascript"])
def test_a_created_project_builds_and_greets(tmp_path: Path, template: str) -> None:
    """The first five minutes of an author: create, build, call."""
    project = tmp_path / "project"
    options = ["extension", "com.acme.first", "--template", template, "--publisher", "Acme", "--dir", str(project)]
    made = CliRunner().invoke(create.create, options)
    assert made.exit_code == 0, made.output
    assert manifest.parse((project / "manifest.json").read_bytes()).name == "com.acme.first"

    built = cli_build.perform(project)

    answer = BareHost().call(Path(built["component"]), GuestCall("/hello?name=Ada"))
    assert json.loads(answer.body or b"") == {"message": "Hello, Ada"}
