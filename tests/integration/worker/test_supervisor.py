"""A worker beside real NATS and a real store: calls in, outcomes out, in every way a call can end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import orjson
import pytest

from schemas import capability, codec, subjects
from schemas.call import User
from schemas.errors import ErrorCode
from schemas.host import HostAnswer, HostFailure, HostRequest
from schemas.invocation import Accepted, Alive, Cancel, Finished, Limits, OutcomeKind, Refused, Reply
from schemas.record import LogStatus
from service.messaging import Message
from tests import worker_stack
from tests.egress_spy import spy
from tests.worker_stack import Bench

DEFAULTS = capability.DEFAULTS


@pytest.fixture(scope="module")
async def bench() -> AsyncIterator[Bench]:
    async with worker_stack.start_in_temporary_directory() as started:
        yield started


async def test_a_call_is_answered_with_what_it_used(bench: Bench) -> None:
    """The straight line: request in, response and measured usage out."""
    async with bench.worker():
        install = await bench.install("echo")
        outcome = await bench.call(install, "/hello?x=1", body=b"hi")

    assert outcome.kind is OutcomeKind.COMPLETED
    assert outcome.response is not None
    assert outcome.response.body == b"hi"
    assert ("x-echo-url", "/hello?x=1") in outcome.response.headers
    assert outcome.usage.cpu_ms > 0
    assert outcome.usage.fuel > 0


async def test_a_body_of_two_mebibytes_goes_in_and_out(bench: Bench) -> None:
    """The largest body there is passes the socketpair in pieces, both ways."""
    body = bytes(range(256)) * 8192
    async with bench.worker():
        outcome = await bench.call(await bench.install("echo"), body=body)

    assert outcome.response is not None
    assert outcome.response.body == body


async def test_a_call_that_takes_long_shows_signs_of_life(bench: Bench) -> None:
    """Accepted after 250 ms, Alive every second, then the outcome, all on one inbox (F54)."""
    async with bench.worker():
        install = await bench.install("loop", limits=Limits(timeout_ms=1_600))
        request = bench.request(install)
        heard: list[Reply] = []
        subject = subjects.execute(install.shard)
        async with bench.messaging.conversation(subject, codec.encode(request)) as conversation:
            while not heard or not isinstance(heard[-1], Finished):
                heard.append(codec.decode(Reply, await conversation.next(3.0)))

    assert [type(reply) for reply in heard] == [Accepted, Alive, Finished]
    assert isinstance(heard[0], Accepted)
    assert heard[0].started


async def test_a_tenant_gets_its_own_executor_again_and_never_another_ones(bench: Bench) -> None:
    """An executor serves one tenant until it is recycled (D6)."""
    async with bench.worker() as (worker, _):
        first, second = await bench.install("echo"), await bench.install("echo")
        for _ in range(3):
            await bench.call(first)
            await bench.call(second)
        parked = list(worker.slots._parked.items())

    assert sorted(tenant for _, tenant in parked) == sorted([first.tenant, second.tenant])
    assert all(executor.tenant == tenant and executor.calls == 3 for executor, tenant in parked)


async def test_the_longest_parked_executor_makes_room(bench: Bench) -> None:
    """No more tenant-bound executors than the setting, however many tenants call."""
    async with bench.worker(executors=4, slots=2) as (worker, _):
        for _ in range(7):
            assert (await bench.call(await bench.install("echo"))).response is not None
            assert worker.slots.counts["parked"] <= 4


async def test_an_install_over_its_concurrency_is_told_so_and_another_tenant_is_served(bench: Bench) -> None:
    """N4: the looping install's own cap holds, and slots stay for the others."""
    async with bench.worker(slots=4):
        looping = await bench.install("loop", limits=Limits(timeout_ms=1_500, concurrency=1))
        other = await bench.install("echo")
        await bench.call(other)
        loops = [asyncio.create_task(bench.call(looping)) for _ in range(40)]
        await asyncio.sleep(0.3)
        started = time.monotonic()
        outcome = await bench.call(other)
        waited = time.monotonic() - started
        ends = [await loop for loop in loops]

    assert outcome.response is not None
    assert waited < 0.1
    codes = {end.code for end in ends}
    assert ErrorCode.CONCURRENCY_EXCEEDED in codes
    assert codes <= {ErrorCode.CONCURRENCY_EXCEEDED, ErrorCode.DEADLINE_EXCEEDED}
    assert not any(end.executed for end in ends if end.code is ErrorCode.CONCURRENCY_EXCEEDED)


async def test_a_cancelled_call_is_stopped_and_its_slot_is_back(bench: Bench) -> None:
    """A caller who leaves ends the guest's loop, not only the wait for it."""
    async with bench.worker(slots=1, executors=2) as (worker, _):
        looping = await bench.install("loop", limits=Limits(timeout_ms=20_000))
        request = bench.request(looping)
        call = asyncio.create_task(bench.send(looping, request))
        while worker.turns.running == 0:
            await asyncio.sleep(0.01)
        await bench.messaging.publish(
            subjects.cancel(looping.shard), codec.encode(Cancel(invocation=request.invocation))
        )
        ended = await asyncio.wait_for(call, 2)
        outcome = await bench.call(await bench.install("echo"))

    assert ended.kind is OutcomeKind.PLATFORM_FAILED
    assert outcome.response is not None


async def test_a_ticket_that_does_not_verify_is_refused(bench: Bench) -> None:
    """Nothing of a request counts unless its ticket does."""
    async with bench.worker():
        install = await bench.install("echo")
        request = bench.request(install)
        forged = bytearray(request.ticket)
        forged[-2] ^= 1
        outcome = await bench.send(install, worker_stack.msgspec.structs.replace(request, ticket=bytes(forged)))

    assert (outcome.code, outcome.executed) == (ErrorCode.UNAUTHENTICATED, False)


async def test_a_newer_envelope_is_refused_by_its_version(bench: Bench) -> None:
    """Q12: never misread."""
    async with bench.worker():
        install = await bench.install("echo")
        data = bytearray(codec.encode(bench.request(install)))
        data[1] += 1
        async with bench.messaging.conversation(subjects.execute(install.shard), bytes(data)) as conversation:
            reply: Reply = codec.decode(Reply, await conversation.next(2.0))

    assert isinstance(reply, Refused)
    assert "version 2" in reply.message


async def test_a_finished_record_is_in_the_stream_after_drain(bench: Bench) -> None:
    """Usage of what ran is written down before the worker leaves."""
    async with bench.worker() as (worker, _):
        install = await bench.install("echo")
        request = bench.request(install)
        await bench.send(install, request)
        await worker.drain(timeout_seconds=5)
        records = [record for record in await bench.records() if record.invocation == request.invocation]

    assert [(record.status, record.billed) for record in records] == [(LogStatus.OK, True)]
    assert records[0].usage.fuel > 0
    assert records[0].ticket == request.ticket


async def test_a_draining_worker_finishes_what_runs_and_refuses_the_rest(bench: Bench) -> None:
    """What runs is answered; what comes meanwhile goes elsewhere at once."""
    async with bench.worker() as (worker, _):
        running = await bench.install("loop", limits=Limits(timeout_ms=800))
        call = asyncio.create_task(bench.call(running))
        while worker.turns.running == 0:
            await asyncio.sleep(0.01)
        draining = asyncio.create_task(worker.drain(timeout_seconds=5))
        await asyncio.sleep(0.1)
        started = time.monotonic()
        refused = await bench.call(await bench.install("echo"))
        waited = time.monotonic() - started
        ended = await call
        await draining

    assert ended.code is ErrorCode.DEADLINE_EXCEEDED
    assert refused.code in (ErrorCode.DRAINING, ErrorCode.NO_WORKER)
    assert waited < 0.5


async def test_an_ungranted_call_is_the_interfaces_denied_value(bench: Bench) -> None:
    """S12: typed, inside the guest, and no host service is asked."""
    asked: list[bytes] = []
    async with bench.host_service("storage", _remember(asked)), bench.worker():
        install = await bench.install("ask-qjs", grants=DEFAULTS)
        outcome = await bench.call(install, "/ask/storage/get", body=b'["space", "key"]')
        narrowed = await bench.install("ask-qjs")
        by_providers = await bench.call(
            narrowed, "/ask/storage/get", body=b'["space", "key"]', providers=frozenset({"cap:http.fetch"})
        )

    assert _json(outcome) == {"error": "denied"}
    assert _json(by_providers) == {"error": "denied"}
    assert asked == []


async def test_a_host_service_is_asked_with_the_ticket_and_its_answer_reaches_the_guest(bench: Bench) -> None:
    """ext.host.<interface>.<function>: the ticket is the identity, values go through unchanged."""
    asked: list[bytes] = []
    entry = {"namespace": "space", "key": "key", "value": b"\x00\xff", "revision": 7}
    async with bench.host_service("storage", _remember(asked, HostAnswer(value=capability.Ok(entry)))), bench.worker():
        install = await bench.install("ask-qjs")
        outcome = await bench.call(install, "/ask/storage/get", body=b'["space", "key"]')

    request: HostRequest = codec.decode(HostRequest, asked[0])
    assert request.arguments == ["space", "key"]
    assert request.ticket == bench.request(install).ticket
    assert 0 < request.left_ms <= 5_000
    assert _json(outcome)["ok"]["revision"] == 7


async def test_a_host_service_that_refuses_or_is_not_there_gives_the_typed_failure(bench: Bench) -> None:
    """Nobody subscribes, the service fails, the capability was revoked: a value of the function's own type."""
    denial = HostFailure(code=ErrorCode.CAPABILITY_DENIED, message="revoked")
    failure = HostFailure(code=ErrorCode.DEPENDENCY_UNAVAILABLE, message="down")
    async with bench.worker():
        install = await bench.install("ask-qjs")
        nobody = await bench.call(install, "/ask/clients")
        async with bench.host_service("storage", _remember([], denial)):
            denied = await bench.call(install, "/ask/storage")
        async with bench.host_service("storage", _remember([], failure)):
            failed = await bench.call(install, "/ask/storage")

    assert [_json(outcome) for outcome in (nobody, denied, failed)] == [
        {"error": "internal"},
        {"error": "denied"},
        {"error": "internal"},
    ]


async def test_a_host_service_that_never_answers_ends_with_the_deadline(bench: Bench) -> None:
    """S23: the guest sees an error at its deadline, or is killed; the slot is back."""
    async with bench.host_service("storage", _never), bench.worker(slots=1, executors=2):
        install = await bench.install("ask-qjs", limits=Limits(timeout_ms=500))
        await bench.call(install)
        started = time.monotonic()
        outcome = await bench.call(install, "/ask/storage")
        took = time.monotonic() - started
        after = await bench.call(install)

    assert outcome.code is ErrorCode.DEADLINE_EXCEEDED
    assert 450 <= outcome.usage.duration_ms <= 750
    assert took < 1.0
    assert after.response is not None


async def test_user_and_context_reach_the_guest(bench: Bench) -> None:
    """The user is the front's signed statement, bound to this invocation; context is the ticket's."""
    person = User(user_id="u1", user_email="u@example.org", client_id="c1", additional_fields={"locale": "de"})
    async with bench.worker():
        install = await bench.install("ask-qjs")
        user = await bench.call(install, "/ask/user-v2", user=person)
        nobody = await bench.call(install, "/ask/user-v2")
        other = bench.request(install, "/ask/user-v2", user=person)
        stolen = await bench.send(
            install,
            worker_stack.msgspec.structs.replace(bench.request(install, "/ask/user-v2"), user=other.user),
        )
        context = await bench.call(install, "/ask/context-v2")

    assert _json(user)["ok"]["userEmail"] == "u@example.org"
    assert _json(user)["ok"]["clientId"] == "c1"
    assert _json(nobody) == {"error": "not-available"}
    assert stolen.code is ErrorCode.UNAUTHENTICATED
    seen = _json(context)["ok"]
    assert (seen["tenantId"], seen["extensionName"]) == (install.tenant, "com.acme.guest")
    assert seen["config"] == [["colour", "green"]]


async def test_what_a_guest_logs_and_prints_reaches_the_live_log(bench: Bench) -> None:
    """One event per line on the install's own subject, control characters escaped; `console` is such a line too."""
    lines: list[dict[str, object]] = []

    async def keep(message: Message) -> None:
        lines.append(orjson.loads(message.data))

    async with bench.worker():
        install = await bench.install("ask-qjs")
        served = await bench.messaging.serve(subjects.log(install.tenant, install.install), keep)
        script = orjson.dumps([{"log": "first\nline"}, {"print": "second"}])
        outcome = await bench.call(install, "/script", body=script)
        async with asyncio.timeout(3):
            while len(lines) < 2:
                await asyncio.sleep(0.01)
        await served.stop()

    assert outcome.response is not None
    assert {(line["stream"], line["level"], line["message"]) for line in lines} == {
        ("log", "info", "first\\nline"),
        ("log", "info", "second"),
    }
    assert all(line["tenantId"] == install.tenant for line in lines)


async def test_what_a_guest_writes_to_stdout_is_a_line_of_info(bench: Bench) -> None:
    """WASI's stdout is the live log, with full context."""
    lines: list[dict[str, object]] = []

    async def keep(message: Message) -> None:
        lines.append(orjson.loads(message.data))

    async with bench.worker():
        install = await bench.install("wasi-stdout")
        served = await bench.messaging.serve(subjects.log(install.tenant, install.install), keep)
        await bench.call(install)
        async with asyncio.timeout(3):
            while not lines:
                await asyncio.sleep(0.01)
        await served.stop()

    assert {(line["stream"], line["level"]) for line in lines} == {("stdout", "info")}
    assert all(line["installId"] == install.install for line in lines)


async def test_a_secret_the_guest_was_given_is_redacted_from_its_log(bench: Bench) -> None:
    """K7: by value."""
    lines: list[dict[str, object]] = []

    async def keep(message: Message) -> None:
        lines.append(orjson.loads(message.data))

    answer = HostAnswer(value=capability.Ok("s3cr3t-value"))
    async with bench.host_service("secrets", _remember([], answer)), bench.worker():
        install = await bench.install("ask-qjs")
        served = await bench.messaging.serve(subjects.log(install.tenant, install.install), keep)
        script = orjson.dumps([{"ask": ["secrets", "get", ["token"]]}, {"log": "got s3cr3t-value"}])
        await bench.call(install, "/script", body=script)
        async with asyncio.timeout(3):
            while not lines:
                await asyncio.sleep(0.01)
        await served.stop()

    assert [line["message"] for line in lines] == ["got [redacted]"]


def _json(outcome: worker_stack.Outcome) -> dict[str, object]:
    assert outcome.response is not None, outcome
    body: dict[str, object] = orjson.loads(outcome.response.body or b"null")
    return body


def _remember(asked: list[bytes], reply: HostAnswer | HostFailure | None = None):  # type: ignore[no-untyped-def]
    async def answer(message: Message) -> None:
        asked.append(message.data)
        await message.reply(codec.encode(reply or HostAnswer(value=None)))

    return answer


async def _never(_: Message) -> None:
    """Takes the question and says nothing."""


async def test_http_fetch_reaches_what_the_list_and_the_operator_open(bench: Bench) -> None:
    """From a real guest to a real server, and its bytes are counted; another host is not allowed."""
    async with spy() as target, bench.worker(egress_allow_addresses=("127.0.0.1/32",)):
        url = f"http://127.0.0.1:{target.port}/path"
        install = await bench.install("ask-qjs", egress=(f"http://127.0.0.1:{target.port}",))
        ask = orjson.dumps([{"method": "GET", "url": url, "headers": []}])
        reached = await bench.call(install, "/ask/http/fetch", body=ask)
        other = orjson.dumps([{"method": "GET", "url": "https://example.com/", "headers": []}])
        refused = await bench.call(install, "/ask/http/fetch", body=other)

    assert _json(reached)["ok"]["status"] == 200  # type: ignore[index]
    assert reached.usage.egress_bytes > 2
    assert _json(refused) == {"error": "not-allowed"}
    assert target.requests == ["GET /path"]
