"""The cache of what references resolve to, and which finished records are a front's to write."""

from __future__ import annotations

import asyncio

import pytest

from registry.admission import finished_by_front
from registry.install_cache import LIFETIME_SECONDS, TENANT_CAPACITY, InstallCache, not_installed
from schemas.errors import ErrorCode, NotFound, Unavailable
from schemas.guest_http import GuestResponse
from schemas.ids import ContentHash, InstallId, RegistryId, TenantId, VersionId
from schemas.install import Resolved
from schemas.invocation import Limits, Origin, Outcome, OutcomeKind, Trigger
from schemas.record import LogStatus, Record
from tests.clocks import ManualClock

A, B = TenantId("a"), TenantId("b")
STARTED = Record(
    invocation="i",
    ticket=b"t",
    origin=Origin(
        request_id="r", trigger=Trigger.HTTP, method="GET", path="/", endpoint_template="/", principal_kind="msp"
    ),
    started_unix_ms=1_000,
    deadline_unix_ms=6_000,
    status=LogStatus.STARTED,
)


def resolved(tenant: TenantId, install: str = "i", *, version: str = "1.0.0") -> Resolved:
    return Resolved(
        tenant=tenant,
        install=InstallId(install),
        registry=RegistryId("r"),
        version_id=VersionId("v"),
        name="n",
        publisher="p",
        version=version,
        content_hash=ContentHash("sha256:0"),
        has_component=True,
        grants=frozenset(),
        egress=(),
        limits=Limits(),
        endpoints=(),
        client_portal=False,
        config={},
        shard=0,
    )


class Source:
    """What a cache reads from: a table in memory that counts, and can be held up."""

    def __init__(self) -> None:
        self.reads = 0
        self.version = "1.0.0"
        self.gate = asyncio.Event()
        self.gate.set()
        self.broken = False

    async def load(self, tenant: TenantId, reference: str) -> Resolved:
        self.reads += 1
        version = self.version
        await self.gate.wait()
        if self.broken:
            raise Unavailable("the database cannot be used now")
        if reference.startswith("no-"):
            raise not_installed()
        return resolved(tenant, reference, version=version)


async def test_an_entry_is_read_once_and_lives_ten_seconds() -> None:
    """From when the read began."""
    source, clock = Source(), ManualClock()
    cache = InstallCache(source.load, clock)
    for _ in range(5):
        await cache.get(A, "i")
    assert source.reads == 1

    clock.advance(LIFETIME_SECONDS)
    await cache.get(A, "i")

    assert source.reads == 2


async def test_many_who_ask_at_once_cause_one_read() -> None:
    """Also when the answer is that there is nothing."""
    source = Source()
    source.gate.clear()
    cache = InstallCache(source.load, ManualClock())
    asking = [asyncio.create_task(cache.get(A, reference)) for reference in ("i", "no-i") for _ in range(10)]
    await asyncio.sleep(0)
    source.gate.set()

    answers = await asyncio.gather(*asking, return_exceptions=True)

    assert source.reads == 2
    assert sum(isinstance(answer, Resolved) for answer in answers) == 10
    assert sum(isinstance(answer, NotFound) for answer in answers) == 10


async def test_a_leader_who_leaves_does_not_take_the_others_along() -> None:
    """The first of those who wait reads again."""
    source = Source()
    source.gate.clear()
    cache = InstallCache(source.load, ManualClock())
    leader, *others = [asyncio.create_task(cache.get(A, "i")) for _ in range(4)]
    await asyncio.sleep(0)

    leader.cancel()
    await asyncio.sleep(0)
    source.gate.set()
    answers = await asyncio.gather(*others)

    assert leader.cancelled() or leader.cancelling()
    assert all(answer == answers[0] for answer in answers)
    assert source.reads == 2


async def test_what_was_read_before_a_change_does_not_outlive_it() -> None:
    """A read that was under way when the change came is answered to its askers and not kept, nor joined."""
    source = Source()
    source.gate.clear()
    cache = InstallCache(source.load, ManualClock())
    before = asyncio.create_task(cache.get(A, "i"))
    await asyncio.sleep(0)

    source.version = "2.0.0"
    cache.drop(A)
    after = asyncio.create_task(cache.get(A, "i"))
    await asyncio.sleep(0)
    source.gate.set()

    assert (await before).version == "1.0.0"
    assert (await after).version == "2.0.0"
    assert (await cache.get(A, "i")).version == "2.0.0"
    assert source.reads == 2


async def test_a_drop_is_of_one_tenant_and_a_clear_of_all() -> None:
    """The tenant leads every key."""
    source = Source()
    cache = InstallCache(source.load, ManualClock())
    for tenant in (A, B):
        await cache.get(tenant, "i")
        with pytest.raises(NotFound):
            await cache.get(tenant, "no-i")

    cache.drop(A)
    assert len(cache) == 2
    await cache.get(B, "i")
    assert source.reads == 4

    cache.clear()
    assert len(cache) == 0
    await cache.get(B, "i")
    assert source.reads == 5


async def test_an_error_is_nobodys_answer_for_long() -> None:
    """A database that is down is asked again by the next call."""
    source = Source()
    source.broken = True
    cache = InstallCache(source.load, ManualClock())
    with pytest.raises(Unavailable):
        await cache.get(A, "i")
    source.broken = False

    assert (await cache.get(A, "i")).install == "i"


async def test_a_state_is_held_only_while_it_is_the_latest() -> None:
    """Under whichever name it was found; not after a drop, nor once it is old."""
    source, clock = Source(), ManualClock()
    cache = InstallCache(source.load, clock)
    state = await cache.get(A, "i")
    assert cache.holds(state)
    assert not cache.holds(resolved(A, "i", version="0.9.0"))
    assert not cache.holds(resolved(B, "i"))

    clock.advance(LIFETIME_SECONDS)
    assert not cache.holds(state)
    assert cache.holds(await cache.get(A, "i"))
    cache.drop(A)
    assert not cache.holds(state)


async def test_guessing_names_fills_no_memory() -> None:
    """Neither by one tenant nor by many."""
    source = Source()
    cache = InstallCache(source.load, ManualClock(), capacity=500)
    for number in range(3 * TENANT_CAPACITY):
        with pytest.raises(NotFound):
            await cache.get(A, f"no-{number}")
    assert len(cache) <= TENANT_CAPACITY
    for number in range(2_000):
        await cache.get(TenantId(f"t{number}"), "i")

    assert len(cache) <= 500


@pytest.mark.parametrize(
    ("outcome", "status", "billed"),
    [
        (Outcome(kind=OutcomeKind.PLATFORM_FAILED, code=ErrorCode.NO_WORKER, executed=True), LogStatus.LOST, True),
        (Outcome(kind=OutcomeKind.PLATFORM_FAILED, code=ErrorCode.NO_WORKER, executed=False), LogStatus.ERROR, False),
        (Outcome(kind=OutcomeKind.PLATFORM_FAILED, code=ErrorCode.OVERLOADED, executed=False), LogStatus.ERROR, False),
        (
            Outcome(kind=OutcomeKind.PLATFORM_FAILED, code=ErrorCode.DEADLINE_EXCEEDED, executed=False),
            LogStatus.TIMEOUT,
            False,
        ),
        (
            Outcome(kind=OutcomeKind.PLATFORM_FAILED, code=ErrorCode.CONCURRENCY_EXCEEDED, executed=False),
            LogStatus.POLICY_DENIED,
            False,
        ),
    ],
)
def test_a_front_closes_the_record_of_a_call_no_worker_answers_for(
    outcome: Outcome, status: LogStatus, billed: bool
) -> None:
    """Never begun costs nothing; lost costs one invocation without CPU."""
    finished = finished_by_front(STARTED, outcome, now_ms=2_000)

    assert finished is not None
    assert (finished.status, finished.billed, finished.error) == (status, billed, outcome.code)
    assert (finished.started_unix_ms, finished.finished_unix_ms) == (1_000, 2_000)
    assert finished.usage.cpu_ms == 0


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(kind=OutcomeKind.COMPLETED, response=GuestResponse(status=200)),
        Outcome(kind=OutcomeKind.GUEST_FAILED, code=ErrorCode.GUEST_TRAP),
        Outcome(kind=OutcomeKind.LIMIT_EXCEEDED, code=ErrorCode.DEADLINE_EXCEEDED),
        Outcome(kind=OutcomeKind.PLATFORM_FAILED, code=ErrorCode.INTERNAL, executed=True),
    ],
)
def test_what_a_worker_ran_is_the_workers_to_record(outcome: Outcome) -> None:
    """It measured it."""
    assert finished_by_front(STARTED, outcome, now_ms=2_000) is None
