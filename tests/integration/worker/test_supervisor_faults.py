"""What happens to a worker's parts: executors killed, stopped, talking nonsense; a zygote that dies; damaged code."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas import bundle, codec, subjects
from schemas.errors import ErrorCode, FleetError
from schemas.ids import ContentHash, TenantId
from schemas.invocation import Limits, OutcomeKind
from schemas.publishing import Precompiled
from service.lifecycle import TaskOwner
from service.messaging import Message, Messaging
from service.metrics import Metrics
from tests import worker_stack
from tests.worker_stack import Bench
from worker.app import Worker
from worker.frames import Run
from worker.supervisor.executor import LONG_NICENESS, Ears, End, Executor, ExecutorLost
from worker.supervisor.slots import Slots
from worker.supervisor.zygote import Zygote

CHILD = Path(__file__).with_name("misbehaving_executor.py")


@pytest.fixture(scope="module")
async def bench() -> AsyncIterator[Bench]:
    async with worker_stack.start_in_temporary_directory() as started:
        yield started


async def test_a_runaway_guest_is_stopped_in_time_and_its_slot_is_back(bench: Bench) -> None:
    """S1: D to D + 100 ms in every try, measured in the worker; the same slot serves at once."""
    durations, waits = [], []
    async with bench.worker(slots=1, executors=2):
        looping = await bench.install("loop", limits=Limits(timeout_ms=150))
        good = await bench.install("echo", tenant=looping.tenant)
        await bench.call(good)
        for _ in range(20):
            outcome = await bench.call(looping)
            assert outcome.code is ErrorCode.DEADLINE_EXCEEDED
            durations.append(outcome.usage.duration_ms)
            started = time.monotonic()
            assert (await bench.call(good)).response is not None
            waits.append(time.monotonic() - started)

    assert min(durations) >= 140
    assert max(durations) <= 250
    assert statistics.median(waits) < 0.05


async def test_an_executor_killed_in_mid_call_is_an_outcome_and_the_next_call_runs(bench: Bench) -> None:
    """The caller is answered at once, not by silence, and the slot is back."""
    async with bench.worker(slots=1, executors=2) as (worker, _):
        looping = await bench.install("loop", limits=Limits(timeout_ms=10_000))
        call = asyncio.create_task(bench.call(looping))
        executor = await _running(worker)
        os.kill(executor.pid, signal.SIGKILL)
        started = time.monotonic()
        ended = await call
        took = time.monotonic() - started
        after = await bench.call(await bench.install("echo"))

    assert (ended.kind, ended.code) == (OutcomeKind.GUEST_FAILED, ErrorCode.GUEST_TRAP)
    assert ended.executed
    assert took < 0.5
    assert after.response is not None


async def test_an_executor_that_is_stopped_is_killed_at_deadline_and_a_tenth(bench: Bench) -> None:
    """The third layer (F15): what neither epoch nor host call ends, the supervisor kills by pidfd."""
    async with bench.worker(slots=1, executors=2) as (worker, _):
        looping = await bench.install("loop", limits=Limits(timeout_ms=400))
        call = asyncio.create_task(bench.call(looping))
        executor = await _running(worker)
        os.kill(executor.pid, signal.SIGSTOP)
        ended = await call
        after = await bench.call(await bench.install("echo"))

    assert ended.code is ErrorCode.DEADLINE_EXCEEDED
    assert 450 <= ended.usage.duration_ms <= 650
    assert ended.usage.memory_mb == 128, "of a killed call the granted memory is billed"
    assert after.response is not None


async def test_a_guest_that_runs_long_steps_behind_its_neighbours_and_back(bench: Bench) -> None:
    """N4: loops on every slot take what is left of the cores, not what quick calls need."""
    async with bench.worker(slots=1, executors=2) as (worker, _):
        burning = await bench.install("loop", limits=Limits(timeout_ms=400))
        good = await bench.install("echo", tenant=burning.tenant)
        await bench.call(good)
        call = asyncio.create_task(bench.call(burning))
        executor = await _running(worker)
        await asyncio.sleep(0.15)
        during = os.getpriority(os.PRIO_PROCESS, executor.pid)
        await call
        assert (await bench.call(good)).response is not None
        after = [os.getpriority(os.PRIO_PROCESS, one.pid) for one in worker.slots._parked]

    assert during == LONG_NICENESS
    assert after == [0]


async def test_calls_run_again_after_nats_was_away(bench: Bench) -> None:
    """O3: errors only while it lasts, normal within five seconds after, no dead subscription."""
    async with bench.worker():
        install = await bench.install("echo")
        assert (await bench.call(install)).response is not None
        await bench.server.server.restart()
        back = time.monotonic()
        while (await bench.call(install)).response is None:
            assert time.monotonic() - back < 5
            await asyncio.sleep(0.05)


async def test_a_zygote_that_dies_is_started_again(bench: Bench) -> None:
    """Executors go with their zygote; new calls find new ones."""
    async with bench.worker(slots=2, executors=2) as (worker, _):
        install = await bench.install("echo")
        await bench.call(install)
        before = worker.slots._zygote.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        async with asyncio.timeout(10):
            while worker.slots._zygote.pid == before:
                await asyncio.sleep(0.02)
            while (await bench.call(install)).response is None:
                await asyncio.sleep(0.02)


async def test_executors_leave_with_the_worker(bench: Bench) -> None:
    """No process stays behind."""
    async with bench.worker(slots=2, executors=4) as (worker, _):
        for _ in range(3):
            await bench.call(await bench.install("echo"))
        pids = [executor.pid for executor in worker.slots._all]
    async with asyncio.timeout(3):
        while any(_is_alive(pid) for pid in pids):
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("way", ["garbage", "oversized", "out-of-turn", "unknown-call", "two-calls", "exit", "hang"])
async def test_an_executor_that_breaks_the_protocol_loses_its_call_and_nothing_else(way: str) -> None:
    """An executor after an escape says what it likes: it is killed, and the next one serves."""
    async with TaskOwner() as owner, _zygote(owner, way) as slots:
        for _ in range(2):
            executor = await slots.take(TenantId("t"), ContentHash("sha256:x"))
            with pytest.raises(ExecutorLost) as lost:
                await executor.run(_run(seconds=0.3), Ears(_kill_unknown(executor), lambda _: None))
            slots.give_back(executor)
            assert lost.value.end is (End.OVERRAN if way == "hang" else End.DIED)
            assert not executor.is_alive


async def test_descriptors_and_children_do_not_grow_with_crashes() -> None:
    """A hundred lost executors leave nothing open."""
    async with TaskOwner() as owner, _zygote(owner, "exit") as slots:
        counts = []
        for number in range(100):
            executor = await slots.take(TenantId("t"), ContentHash("sha256:x"))
            with pytest.raises(ExecutorLost):
                await executor.run(_run(seconds=5), Ears(lambda _: None, lambda _: None))
            slots.give_back(executor)
            if number in (20, 99):
                await asyncio.sleep(0.1)
                counts.append(len(os.listdir("/proc/self/fd")))

    assert counts[1] <= counts[0] + 8


async def test_damaged_code_in_the_store_is_rebuilt_by_the_registry(bench: Bench) -> None:
    """S19: found by its hash before it is loaded, counted, and the call answers 200 after the rebuild."""
    install = await bench.install("echo")
    key = bundle.cwasm_key(bench.fingerprint, install.content_hash)
    good = await bench.store.get(key)
    for damaged in (bytes([good[0] ^ 1]) + good[1:], good[:-1], good + b"\0", b""):
        await bench.store.put(key, damaged, overwrite=True)
        async with _registry(bench, lambda: bench.store.put(key, good, overwrite=True)), bench.worker() as (_, metrics):
            outcome = await bench.call(install)
            assert outcome.response is not None
            assert b'alga_modules_refused_total{reason="store"} 1.0' in metrics.render()


async def test_missing_code_without_a_registry_is_unavailable(bench: Bench) -> None:
    """503 dependency_unavailable while it lasts, and never a compile in the worker."""
    install = await bench.install("status")
    for key in await bench.store.list("cwasm/"):
        if bundle.hex_of(install.content_hash) in key:
            await bench.store.delete(key)
    async with bench.worker():
        outcome = await bench.call(install, timeout_ms=2_000)

    assert (outcome.code, outcome.executed) == (ErrorCode.DEPENDENCY_UNAVAILABLE, False)


async def test_a_load_record_that_does_not_verify_is_refused(bench: Bench) -> None:
    """502 bundle_integrity: a foreign build key, another bundle's record, one byte changed."""
    install, other = await bench.install("echo"), await bench.install("loop")
    cwasm = await bench.store.get(bundle.cwasm_key(bench.fingerprint, install.content_hash))
    key = bundle.load_record_key(bench.fingerprint, install.content_hash)
    good = await bench.store.get(key)
    foreign = bench.load_record(install.content_hash, cwasm, key=Ed25519PrivateKey.generate())
    others = await bench.store.get(bundle.load_record_key(bench.fingerprint, other.content_hash))
    try:
        for record in (foreign, others, good.replace(b'"record":"e', b'"record":"f'), b"{}", b"x" * 300_000):
            await bench.store.put(key, record, overwrite=True)
            async with bench.worker():
                outcome = await bench.call(install)
            assert (outcome.code, outcome.executed) == (ErrorCode.BUNDLE_INTEGRITY, False)
    finally:
        await bench.store.put(key, good, overwrite=True)


async def test_code_is_fetched_once_however_many_ask(bench: Bench) -> None:
    """Single flight: a burst of first calls is one load."""
    async with bench.worker(slots=4) as (_, metrics):
        install = await bench.install("ask-qjs", limits=Limits(concurrency=4))
        outcomes = await asyncio.gather(*(bench.call(install) for _ in range(12)))
        page = metrics.render()

    assert all(outcome.response is not None for outcome in outcomes)
    assert b'alga_module_loads_total{source="store"} 1.0' in page


async def _running(worker: Worker) -> Executor:
    """The executor of the one call that runs."""
    async with asyncio.timeout(5):
        while True:
            busy = [one for one in worker.slots._all if one.calls and one not in worker.slots._parked]
            if busy and worker.turns.running:
                return busy[0]
            await asyncio.sleep(0.005)


def _is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def _run(*, seconds: float) -> Run:
    return Run(
        invocation="i",
        content_hash="sha256:x",
        request=worker_stack.GuestRequest(method="GET", url="/"),
        deadline=time.monotonic() + seconds,
        timeout_ms=1_000,
        memory_mb=16,
        fuel=1,
        max_body_bytes=1,
        grants=frozenset(),
        context={},
        context_v2={},
    )


def _kill_unknown(executor: Executor) -> Callable[[object], None]:
    """What a session does with a call it does not know."""
    return lambda _: executor.kill()


class _zygote:
    """Slots over the misbehaving child of this directory."""

    def __init__(self, owner: TaskOwner, way: str) -> None:
        self._zygote = Zygote(owner, command=(sys.executable, str(CHILD), way))
        self._slots = Slots(self._zygote, owner, Metrics(), max_executors=4, clean=1)

    async def __aenter__(self) -> Slots:
        await self._zygote.start()
        await self._slots.start()
        return self._slots

    async def __aexit__(self, *_: object) -> None:
        self._slots.close()
        await self._zygote.close()


class _registry:
    """Answers ext.precompile in the registry's role, after `repair`."""

    def __init__(self, bench: Bench, repair: Callable[[], object]) -> None:
        self._bench, self._repair = bench, repair

    async def __aenter__(self) -> None:
        self._connecting = Messaging.connect(self._bench.server.url_for("registry"), name="registry", role="registry")
        self._messaging = await self._connecting.__aenter__()
        self._served = await self._messaging.serve(subjects.PRECOMPILE, self._answer, queue=subjects.REGISTRY_QUEUE)

    async def __aexit__(self, *_: object) -> None:
        await self._served.stop(timeout_seconds=0.1)
        await self._connecting.__aexit__(None, None, None)

    async def _answer(self, message: Message) -> None:
        await self._repair()  # type: ignore[misc]
        done = Precompiled(content_hash=ContentHash("sha256:x"), engine_fingerprint="x")
        await message.reply(codec.encode(done))


async def test_a_worker_without_a_usable_key_file_does_not_start(bench: Bench, tmp_path: Path) -> None:
    """O9: one clear line naming the setting."""
    (bench.root / "build.pem").rename(tmp_path / "build.pem")
    try:
        with pytest.raises(FleetError, match="ALGA_BUILD_PUBLIC_KEYS_FILE"):
            async with bench.worker():
                raise AssertionError("it started")
    finally:
        (tmp_path / "build.pem").rename(bench.root / "build.pem")
