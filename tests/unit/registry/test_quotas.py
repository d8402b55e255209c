"""Token buckets: what they let through, when, and how many there are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.quotas import RateLimiter, TokenBucket
from schemas.errors import ErrorCode, Exhausted
from tests.clocks import ManualClock


@given(
    steps=st.lists(st.floats(min_value=0, max_value=3), max_size=200),
    per_second=st.floats(min_value=0.5, max_value=100),
    burst=st.integers(min_value=1, max_value=50),
)
def test_a_bucket_never_gives_more_than_its_burst_and_its_rate(
    steps: list[float], per_second: float, burst: int
) -> None:
    """Whatever the rhythm of the callers."""
    now, taken = 0.0, 0
    bucket = TokenBucket(per_second=per_second, burst=burst, now=now)
    for step in steps:
        now += step
        taken += bucket.take(now) == 0

    assert taken <= burst + now * per_second + 1e-6


def test_a_bucket_that_is_empty_says_when_to_come_again() -> None:
    """And coming again then works."""
    bucket = TokenBucket(per_second=2, burst=1, now=0)
    assert bucket.take(0) == 0

    wait = bucket.take(0)

    assert wait == pytest.approx(0.5)
    assert bucket.take(wait) == 0


def test_a_clock_that_goes_back_gives_nothing() -> None:
    """Time that was used up does not come again."""
    bucket = TokenBucket(per_second=1, burst=1, now=100)
    bucket.take(100)

    assert bucket.take(50) > 0
    assert bucket.take(100.5) > 0


def test_the_refusal_names_the_rate_and_asks_for_at_least_a_second() -> None:
    """429 always carries Retry-After in whole seconds."""
    limiter = RateLimiter(ManualClock())
    limiter.charge("a", per_second=50, burst=1)

    with pytest.raises(Exhausted, match="50 invocations per second") as refusal:
        limiter.charge("a", per_second=50, burst=1)

    assert refusal.value.code is ErrorCode.RATE_LIMITED
    assert refusal.value.retry_after_seconds == 1


def test_keys_do_not_share_a_bucket() -> None:
    """One tenant's flood costs another nothing."""
    limiter = RateLimiter(ManualClock())
    limiter.charge(("a", "x"), per_second=1, burst=1)

    limiter.charge(("b", "x"), per_second=1, burst=1)
    with pytest.raises(Exhausted):
        limiter.charge(("a", "x"), per_second=1, burst=1)


def test_a_new_rate_counts_at_once() -> None:
    """An operator who raises a limit need not wait for a restart."""
    limiter = RateLimiter(ManualClock())
    limiter.charge("a", per_second=1, burst=1)

    limiter.charge("a", per_second=1, burst=5)


def test_the_number_of_buckets_is_bounded() -> None:
    """A million installs do not fill the memory."""
    limiter = RateLimiter(ManualClock(), capacity=10)
    for number in range(1_000):
        limiter.charge(number, per_second=1, burst=1)

    assert len(limiter) == 10


def test_a_bucket_that_could_never_serve_is_refused() -> None:
    """A rate of nothing is a mistake, not a limit."""
    with pytest.raises(ValueError, match="never serves"):
        TokenBucket(per_second=0, burst=1, now=0)
