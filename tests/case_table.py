"""`make cases`: every built case at its full count, and a table of id, passed or failed, and what is not built yet."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).parent
LIST = HERE / "cases" / "cases.tsv"


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report.xml"
        options = ["-q", "-m", "case", "--case-counts", "full", f"--junitxml={report}", "-o", "junit_family=xunit1"]
        done = subprocess.run([sys.executable, "-m", "pytest", str(HERE), *options, *arguments], check=False)
        results = _results(report)
    _print(results)
    return done.returncode


def _results(report: Path) -> dict[str, str]:
    """The worst result of each id; the id stands in the test's name: `test_S1_…`."""
    rank = ["passed", "skipped", "failed"]
    results: dict[str, str] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.get("name", "").removeprefix("test_").split("_")[0].split("[")[0]
        failed = case.find("failure") is not None or case.find("error") is not None
        result = "failed" if failed else "skipped" if case.find("skipped") is not None else "passed"
        results[name] = max(results.get(name, "passed"), result, key=rank.index)
    return results


def _print(results: dict[str, str]) -> None:
    with LIST.open() as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    for row in rows:
        print(f"{row['id']:4} {row['gate'] or '-':5} {results.get(row['id'], 'not built'):10} {row['case']}")
    counted = [results.get(row["id"], "not built") for row in rows]
    print("; ".join(f"{counted.count(word)} {word}" for word in ("passed", "failed", "skipped", "not built")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
