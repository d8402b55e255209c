"""What `alga new` writes is an extension that builds, publishes, installs and answers as it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.dev_process import Dev
from tests.smoke import wait_for_log

pytestmark = pytest.mark.xdist_group("alga-dev")


@pytest.mark.parametrize("template", ["javascript", "python"])
def test_a_new_project_is_built_published_installed_called_and_logged(dev: Dev, tmp_path: Path, template: str) -> None:
    """The author's whole way, by the commands a person types, with nothing edited in between."""
    name, project = f"com.template.{template}", tmp_path / template
    dev.alga("new", name, "--template", template, "--dir", project)
    built = dev.json("build", "--project", project)
    assert built["kind"] == template
    published = dev.json("publish", project, "--grant-all")
    assert published["install"]["status"] == "enabled"

    assert json.loads(dev.alga("call", name, "/hello?name=Ada")) == {"message": "Hello, Ada"}
    note = json.loads(dev.alga("call", name, "/notes", "--body", '{"text": "remember"}'))
    assert json.loads(dev.alga("call", name, "/notes")) == [{"id": note["id"], "text": "remember"}]
    assert wait_for_log(dev, name)["status"] == "ok"


def test_a_name_of_the_older_command_line_still_makes_a_project(dev: Dev, tmp_path: Path) -> None:
    """Scripts that say `--template basic` get a JavaScript project of the publisher that `alga dev` made."""
    dev.alga("create", "extension", "com.template.basic", "--template", "basic", directory=tmp_path)
    manifest = json.loads((tmp_path / "basic" / "manifest.json").read_text())
    assert (manifest["runtime"], manifest["publisher"]) == ("wasm-js@1", "Alga Examples")
