"""Two tenants with the same extension never see each other; what an admin takes away is gone at the next call.

Each tenant has a canary of its own in all that it keeps: storage, secrets, configuration, bodies, log lines, error
texts, memory. The worker has fewer executors than there are installs, so that they change hands all the time.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest_asyncio

from deploy.embedded.processes import Options
from schemas.ids import new_id
from tests import execution_log
from tests.fleet import UNMETERED, Answer, Installed, Published, TestFleet, TestTenant, open_fleet
from tests.guests import build

CALLS = 20_000
CALLERS_PER_TENANT = 4
CAPABILITIES = ["cap:storage.kv", "cap:secrets.get"]
SECRET = "api_key"


@dataclass(frozen=True)
class Side:
    """One tenant: its canary, and its installs of the guests that both tenants have."""

    tenant: TestTenant
    canary: str
    ask: Installed
    echo: Installed
    remember: Installed

    @property
    def marks(self) -> list[str]:
        """What no answer to the other side may hold."""
        return [self.canary, *(install.id for install in (self.ask, self.echo, self.remember))]


@pytest_asyncio.fixture(scope="module")
async def crowded() -> AsyncIterator[TestFleet]:
    """Two slots and two executors."""
    with tempfile.TemporaryDirectory(prefix="alga-isolation-") as directory:
        extra = {"gateway": UNMETERED, "worker": {"ALGA_WORKER_EXECUTORS": "2"}}
        async with open_fleet(Path(directory), Options(slots=2, extra=extra)) as running:
            yield running


@pytest_asyncio.fixture
async def sides(crowded: TestFleet) -> tuple[Side, Side]:
    extensions = [
        await crowded.publish_once("ask", build.component("ask-qjs"), capabilities=CAPABILITIES),
        await crowded.publish_once("echo", build.component("echo")),
        await crowded.publish_once("remember", build.component("remember"), limits={"reuse": 50}),
    ]
    first, second = [await _side(crowded, extensions) for _ in range(2)]
    return first, second


async def test_two_tenants_with_the_same_extension_never_see_each_other(
    crowded: TestFleet, sides: tuple[Side, Side], count: Callable[[int], int]
) -> None:
    """Random calls of both at once, honest and prying ones: not one byte of the other side comes back."""
    seed = secrets.randbits(64)
    rng = random.Random(seed)
    calls = count(CALLS)
    try:
        async with asyncio.TaskGroup() as callers:
            for me, other in (sides, reversed(sides)):
                plan = iter(rng.choices(TRIES, k=calls // 2))
                for _ in range(CALLERS_PER_TENANT):
                    callers.create_task(_try_all(crowded, me, other, plan))
    except ExceptionGroup as problem:
        problem.add_note(f"seed {seed}")
        raise
    for me, other in (sides, reversed(sides)):
        await _check_log(crowded, me, other)


async def test_memory_that_is_kept_for_an_install_is_nobody_elses(crowded: TestFleet, sides: tuple[Side, Side]) -> None:
    """Where `reuse` is granted a call sees what the call before left, of the same install and of no other."""
    remembered = 0
    for number in range(60):
        me = sides[number % 2] if number % 5 else sides[0]
        answer = await crowded.call(me.remember, method="POST", body=f"{me.canary} {number}".encode())
        assert answer.status == 200
        assert answer.body == b"" or answer.body.startswith(me.canary.encode())
        remembered += answer.body != b""
    assert remembered > 0, "no call found the memory of the one before: nothing was tried"


async def test_memory_is_fresh_in_every_call_where_reuse_is_not_granted(crowded: TestFleet) -> None:
    """By default a call finds nothing, not even of its own install."""
    extension = await crowded.publish(build.component("remember"))
    install = await crowded.install(await crowded.tenant(), extension)
    for number in range(20):
        answer = await crowded.call(install, method="POST", body=b"%d" % number)
        assert (answer.status, answer.body) == (200, b"")


async def test_a_revoked_grant_is_denied_on_the_next_invocation(crowded: TestFleet, sides: tuple[Side, Side]) -> None:
    """Revoking counts from the next invocation, for this tenant alone; granting again too."""
    me, other = sides
    path = f"/api/v1/extensions/installs/{me.ask.id}/grants"
    for _ in range(3):
        assert await _stored(crowded, me) == me.canary
        await crowded.admin(me.tenant.key, "PUT", path, {"grants": ["cap:secrets.get"]})
        denied = await crowded.call(me.ask, "/ask/storage-v2")
        assert denied.json()["error"]["code"] == "denied"
        assert await _stored(crowded, other) == other.canary
        await crowded.admin(me.tenant.key, "PUT", path, {"grants": "manifest"})


async def test_a_disabled_install_does_not_exist_and_comes_back(crowded: TestFleet, sides: tuple[Side, Side]) -> None:
    """404 extension_not_installed from the next call on, for this tenant alone."""
    me, other = sides
    path = f"/api/v1/extensions/installs/{me.echo.id}"
    for _ in range(3):
        assert (await crowded.call(me.echo)).status == 200
        await crowded.admin(me.tenant.key, "POST", f"{path}/disable")
        gone = await crowded.call(me.echo)
        assert (gone.status, gone.code) == (404, "extension_not_installed")
        assert (await crowded.call(other.echo)).status == 200
        await crowded.admin(me.tenant.key, "POST", f"{path}/enable")


async def test_one_idempotency_key_is_one_run_for_each_tenant(crowded: TestFleet, sides: tuple[Side, Side]) -> None:
    """Twins at once make one run and one answer; the same key of another tenant is another key."""
    key = new_id()
    item = {"key": key, "value": "x", "encoding": "text", "createOnly": False}
    body = json.dumps([{"ask": ["storage-v2", "put", ["keyed", item]]}]).encode()
    for side in sides:
        twins = await asyncio.gather(*(_keyed(crowded, side, key, body) for _ in range(5)))
        assert {(answer.status, answer.body) for answer in twins} == {(200, twins[0].body)}
        assert twins[0].json()["results"][0]["ok"]["revision"] == 1
        assert (await _keyed(crowded, side, key, body)).headers["x-ext-idempotent-replay"] == "true"


@dataclass(frozen=True)
class Try:
    """One thing to try. `shows`: the caller's own canary must be in the answer. `status`: of the answer."""

    call: Callable[[TestFleet, Side, Side], Awaitable[Answer]]
    status: int = 200
    shows: bool = False


def _asks(path: str, *, shows: bool = True) -> Try:
    return Try(lambda fleet, me, _: fleet.call(me.ask, f"/ask/{path}"), shows=shows)


def _scripted(steps: Callable[[Side, Side], list[Any]], *, status: int = 200, shows: bool = False) -> Try:
    async def call(fleet: TestFleet, me: Side, other: Side) -> Answer:
        return await fleet.call(me.ask, "/script", method="POST", body=json.dumps(steps(me, other)).encode())

    return Try(call, status=status, shows=shows)


def _echoes(fleet: TestFleet, me: Side, _: Side) -> Awaitable[Answer]:
    return fleet.call(me.echo, method="POST", body=me.canary.encode() * 20)


def _remembers(fleet: TestFleet, me: Side, _: Side) -> Awaitable[Answer]:
    return fleet.call(me.remember, method="POST", body=me.canary.encode())


def _foreign(path: str) -> Try:
    """With the caller's own key, something that is the other side's."""
    return Try(
        lambda fleet, me, other: fleet.request("GET", path.format(other.ask.id), key=me.tenant.key),
        status=404,
    )


def _claims_the_other_tenant(fleet: TestFleet, me: Side, other: Side) -> Awaitable[Answer]:
    return fleet.call(me.echo, headers={"x-alga-tenant": other.tenant.id})


TRIES = (
    _asks("storage-v2"),
    _asks("storage"),
    _asks("secrets"),
    _asks("context-v2"),
    _asks("secrets/list-keys", shows=False),
    _scripted(
        lambda _me, _other: [{"ask": ["storage-v2", "list-entries", ["asked", {"includeValues": True}]]}], shows=True
    ),
    _scripted(lambda _me, other: [{"ask": ["storage-v2", "get", ["asked", other.tenant.id]]}]),
    _scripted(lambda _me, other: [{"ask": ["secrets", "get", [f"{other.tenant.id}/{SECRET}"]]}]),
    _scripted(lambda me, _other: [{"log": me.canary}, {"print": me.canary}, {"throw": me.canary}], status=502),
    _scripted(lambda _me, _other: [{"trap": True}], status=502),
    Try(_echoes, shows=True),
    Try(_remembers),
    _foreign("/api/ext/{}/ask/storage-v2/get"),
    _foreign("/api/v1/extensions/installs/{}"),
    _foreign("/api/v1/extensions/installs/{}/secrets"),
    _foreign("/api/ext-storage/install/{}/asked/records/key"),
    Try(_claims_the_other_tenant, status=403),
)


async def _try_all(fleet: TestFleet, me: Side, other: Side, plan: Iterator[Try]) -> None:
    for attempt in plan:
        await _check(attempt, fleet, me, other)


async def _check(attempt: Try, fleet: TestFleet, me: Side, other: Side) -> None:
    answer = await attempt.call(fleet, me, other)
    assert answer.status == attempt.status, answer.body
    said = answer.body.decode("utf-8", "replace") + json.dumps(dict(answer.headers))
    _check_nothing_of(other, said)
    assert not attempt.shows or me.canary in said, said


async def _check_log(fleet: TestFleet, me: Side, other: Side) -> None:
    """The execution log is the own one and keeps no content at all."""
    for install in (me.ask, me.echo, me.remember):
        said = repr(await execution_log.runs_of(fleet, install, count=1))
        _check_nothing_of(other, said)
        assert me.canary not in said
    answer = await fleet.request("GET", "/api/v1/invocations", key=me.tenant.key, params={"extension": other.ask.id})
    assert answer.status == 404, answer.body
    everything = await fleet.request("GET", "/api/v1/invocations", key=me.tenant.key, params={"limit": "100"})
    _check_nothing_of(other, everything.body.decode())


def _check_nothing_of(other: Side, said: str) -> None:
    leaked = [mark for mark in other.marks if mark in said]
    assert not leaked, f"{leaked} in {said}"


async def _side(fleet: TestFleet, extensions: list[Published]) -> Side:
    tenant, canary = await fleet.tenant(), f"canary-{secrets.token_hex(16)}"
    config = {"config": {"colour": canary}}
    installs = [
        await fleet.install(tenant, extension, **(config if number == 0 else {}))
        for number, extension in enumerate(extensions)
    ]
    ask, echo, remember = installs
    path = f"/api/v1/extensions/installs/{ask.id}/secrets"
    await fleet.admin(tenant.key, "PUT", path, {"set": {SECRET: canary}})
    item = {"key": "key", "value": canary, "encoding": "text", "createOnly": True}
    script = [{"ask": ["storage-v2", "put", ["asked", item]]}]
    stored = await fleet.call(ask, "/script", method="POST", body=json.dumps(script).encode())
    assert "ok" in stored.json()["results"][0], stored.body
    return Side(tenant, canary, ask, echo, remember)


async def _stored(fleet: TestFleet, side: Side) -> str:
    answer = await fleet.call(side.ask, "/ask/storage-v2")
    return str(answer.json()["ok"]["value"])


async def _keyed(fleet: TestFleet, side: Side, key: str, body: bytes) -> Answer:
    return await fleet.call(side.ask, "/script", method="POST", body=body, headers={"x-idempotency-key": key})
