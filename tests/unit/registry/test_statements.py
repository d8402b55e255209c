"""Statement files: named blocks with a purpose, and nothing that would be found out only in production."""

from __future__ import annotations

from pathlib import Path

import pytest

from registry import statements

GOOD = """-- A file.

-- name: find_one
-- One row.
SELECT 1

-- name: find_two
-- Two rows, of which
-- the second is last.
SELECT 2; -- the end
"""


def test_blocks_become_statements_without_their_comments() -> None:
    """The name and the text are what is left; the purpose is for people."""
    assert statements.parse(GOOD, source="x.sql") == {"find_one": "SELECT 1", "find_two": "SELECT 2; -- the end"}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("-- name: a\n-- One.\nSELECT 1\n-- name: a\n-- Again.\nSELECT 2", "a stands there twice"),
        ("-- name: a\nSELECT 1", "a does not say what it is for"),
        ("-- name: a\n-- One.\n\n-- more words\n", "a is empty"),
    ],
)
def test_a_file_that_is_not_well_formed_is_refused_by_name(text: str, fault: str) -> None:
    """A duplicate would silently win, an empty one would fail at its first use."""
    with pytest.raises(ValueError, match=f"x.sql: statement {fault}"):
        statements.parse(text, source="x.sql")


def test_an_unknown_statement_is_named_with_its_file() -> None:
    """A misspelt name says where it was looked for."""
    with pytest.raises(AttributeError, match=r"sql/tenants\.sql has no statement 'find_tenants'"):
        _ = statements.load("tenants").find_tenants


def test_every_statement_file_of_the_registry_is_well_formed() -> None:
    """Whoever adds a file gets the same rules."""
    files = sorted(Path(statements.__file__).with_name("sql").glob("*.sql"))
    assert len(files) >= 5
    for file in files:
        assert list(statements.load(file.stem)), file.name


def test_no_statement_sets_anything_for_a_whole_session() -> None:
    """Pooled connections are not reset between users: only SET LOCAL ends with the transaction."""
    for file in Path(statements.__file__).with_name("sql").glob("*.sql"):
        loaded = statements.load(file.stem)
        for name in loaded:
            words = " ".join(loaded[name].lower().split())
            assert not words.startswith(("set ", "listen ", "prepare ", "declare ")), f"{file.name}: {name}"
            for word in ("set_config(", "pg_advisory_lock("):
                assert word not in words, f"{file.name}: {name}"
