"""The corridor on a real NATS and Postgres: what leaves for a worker, what is on record, what a change does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.embedded.nats import NatsServer
from registry import install_changes
from registry.admission import Admission, Call
from registry.database import Database
from registry.grants import Request
from registry.install_changes import Announcer
from registry.install_rows import InstallView, Platform
from registry.installs import InstallRequest, Installs
from registry.quotas import RateLimiter
from schemas import capability, codec, subjects
from schemas.call import CallContext, User
from schemas.errors import ErrorCode, Exhausted, NotFound, TooLarge, Unauthenticated, Unavailable
from schemas.guest_http import GuestRequest, GuestResponse
from schemas.ids import TenantId
from schemas.invocation import ExecuteRequest, Finished, Limits, Origin, Outcome, OutcomeKind, Trigger
from schemas.record import LogStatus, Record, RecordBatch
from service import streams, tickets
from service.clock import SystemClock
from service.dispatch import WORKER_TTL_SECONDS, WORKERS_BUCKET, Dispatcher
from service.lifecycle import TaskOwner
from service.messaging import Message, Messaging
from service.records import RecordWriter
from service.tickets import Minter, Verifier
from tests import catalogue
from tests.fixtures_postgres import TestDatabase

pytest_plugins = ["tests.fixtures_nats"]
USER = User(user_id="u1", user_email="u@example.com")


@dataclass
class Front:
    """One front with an install, and both ends of what it sends."""

    admission: Admission
    installs: Installs
    verifier: Verifier
    worker: Messaging
    tenant: TenantId
    view: InstallView
    requests: list[ExecuteRequest]
    records: asyncio.Queue[Record]
    registry: Messaging
    operator: Messaging

    @property
    def ctx(self) -> CallContext:
        return catalogue.context(self.tenant)

    async def invoke(self, call: Call | None = None, *, ctx: CallContext | None = None) -> Outcome:
        ctx = ctx or self.ctx
        return await self.admission.invoke(ctx, await self.admission.resolve(ctx, self.view.id), call or get())

    async def answering(self, answer: Outcome) -> None:
        """Be the worker of every shard: take requests, answer each with this."""

        async def take(message: Message) -> None:
            self.requests.append(codec.decode(ExecuteRequest, message.data))
            await message.reply(codec.encode(Finished(worker="worker01", outcome=answer)))

        await self.worker.serve("ext.exec.*", take, queue=subjects.WORKERS_QUEUE)

    async def recorded(self, count: int) -> list[Record]:
        return [await asyncio.wait_for(self.records.get(), 10) for _ in range(count)]


def get(**rest: object) -> Call:
    origin = Origin(
        request_id="r",
        trigger=Trigger.HTTP,
        method="GET",
        path="/hello",
        endpoint_template="/hello",
        principal_kind="msp",
    )
    return Call(origin=origin, request=GuestRequest(method="GET", url="/hello"), repeatable=True, **rest)  # type: ignore[arg-type]


OK = Outcome(kind=OutcomeKind.COMPLETED, response=GuestResponse(status=200, body=b"hi"))


@pytest.fixture
async def front(fresh_database: TestDatabase, database: Database, nats_server: NatsServer) -> AsyncIterator[Front]:
    clock, key = SystemClock(), Ed25519PrivateKey.generate()
    async with (
        Messaging.connect(nats_server.url_for("registry"), name="registry", role="registry") as registry,
        Messaging.connect(nats_server.url_for("gateway"), name="front", role="gateway") as messaging,
        Messaging.connect(nats_server.url_for("worker"), name="worker", role="worker") as worker,
        Messaging.connect(nats_server.url_for("ops"), name="ops", role="ops") as ops,
        TaskOwner() as tasks,
    ):
        await streams.declare(registry)
        await ops.jetstream().purge_stream(streams.RECORDS)
        announcer = await Announcer.open(messaging, tasks, clock)
        installs = Installs(database, announcer, clock, Platform())
        workers = await messaging.bucket(WORKERS_BUCKET, ttl_seconds=WORKER_TTL_SECONDS)
        admission = Admission(
            installs.resolve,
            rates=RateLimiter(clock),
            minter=Minter(key, clock),
            dispatcher=Dispatcher(messaging, await workers.watch(tasks, clock), clock),
            records=RecordWriter(messaging, tasks, clock),
            clock=clock,
            sender="front-1",
        )
        records: asyncio.Queue[Record] = asyncio.Queue()
        stopping = asyncio.Event()

        async def keep(batch: list[bytes]) -> None:
            for data in batch:
                received: RecordBatch = codec.decode(RecordBatch, data)
                for record in received.records:
                    records.put_nowait(record)

        tenant = await catalogue.tenant(fresh_database)
        published = await catalogue.publish(fresh_database, capabilities=[capability.HTTP_FETCH], egress=["a.example"])
        request = InstallRequest(
            registry=published.registry, version="1.0.0", consent=Request(grants="manifest"), config={"a": "own"}
        )
        view = await installs.install(catalogue.context(tenant), request)
        verifier = Verifier({tickets.key_id(key.public_key()): key.public_key()}, clock)
        async with install_changes.listen(messaging, admission.changed, clear=admission.clear):
            tasks.start(
                streams.consume(
                    registry, streams.Pull(streams.RECORDS, f"test-{tenant}", batch=50), keep, stopping=stopping
                ),
                name="records",
            )
            yield Front(admission, installs, verifier, worker, tenant, view, [], records, registry, ops)
            stopping.set()


async def test_what_leaves_for_a_worker_is_all_that_it_needs(front: Front) -> None:
    """A ticket of exactly this install, what is left of the deadline, the configuration; no user that nobody gave."""
    await front.answering(OK)

    outcome = await front.invoke(get(config={"a": "theirs", "b": "call"}))

    assert outcome == OK
    (request,) = front.requests
    ticket = front.verifier.verify(request.ticket)
    assert (ticket.tenant, ticket.install, ticket.version) == (front.tenant, front.view.id, "1.0.0")
    assert ticket.grants == capability.DEFAULTS | {capability.HTTP_FETCH}
    assert ticket.egress == ("a.example",)
    assert 4_000 < request.left_ms <= 5_000
    assert 60 <= ticket.expires - ticket.issued <= 121
    assert request.config == {"a": "own", "b": "call"}
    assert request.user is None
    assert request.sender == "front-1"
    (started,) = await front.recorded(1)
    assert (started.status, started.invocation, started.ticket) == (
        LogStatus.STARTED,
        request.invocation,
        request.ticket,
    )


async def test_tickets_are_kept_and_user_statements_are_of_one_call(front: Front) -> None:
    """The same ticket for the next call; a user statement does not verify for another invocation."""
    await front.answering(OK)
    await front.invoke(get(user=USER))
    await front.invoke(get(user=USER))

    first, second = front.requests
    assert first.ticket == second.ticket
    ticket = front.verifier.verify(first.ticket)
    assert first.user is not None
    assert front.verifier.verify_user(first.user, ticket, first.invocation) == USER
    with pytest.raises(Unauthenticated):
        front.verifier.verify_user(first.user, ticket, second.invocation)


async def test_no_user_is_stated_where_nothing_granted_looks_at_one(front: Front) -> None:
    """A call narrowed to capabilities without a user carries none."""
    await front.answering(OK)

    await front.invoke(get(user=USER, providers=frozenset({capability.HTTP_FETCH})))

    assert front.requests[0].user is None


async def test_a_call_lowers_limits_and_its_caller_the_deadline(front: Front) -> None:
    """The least of install, call and caller counts."""
    await front.answering(OK)
    await front.invoke(get(limits=Limits(timeout_ms=1_000)))
    await front.invoke(ctx=catalogue.context(front.tenant, seconds=0.5))
    await front.invoke(get(limits=Limits(timeout_ms=50_000)))

    lowered, hurried, raised = (request.left_ms for request in front.requests)
    assert 500 < lowered <= 1_000
    assert 200 < hurried <= 500
    assert raised <= 5_000


async def test_without_a_worker_the_call_costs_nothing_and_is_closed(front: Front) -> None:
    """503 no_worker at once; a started and a finished record, not billed."""
    began = asyncio.get_running_loop().time()
    outcome = await front.invoke()
    took = asyncio.get_running_loop().time() - began

    assert (outcome.kind, outcome.code, outcome.executed) == (
        OutcomeKind.PLATFORM_FAILED,
        ErrorCode.NO_WORKER,
        False,
    )
    assert took < 1
    started, finished = await front.recorded(2)
    assert (started.status, finished.status, finished.billed) == (LogStatus.STARTED, LogStatus.ERROR, False)
    assert finished.error is ErrorCode.NO_WORKER


async def test_nothing_is_dispatched_when_the_stream_is_known_to_be_down(front: Front) -> None:
    """The first call may run and is answered 503; the next one is refused before it leaves."""
    await front.answering(OK)
    await front.operator.jetstream().delete_stream(streams.RECORDS)
    with pytest.raises(Unavailable):
        await front.invoke()
    dispatched = len(front.requests)

    with pytest.raises(Unavailable):
        await front.invoke()

    assert len(front.requests) == dispatched == 1
    await streams.declare(front.registry)


async def test_a_revoked_grant_is_gone_from_the_next_ticket(front: Front) -> None:
    """Revoking counts from the next invocation."""
    await front.answering(OK)
    await front.invoke()

    await front.installs.set_grants(front.ctx, front.view.id, Request(grants=frozenset()))
    await front.invoke()

    before, after = (front.verifier.verify(request.ticket) for request in front.requests)
    assert capability.HTTP_FETCH in before.grants
    assert after.grants == capability.DEFAULTS
    assert after.egress == ()


async def test_a_change_between_authorisation_and_the_call_stops_the_call(front: Front) -> None:
    """The ticket is for exactly the state that was authorised; the door resolves again."""
    await front.answering(OK)
    authorised = await front.admission.resolve(front.ctx, front.view.id)
    await front.installs.set_grants(front.ctx, front.view.id, Request(grants=frozenset()))

    with pytest.raises(Unavailable, match="changed"):
        await front.admission.invoke(front.ctx, authorised, get())
    await front.installs.disable(front.ctx, front.view.id)
    with pytest.raises(Unavailable, match="changed"):
        await front.admission.invoke(front.ctx, authorised, get())
    with pytest.raises(NotFound):
        await front.admission.resolve(front.ctx, front.view.id)
    assert front.requests == []


async def test_an_authorisation_of_another_tenant_is_worth_nothing(front: Front) -> None:
    """Even where some code mixed up two calls."""
    authorised = await front.admission.resolve(front.ctx, front.view.id)

    with pytest.raises(NotFound):
        await front.admission.invoke(catalogue.context(TenantId("somebody-else")), authorised, get())


async def test_an_unchanged_install_may_be_resolved_long_before_the_call(front: Front) -> None:
    """An entry that left the cache meanwhile is read again and found to be the same."""
    await front.answering(OK)
    authorised = await front.admission.resolve(front.ctx, front.view.id)
    front.admission.clear()

    assert await front.admission.invoke(front.ctx, authorised, get()) == OK


async def test_the_rate_is_charged_before_anything_leaves(front: Front) -> None:
    """Burst 100, then 429 with Retry-After; what was refused is on no record."""
    await front.answering(OK)

    async def flood() -> None:
        for _ in range(400):
            await front.invoke()

    with pytest.raises(Exhausted) as refusal:
        await flood()

    assert refusal.value.retry_after_seconds is not None
    assert refusal.value.retry_after_seconds >= 1
    assert len(front.requests) >= 100
    assert len(await front.recorded(len(front.requests))) == len(front.requests)
    assert front.records.empty()


async def test_a_body_over_the_limit_is_refused(front: Front) -> None:
    """Before it costs anything."""
    big = GuestRequest(method="POST", url="/hello", body=bytes(2 * 1024 * 1024 + 1))
    call = Call(origin=get().origin, request=big)

    with pytest.raises(TooLarge):
        await front.invoke(call)
