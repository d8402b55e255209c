"""What import-linter cannot see: where subjects, the environment and web servers may be named."""

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
    """Settings have one door; executors and guests get theirs in frames."""
    pattern = r"os\.(environ|getenv|putenv)"
    assert _offenders(pattern, ("service/environ.py", "worker/executor/confine.py"), *PACKAGES) == []


def test_web_servers_live_in_the_gateway_and_the_probes() -> None:
    """Everything else talks over NATS."""
    assert _offenders(r"aiohttp import web|aiohttp\.web", ("gateway/", "service/probes.py"), *PACKAGES) == []


def test_nothing_is_mocked() -> None:
    """Tests run against real engines, or not at all."""
    assert (
        _offenders(r"unittest\.mock|MagicMock|monkeypatch\.setattr", ("tests/architecture/",), *PACKAGES, "tests") == []
    )


def test_no_source_file_outgrows_its_noun() -> None:
    """Past 400 lines a second noun wants to leave."""
    long = {name: len(text.splitlines()) for name, text in _sources(*PACKAGES) if len(text.splitlines()) > 400}
    assert long == {}


def test_broad_excepts_stand_where_a_failure_must_not_spread() -> None:
    """Elsewhere a bug has to surface, not to be swallowed."""
    allowed = ("gateway/middleware.py", "service/messaging.py", "service/lifecycle.py", "worker/executor/")
    assert _offenders(r"except (Exception|BaseException)", allowed, *PACKAGES) == []
