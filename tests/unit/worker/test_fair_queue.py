"""Whose turn it is: bounds, caps, and CPU time shared among tenants."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ErrorCode
from schemas.ids import InstallId, TenantId
from worker.supervisor.fair_queue import QUANTUM_MS, Entry, FairQueue


def entry(tenant: str, *, install: str = "i", concurrency: int = 8, wait_until: float = 10.0) -> Entry:
    return Entry(TenantId(tenant), InstallId(install), concurrency, wait_until)


def serve(queue: FairQueue, cost_ms: dict[str, float], *, turns: int) -> Counter[str]:
    """Run `turns` calls one after another, keeping every tenant's queue full; CPU time each tenant got."""
    used: Counter[str] = Counter()
    for name in cost_ms:
        for _ in range(4):
            assert queue.offer(entry(name), now=0.0) is None
    for _ in range(turns):
        taken = queue.take(now=0.0)
        assert taken is not None
        used[taken.tenant] += int(cost_ms[taken.tenant])
        queue.finish(taken, cpu_ms=cost_ms[taken.tenant], seconds=cost_ms[taken.tenant] / 1000)
        assert queue.offer(entry(taken.tenant), now=0.0) is None
    return used


def test_tenants_with_cheap_and_dear_calls_get_the_same_cpu_time() -> None:
    """Turns are weighted by CPU time used, so a call of 500 ms costs its tenant what 100 of 5 ms cost another."""
    used = serve(FairQueue(slots=1), {"cheap": 5.0, "dear": 500.0}, turns=3_000)

    assert 0.8 <= used["cheap"] / used["dear"] <= 1.25


def test_a_tenant_with_a_flood_does_not_delay_the_one_call_of_another() -> None:
    """What waits of one tenant never stands in front of another's first call."""
    queue = FairQueue(slots=4)
    flood = [entry("flood") for _ in range(30)]
    for call in flood:
        assert queue.offer(call, now=0.0) is None
    running = [queue.take(now=0.0) for _ in range(3)]
    assert all(running)
    victim = entry("victim")
    assert queue.offer(victim, now=0.0) is None

    assert queue.take(now=0.0) is victim


def test_debt_is_not_forgotten_by_going_idle() -> None:
    """A tenant that sends one expensive call at a time still waits for its turn beside a busy one."""
    queue = FairQueue(slots=1)
    dear = entry("dear")
    queue.offer(dear, now=0.0)
    assert queue.take(now=0.0) is dear
    queue.finish(dear, cpu_ms=50 * QUANTUM_MS, seconds=0.5)
    for _ in range(10):
        queue.offer(entry("cheap"), now=0.0)
    queue.offer(entry("dear"), now=0.0)
    order = []
    while (taken := queue.take(now=0.0)) is not None:
        order.append(taken.tenant)
        queue.finish(taken, cpu_ms=1.0, seconds=0.001)

    assert order.index(TenantId("dear")) == len(order) - 1


def test_a_tenant_in_debt_runs_at_once_when_nobody_else_wants_to() -> None:
    """Turns are fair and no slot is kept idle for it."""
    queue = FairQueue(slots=1)
    for _ in range(3):
        call = entry("only")
        queue.offer(call, now=0.0)
        assert queue.take(now=0.0) is call
        queue.finish(call, cpu_ms=10_000.0, seconds=10.0)


def test_an_install_runs_at_most_its_concurrency_and_others_use_the_rest() -> None:
    """A capped call at the head of a queue does not hold up calls of the tenant's other installs."""
    queue = FairQueue(slots=8)
    for _ in range(4):
        queue.offer(entry("a", install="capped", concurrency=2), now=0.0)
    other = entry("a", install="other")
    queue.offer(other, now=0.0)
    taken = [queue.take(now=0.0) for _ in range(3)]

    assert sorted(call.install for call in taken if call) == ["capped", "capped", "other"]
    assert queue.take(now=0.0) is None


def test_one_tenant_never_takes_the_last_slots() -> None:
    """However many installs a tenant has, some slots stay for the others."""
    queue = FairQueue(slots=8)
    for number in range(8):
        queue.offer(entry("a", install=f"i{number}"), now=0.0)
    taken = [queue.take(now=0.0) for _ in range(8)]

    assert sum(call is not None for call in taken) == 6


def test_more_of_an_install_than_can_finish_in_time_is_refused_when_it_comes() -> None:
    """429 concurrency_exceeded at once: its running calls say that the turn would come too late."""
    queue = FairQueue(slots=8)
    queue.offer(entry("a", concurrency=1, wait_until=1.0), now=0.0)
    assert queue.take(now=0.0) is not None
    early = queue.offer(entry("a", concurrency=1, wait_until=1.0), now=0.0)
    refusal = queue.offer(entry("a", concurrency=1, wait_until=3.0), now=2.0)

    assert early is None
    assert refusal is not None
    assert refusal.code is ErrorCode.CONCURRENCY_EXCEEDED
    assert "1 calls at once" in refusal.message


def test_a_full_worker_refuses_as_overloaded() -> None:
    """The number of waiting calls is bounded, over all tenants and for each."""
    queue = FairQueue(slots=2)
    codes = [queue.offer(entry(f"t{number}"), now=0.0) for number in range(40)]

    assert next(code for code in codes if code).code is ErrorCode.OVERLOADED  # type: ignore[union-attr]
    assert queue.waiting == 32


def test_what_waited_as_long_as_it_may_is_taken_out_with_its_reason() -> None:
    """No slot found in time is overloaded; kept waiting by its own install's limit is concurrency_exceeded."""
    queue = FairQueue(slots=2)
    running = [entry("a", concurrency=1), entry("b")]
    for call in running:
        queue.offer(call, now=0.0)
    assert queue.take(now=0.0) is not None
    assert queue.take(now=0.0) is not None
    queue.offer(entry("a", concurrency=1, wait_until=1.0), now=0.0)
    queue.offer(entry("c", wait_until=1.0), now=0.0)
    expired = {call.tenant: refusal.code for call, refusal in queue.expire(now=1.0)}

    assert expired == {"a": ErrorCode.CONCURRENCY_EXCEEDED, "c": ErrorCode.OVERLOADED}
    assert queue.waiting == 0


OPERATIONS = st.lists(
    st.tuples(st.sampled_from("otfw"), st.integers(0, 5), st.integers(0, 2), st.floats(0, 1e5)), max_size=200
)


@given(OPERATIONS, st.integers(1, 6))
@settings(max_examples=150, deadline=None)
def test_counts_and_caps_hold_whatever_happens(operations: list[tuple[str, int, int, float]], slots: int) -> None:
    """No order of offers, turns, ends and withdrawals runs more than there is room for or loses a call."""
    queue, waiting, running = FairQueue(slots=slots), [], []
    for what, tenant, install, cost in operations:
        if what == "o":
            call = entry(f"t{tenant}", install=f"i{install}", concurrency=install + 1, wait_until=1e9)
            if queue.offer(call, now=0.0) is None:
                waiting.append(call)
        elif what == "t" and (call := queue.take(now=0.0)) is not None:
            waiting.remove(call)
            running.append(call)
        elif what == "f" and running:
            queue.finish(running.pop(tenant % len(running)), cpu_ms=cost, seconds=cost / 1000)
        elif what == "w" and waiting:
            assert queue.withdraw(waiting.pop(tenant % len(waiting)))
        assert (queue.waiting, queue.running) == (len(waiting), len(running))
        assert len(running) <= slots
        by_install = Counter((call.tenant, call.install) for call in running)
        assert all(by_install[call.tenant, call.install] <= call.concurrency for call in running)
    while running or waiting:
        for call in running:
            queue.finish(call, cpu_ms=1.0, seconds=0.001)
        running = [call for _ in range(slots) if (call := queue.take(now=0.0)) is not None]
        waiting = [call for call in waiting if call not in running]
        assert running or not waiting, "a call that waits is never forgotten"
