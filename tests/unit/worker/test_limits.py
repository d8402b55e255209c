"""The numbers a Store is given, and how log text is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.engine import EPOCH_TICK_SECONDS
from worker.executor import limits
from worker.executor.running import cut


@given(st.floats(min_value=0.001, max_value=900))
def test_epochs_end_after_the_deadline_and_at_most_two_ticks_later(seconds: float) -> None:
    """The first tick may come at once, so one tick more than the time needs; a second for rounding up."""
    ticks = limits.epoch_ticks(seconds)

    assert (ticks - 1) * EPOCH_TICK_SECONDS >= seconds - 1e-9
    assert ticks * EPOCH_TICK_SECONDS <= seconds + 2 * EPOCH_TICK_SECONDS + 1e-9


@pytest.mark.parametrize("seconds", [0.0, -1.0])
def test_no_time_left_is_still_a_deadline(seconds: float) -> None:
    """A deadline of zero ticks would already have passed before the guest's start."""
    assert limits.epoch_ticks(seconds) == 2


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_a_cut_keeps_whole_characters_and_one_more_than_fits(text: str, size: int) -> None:
    """The supervisor sees by the extra character that a line was cut, and no character is ever split."""
    kept = cut(text, size)

    assert text.startswith(kept)
    assert kept == text or size < len(kept.encode()) <= size + 4
