"""Idempotency keys on a real Postgres: one execution, its answer replayed, and who must wait or is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from registry.database import Database
from registry.idempotency import MAX_BODY_BYTES, Answer, Idempotency, Scope
from schemas.errors import Conflict, ErrorCode, Invalid, Unavailable
from schemas.guest_http import GuestResponse
from schemas.ids import InstallId, TenantId
from schemas.invocation import Outcome, OutcomeKind
from service.clock import SystemClock
from tests import catalogue
from tests.fixtures_postgres import TestDatabase


@dataclass
class Door:
    """Calls with a key, and how often something was executed."""

    idempotency: Idempotency
    database: TestDatabase
    tenant: TenantId
    install: InstallId
    executed: list[bytes | None] = field(default_factory=list)

    async def call(
        self,
        key: str = "k",
        body: bytes | None = b"b",
        *,
        outcome: Outcome | None = None,
        before: Callable[[], Awaitable[object]] | None = None,
        seconds: float = 10,
        path: str = "/notes/1",
        tenant: TenantId | None = None,
    ) -> Answer:
        async def execute() -> Outcome:
            self.executed.append(body)
            if before is not None:
                await before()
            return outcome or answered(201, b"made")

        scope = Scope(install=self.install, method="POST", path=path, key=key)
        ctx = catalogue.context(tenant or self.tenant, seconds=seconds)
        return await self.idempotency.once(ctx, scope, body, execute)


def answered(status: int, body: bytes | None) -> Outcome:
    response = GuestResponse(status=status, headers=(("x-ext-a", "1"), ("x-ext-a", "2")), body=body)
    return Outcome(kind=OutcomeKind.COMPLETED, response=response)


@pytest.fixture
async def door(database: Database, fresh_database: TestDatabase) -> Door:
    tenant = await catalogue.tenant(fresh_database)
    install = await catalogue.install_row(fresh_database, tenant, await catalogue.publish(fresh_database))
    return Door(Idempotency(database, SystemClock()), fresh_database, tenant, install)


async def test_the_second_call_gets_the_first_answer(door: Door) -> None:
    """Status, repeated headers and body; nothing is executed."""
    first = await door.call()
    second = await door.call()

    assert (first.is_replay, second.is_replay) == (False, True)
    assert second.outcome.response == first.outcome.response
    assert not second.outcome.executed
    assert len(door.executed) == 1


async def test_another_body_is_a_conflict_and_no_body_is_another_body(door: Door) -> None:
    """The key is bound to what was sent."""
    await door.call(body=b"")

    for body in (b"other", None):
        with pytest.raises(Conflict) as refusal:
            await door.call(body=body)
        assert refusal.value.code is ErrorCode.CONFLICT
    assert len(door.executed) == 1


async def test_a_key_counts_within_tenant_and_path(door: Door) -> None:
    """The same key elsewhere is another key."""
    await door.call()

    assert not (await door.call(path="/notes/2")).is_replay
    assert not (await door.call(tenant=await catalogue.tenant(door.database))).is_replay
    assert len(door.executed) == 3


async def test_twins_execute_once_and_both_get_the_answer(door: Door) -> None:
    """The one that comes second waits for the first."""
    answers = await asyncio.gather(*(door.call(before=lambda: asyncio.sleep(0.2)) for _ in range(6)))

    assert len(door.executed) == 1
    assert sorted(answer.is_replay for answer in answers) == [False] + 5 * [True]
    assert len({answer.outcome.response for answer in answers}) == 1


async def test_a_twin_whose_deadline_comes_first_is_told_so(door: Door) -> None:
    """409 at its deadline, not before and not much later."""
    release = asyncio.Event()
    first = asyncio.create_task(door.call(before=release.wait))
    while not door.executed:
        await asyncio.sleep(0.01)
    began = asyncio.get_running_loop().time()

    with pytest.raises(Conflict, match="still running"):
        await door.call(seconds=0.6)

    assert asyncio.get_running_loop().time() - began < 2
    release.set()
    assert not (await first).is_replay


@pytest.mark.parametrize(
    "outcome",
    [
        answered(500, b"broken"),
        Outcome(kind=OutcomeKind.GUEST_FAILED, code=ErrorCode.GUEST_TRAP),
        Outcome(kind=OutcomeKind.PLATFORM_FAILED, code=ErrorCode.NO_WORKER, executed=False),
    ],
)
async def test_failures_are_not_kept(door: Door, outcome: Outcome) -> None:
    """The caller may try again with the same key."""
    await door.call(outcome=outcome)

    assert (await door.call()).is_replay is False
    assert len(door.executed) == 2


async def test_a_call_that_raises_or_is_cancelled_frees_its_key(door: Door) -> None:
    """Nothing came of it that may be replayed."""

    async def refuse() -> None:
        raise Unavailable("no")

    with pytest.raises(Unavailable):
        await door.call(before=refuse)
    leaving = asyncio.create_task(door.call(before=asyncio.Event().wait))
    while len(door.executed) < 2:
        await asyncio.sleep(0.01)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving

    assert (await door.call()).is_replay is False


async def test_a_key_left_by_a_dead_holder_is_free_after_its_lease(door: Door) -> None:
    """For the same body only; another body is still a conflict."""
    leaving = asyncio.create_task(door.call(before=asyncio.Event().wait))
    while not door.executed:
        await asyncio.sleep(0.01)
    async with door.database.session() as session:
        await session.execute("UPDATE extension_idempotency SET lease_until = now() - interval '1 s'")

    with pytest.raises(Conflict, match="another body"):
        await door.call(body=b"other")
    taken = await door.call(outcome=answered(200, b"second"))
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)

    assert not taken.is_replay
    replay = await door.call()
    assert replay.outcome.response is not None
    assert replay.outcome.response.body == b"second"


async def test_an_answer_too_large_to_keep_is_given_once(door: Door) -> None:
    """Then 409: it must not be executed again, and cannot be replayed."""
    await door.call(outcome=answered(200, bytes(MAX_BODY_BYTES + 1)))

    with pytest.raises(Conflict, match="not kept"):
        await door.call()
    assert len(door.executed) == 1


async def test_answers_are_forgotten_after_a_day(door: Door) -> None:
    """And their rows removed by the reaper."""
    await door.call()
    async with door.database.session() as session:
        assert await session.fetchval("SELECT expires_at - now() > interval '23 hours' FROM extension_idempotency")
        await session.execute("UPDATE extension_idempotency SET expires_at = now() - interval '1 s'")

    assert await door.idempotency.reap() == 1
    assert not (await door.call()).is_replay


@pytest.mark.parametrize("key", ["", "a b", "é", "a\n", "k" * 256])
async def test_keys_are_visible_ascii(door: Door, key: str) -> None:
    """1 to 255 characters; nothing is executed for another."""
    with pytest.raises(Invalid):
        await door.call(key)
    assert door.executed == []
