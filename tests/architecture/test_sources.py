"""What import-linter cannot see: where subjects, the environment and web servers may be named."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("schemas", "service", "registry", "gateway", "worker", "events", "cli", "deploy")


def _sources(*packages: str) -> Iterator[tuple[str, str]]:
    for package in packages:
        for path in sorted((ROOT / package).rglob("*.py")):
            if "templates" not in path.parts:
                yield str(path.relative_to(ROOT)), path.read_text()


def _offenders(pattern: str, allowed: tuple[str, ...], *packages: str) -> list[str]:
    found = re.compile(pattern)
    return [name for name, text in _sources(*packages) if found.search(text) and not name.startswith(allowed)]


def test_subjects_are_spelled_only_in_schemas_subjects() -> None:
    """A subject written twice is a subject misquoted once."""
    pattern = (
        r"""["']f?ext\.(exec|worker|cancel|host|intake|publish|precompile|event|due|schedule|record|log|control)"""
    )
    assert _offenders(pattern, ("schemas/subjects.py", "deploy/nats/accounts.py"), *PACKAGES) == []


def test_only_service_environ_reads_the_environment() -> None:
    """Settings have one door; executors and guests get theirs in frames. The zygote only empties its own."""
    pattern = r"os\.(environ|getenv|putenv)"
    assert (
        _offenders(
            pattern, ("service/environ.py", "worker/executor/zygote.py", "worker/executor/confine.py"), *PACKAGES
        )
        == []
    )


def test_web_servers_live_in_the_gateway_and_the_probes() -> None:
    """Everything else talks over NATS."""
    assert _offenders(r"aiohttp import web|aiohttp\.web", ("gateway/", "service/probes.py"), *PACKAGES) == []


def test_nothing_is_mocked() -> None:
    """Tests run against real engines, or not at all."""
    assert (
        _offenders(r"unittest\.mock|MagicMock|AsyncMock|pytest_mock", ("tests/architecture/",), *PACKAGES, "tests")
        == []
    )


def test_no_source_file_outgrows_its_noun() -> None:
    """Past 400 lines a second noun wants to leave."""
    long = {name: len(text.splitlines()) for name, text in _sources(*PACKAGES) if len(text.splitlines()) > 400}
    assert long == {}


def test_broad_excepts_stand_where_a_failure_must_not_spread() -> None:
    """Elsewhere a bug has to surface, not to be swallowed."""
    allowed = ("gateway/middleware.py", "service/messaging.py", "service/lifecycle.py")
    assert _offenders(r"except Exception", allowed, *PACKAGES) == []


def test_what_catches_everything_puts_right_and_raises_again() -> None:
    """Only the guard between wasm and Python ends an exception of any kind."""
    swallowing = [
        name for name, text in _sources(*PACKAGES) if any(_swallows(node) for node in ast.walk(ast.parse(text)))
    ]
    assert swallowing == ["worker/executor/link.py"]


def _swallows(node: ast.AST) -> bool:
    if not isinstance(node, ast.ExceptHandler) or not isinstance(node.type, ast.Name):
        return False
    last = node.body[-1]
    return node.type.id == "BaseException" and not (isinstance(last, ast.Raise) and last.exc is None)
