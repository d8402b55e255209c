"""The documents are true: their commands run, what they say is printed is printed, their links lead somewhere.

A fence "sh" is run, all of a page in one shell, in an empty directory, beside one running `alga dev`; a fence
"sh skip: reason" is not. A fence "text output" right behind one says what it prints: each line must be in the standard
output, with `…` for what differs from run to run.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gateway.errors import STATUS
from schemas.errors import ErrorCode
from tests.dev_process import ROOT, Dev

pytestmark = pytest.mark.xdist_group("alga-dev")

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md"])
PAGE_SECONDS = 240
MOST_SKIPPED = 12
"""A skipped command is one that nobody knows to work: few, and each for a reason."""
_FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]\n]*\]\((?P<target>[^)\s]+)\)")
_MARK = "=== block "


class Block(NamedTuple):
    """A fence of commands, and what the page says they print."""

    commands: str
    output: str
    skip: str | None


def _blocks(page: Path) -> list[Block]:
    blocks: list[Block] = []
    for fence in _FENCE.finditer(page.read_text()):
        info = fence["info"].strip()
        if info.startswith("sh"):
            skip = info.removeprefix("sh").strip()
            assert not skip or skip.startswith("skip: "), f"{page}: {info!r}"
            blocks.append(Block(fence["body"], "", skip.removeprefix("skip: ") or None))
        elif info == "text output":
            assert blocks, f"{page}: output without commands"
            blocks[-1] = blocks[-1]._replace(output=fence["body"])
    return blocks


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


_RUN = {page: runs for page in PAGES if (runs := [block for block in _blocks(page) if block.skip is None])}


@pytest.mark.parametrize("page", _RUN, ids=_name)
def test_the_commands_of_a_page_run_and_print_what_it_says(dev: Dev, tmp_path: Path, page: Path) -> None:
    """Whoever types a page from its beginning to its end arrives where it says."""
    blocks = _RUN[page]
    script = "set -euo pipefail\n" + "".join(
        f"echo; echo '{_MARK}{number}'\n{block.commands}" for number, block in enumerate(blocks)
    )
    environment = {**dev.environment, "GATEWAY": dev.gateway, "API_KEY": dev.api_key, "CLONE": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PAGE_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    printed = re.split(rf"^{_MARK}[0-9]+\n", done.stdout, flags=re.MULTILINE)[1:]
    for block, text in zip(blocks, printed, strict=True):
        missing = [line for line in block.output.splitlines() if line.strip() and not _is_in(line, text)]
        assert missing == [], f"printed by\n{block.commands}\n{text}\n{done.stderr}"


def _is_in(line: str, text: str) -> bool:
    pattern = "[^\n]*".join(re.escape(part) for part in line.strip().split("…"))
    return re.search(pattern, text) is not None


def test_few_commands_are_skipped_and_each_for_a_reason() -> None:
    """The way out of this file is narrow."""
    skipped = [(page, block.skip) for page in PAGES for block in _blocks(page) if block.skip is not None]
    assert len(skipped) <= MOST_SKIPPED, skipped
    assert [page for page, reason in skipped if len(reason.split()) < 3] == []


def test_links_between_documents_lead_somewhere() -> None:
    """A page that moved takes its links with it."""
    assert [f"{_name(page)} -> {target}" for page, target in _links() if not _leads_somewhere(page, target)] == []


def _links() -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for link in _LINK.finditer(_FENCE.sub("", page.read_text())):
            if not re.match(r"[a-z]+:", link["target"]):
                yield page, link["target"]


def _leads_somewhere(page: Path, target: str) -> bool:
    path, _, anchor = target.partition("#")
    found = page if not path else page.parent / path
    return found.exists() and (not anchor or anchor in _anchors(found))


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_status_code_is_in_the_reference_as_the_gateway_answers_it() -> None:
    """The page people look codes up in knows all of them, and no other."""
    page = (ROOT / "docs" / "reference" / "status-codes.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+)` \| ([0-9]{3}) \| .+ \|$", page, re.MULTILINE)
    assert {ErrorCode(code): int(status) for code, status in rows} == STATUS


def test_the_tests_named_by_the_specification_exist() -> None:
    """A promise whose test was renamed or removed is a promise nobody holds."""
    page = (ROOT / "docs" / "specification.md").read_text()
    named = set(re.findall(r"`(tests/[A-Za-z0-9_/.]+?)(?:::[a-z0-9_]+)?`", page))
    assert named
    assert sorted(name for name in named if not (ROOT / name).exists()) == []
    functions = re.findall(r"`(tests/[A-Za-z0-9_/.]+?\.py)::([a-z0-9_]+)`", page)
    assert (
        sorted(f"{path}::{name}" for path, name in functions if f"def {name}(" not in (ROOT / path).read_text()) == []
    )
