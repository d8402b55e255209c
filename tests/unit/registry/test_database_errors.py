"""The table from SQLSTATEs to FleetErrors."""

from __future__ import annotations

import pytest

from registry import database_errors
from registry.database_errors import Failure
from schemas.errors import Conflict, ErrorCode, FleetError, Internal, Invalid, NotFound, Unavailable


@pytest.mark.parametrize(
    ("sqlstate", "expected"),
    [
        ("08006", Unavailable),
        ("28P01", Unavailable),
        ("40001", Unavailable),
        ("40P01", Unavailable),
        ("53300", Unavailable),
        ("55P03", Unavailable),
        ("57014", Unavailable),
        ("57P01", Unavailable),
        ("57P03", Unavailable),
        ("58030", Unavailable),
        ("25006", Unavailable),
        ("25P03", Unavailable),
        ("22001", Invalid),
        ("22021", Invalid),
        ("22P02", Invalid),
        ("22P05", Invalid),
        ("23514", Invalid),
        ("23502", Internal),
        ("42501", Internal),
        ("42601", Internal),
        ("42P01", Internal),
        ("XX000", Internal),
        ("", Internal),
        (None, Internal),
    ],
)
def test_a_sqlstate_has_one_meaning(sqlstate: str | None, expected: type[FleetError]) -> None:
    """What can be done about it decides: later, otherwise, or not by the caller."""
    error = database_errors.meaning(Failure(text="words of the server", sqlstate=sqlstate))

    assert type(error) is expected
    assert "words of the server" not in error.message
    assert "words of the server" in (error.detail or "")
    assert (error.retry_after_seconds is not None) == (expected is Unavailable)


def test_a_unique_violation_is_a_conflict_by_its_constraint() -> None:
    """The same SQLSTATE means different things to a caller."""
    failure = Failure(text="", sqlstate="23505", constraint="extension_version_registry_id_version_key")
    assert database_errors.meaning(failure).code is ErrorCode.VERSION_EXISTS

    unnamed = database_errors.meaning(Failure(text="", sqlstate="23505", constraint="of_another_table"))
    assert isinstance(unnamed, Conflict)
    assert "of_another_table" not in unnamed.message


def test_a_foreign_key_says_whether_the_parent_or_the_child_is_in_the_way() -> None:
    """Pointing at nothing is NotFound, deleting what is pointed at is Conflict."""
    absent = Failure(text="", sqlstate="23503", server_detail='Key (id)=(1) is not present in table "t".')
    in_use = Failure(text="", sqlstate="23503", server_detail='Key (id)=(1) is still referenced from table "t".')

    assert isinstance(database_errors.meaning(absent), NotFound)
    assert isinstance(database_errors.meaning(in_use), Conflict)


def test_a_lost_connection_is_unavailable_without_a_sqlstate() -> None:
    """The server had no word in it."""
    assert isinstance(database_errors.meaning(Failure(text="reset", is_connection_lost=True)), Unavailable)
