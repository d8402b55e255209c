"""A pytest plugin: the `case` marker, and how often a case is tried.

`make cases` sets `--case-counts full`; `make test` runs a tenth of each count, at least 20, and prints it.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

LEAST = 20
_counts: dict[str, int] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--case-counts", choices=["tenth", "full"], default="tenth", help="how often each case is tried")


@pytest.fixture
def count(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """`count(100)`: how often to try where the list says 100."""

    def scaled(full: int) -> int:
        tries = full if request.config.getoption("--case-counts") == "full" else max(min(LEAST, full), full // 10)
        marker = request.node.get_closest_marker("case")
        name = str(marker.args[0]) if marker else request.node.name
        request.node.user_properties.append(("tries", f"{name}: {tries} of {full}"))
        return tries

    return scaled


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = sorted(
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        for name, value in getattr(report, "user_properties", ())
        if name == "tries" and getattr(report, "when", "") == "call"
    )
    if lines:
        terminalreporter.write_line(f"tries of cases: {'; '.join(lines)}")
