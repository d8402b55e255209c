"""What an author is told of a component's imports."""

from __future__ import annotations

from registry import candidates


def test_imports_nobody_asked_for_are_one_warning() -> None:
    """They grant nothing; toolchains import whole worlds, so it is a sentence and no refusal."""
    imports = ("alga:extension/storage", "alga:extension/types", "alga:extension/http", "wasi:io/poll@0.2.12")

    (warning,) = candidates.warnings_of(imports, frozenset({"cap:storage.kv"}))

    assert "imports http without" in warning


def test_what_everybody_may_do_is_no_warning() -> None:
    """Logging, context and user are on by default; types and WASI are no capabilities."""
    imports = ("alga:extension/logging", "alga:extension/context", "alga:extension/user", "alga:extension/types")

    assert candidates.warnings_of(imports, frozenset()) == ()
