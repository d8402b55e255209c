"""`alga dev --watch`: the next call runs what was saved last; a save that does not build changes nothing."""

from __future__ import annotations

import json

import pytest

from tests.acceptance.conftest import Watched

pytestmark = pytest.mark.xdist_group("alga-dev")

NAME = "com.acme.watched"


def test_a_save_runs_on_the_next_call_and_a_broken_one_does_not(watched: Watched) -> None:
    """The author's loop: an empty directory, a first version, a syntax error, a bad manifest, a second version."""
    dev, talk, project = watched.dev, watched.dev.talk, watched.project
    dev.alga("new", NAME, "--template", "javascript", "--dir", project)
    heard = talk.wait_for(f"{NAME} 0.1.0 runs now")
    assert _hello(watched) == "Hello, world"

    handler, manifest = project / "src" / "handler.js", project / "manifest.json"
    good, declared = handler.read_text(), manifest.read_text()
    handler.write_text(good + "\nexport const = (")
    heard = talk.wait_for("the version before goes on running", after=heard)
    assert _hello(watched) == "Hello, world"
    manifest.write_text(declared.replace("cap:storage.kv", "cap:coffee"))
    heard = talk.wait_for("manifest_invalid", after=heard)
    heard = talk.wait_for("the version before goes on running", after=heard)

    manifest.write_text(declared)
    handler.write_text(good.replace("Hello, ", "Good morning, "))
    talk.wait_for(f"{NAME} 0.1.1 runs now", after=heard)
    assert _hello(watched) == "Good morning, world"


def _hello(watched: Watched) -> str:
    return str(json.loads(watched.dev.alga("call", NAME, "/hello"))["message"])
