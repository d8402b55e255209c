"""What a message lost on its way, whatever two clocks say."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from worker.supervisor.clock_offset import WINDOW_SECONDS, ClockOffsets


def test_clocks_that_differ_by_days_cost_nothing() -> None:
    """The smallest difference of a sender is its offset."""
    offsets = ClockOffsets()
    for number in range(10):
        assert offsets.excess_ms("a", sent_unix_ms=86_400_000 + number, received_ms=5 + number) == 0


def test_a_message_that_was_held_up_shows_by_how_much() -> None:
    """What exceeds the smallest difference was lost on the way."""
    offsets = ClockOffsets()
    offsets.excess_ms("a", sent_unix_ms=1_000, received_ms=10_000)

    assert offsets.excess_ms("a", sent_unix_ms=2_000, received_ms=14_000) == 3_000


def test_senders_have_offsets_of_their_own() -> None:
    """A clock five seconds off is one sender's affair."""
    offsets = ClockOffsets()
    offsets.excess_ms("a", sent_unix_ms=0, received_ms=1_000)

    assert offsets.excess_ms("b", sent_unix_ms=0, received_ms=6_000) == 0


def test_an_offset_is_forgotten_after_a_minute() -> None:
    """A sender whose clock was set back is understood again."""
    offsets = ClockOffsets()
    offsets.excess_ms("a", sent_unix_ms=5_000, received_ms=5_000)
    later = (WINDOW_SECONDS + 5) * 1000

    assert offsets.excess_ms("a", sent_unix_ms=later - 5_000, received_ms=later) == 0


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 3_000)), min_size=1, max_size=100))
def test_the_excess_is_what_exceeds_the_smallest_of_the_window(steps: list[tuple[int, int]]) -> None:
    """The sliding minimum is that of a plain list."""
    offsets, seen, now = ClockOffsets(), [], 0
    for pause, transit in steps:
        now += pause
        seen.append((now // 1000, transit))
        kept = [value for second, value in seen if second > now // 1000 - WINDOW_SECONDS]

        assert offsets.excess_ms("a", sent_unix_ms=now - transit, received_ms=now) == transit - min(kept)
