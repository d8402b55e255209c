"""How often an install may be called: token buckets in this process, bounded in number. Pure but for its memory.

A bucket belongs to one process: with N fronts an install may have N times its rate. What a tenant may use in a quota
window is not here.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable

from schemas.errors import ErrorCode, Exhausted
from service.clock import Clock

MAX_BUCKETS = 50_000
"""About 10 MB; the least recently used go first, and come back full."""


class TokenBucket:
    """Holds up to `burst` tokens and gains `per_second`; starts full. Times are monotonic seconds."""

    __slots__ = ("_burst", "_per_second", "_tokens", "_updated")

    def __init__(self, *, per_second: float, burst: float, now: float) -> None:
        if per_second <= 0 or burst < 1:
            raise ValueError(f"a bucket of {burst} tokens at {per_second}/s never serves")
        self._per_second, self._burst = per_second, burst
        self._tokens, self._updated = float(burst), now

    def take(self, now: float, *, tokens: float = 1.0) -> float:
        """0.0 when taken; else the seconds until they would be there, and nothing is taken."""
        self._refill(now)
        if self._tokens >= tokens:
            self._tokens -= tokens
            return 0.0
        return (tokens - self._tokens) / self._per_second

    def has_shape(self, *, per_second: float, burst: float) -> bool:
        return self._per_second == per_second and self._burst == burst

    def _refill(self, now: float) -> None:
        gained = max(0.0, now - self._updated) * self._per_second
        self._tokens = min(self._burst, self._tokens + gained)
        self._updated = max(self._updated, now)


class RateLimiter:
    """One bucket per key, for example (tenant, install); a key whose rate was changed starts a new, full one."""

    def __init__(self, clock: Clock, *, capacity: int = MAX_BUCKETS) -> None:
        self._clock, self._capacity = clock, capacity
        self._buckets: OrderedDict[Hashable, TokenBucket] = OrderedDict()

    def charge(self, key: Hashable, *, per_second: float, burst: float, what: str = "invocations") -> None:
        """Take one token, or raise Exhausted (rate_limited) with the whole seconds until there is one, at least 1."""
        now = self._clock.monotonic()
        wait = self._bucket(key, per_second, burst, now).take(now)
        if wait > 0:
            raise Exhausted(
                f"rate limit of {per_second:g} {what} per second (burst {burst:g}) is used up",
                code=ErrorCode.RATE_LIMITED,
                retry_after_seconds=max(1, math.ceil(wait)),
            )

    def __len__(self) -> int:
        return len(self._buckets)

    def _bucket(self, key: Hashable, per_second: float, burst: float, now: float) -> TokenBucket:
        bucket = self._buckets.get(key)
        if bucket is None or not bucket.has_shape(per_second=per_second, burst=burst):
            bucket = self._buckets[key] = TokenBucket(per_second=per_second, burst=burst, now=now)
        self._buckets.move_to_end(key)
        if len(self._buckets) > self._capacity:
            self._buckets.popitem(last=False)
        return bucket
