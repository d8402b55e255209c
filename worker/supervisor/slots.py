"""Executors: one tenant each until recycled, parked per tenant, killed and replaced.

Owns how many there are and whose each is. `fair_queue.py` bounds how many run at once; so at most that many of the
executors here are busy, and what is not busy is parked with its tenant (least recently used goes first) or clean.

    clean --take--> busy (tenant set) --give back--> parked --take by the same tenant--> busy
    busy, parked --recycle, death, eviction--> gone            a clean one is forked whenever one was taken
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque

import structlog

from schemas.errors import ErrorCode, Unavailable
from schemas.ids import ContentHash, TenantId
from service.lifecycle import TaskOwner
from service.metrics import Metrics
from worker.supervisor.executor import End, Executor
from worker.supervisor.zygote import Zygote

log = structlog.get_logger()

MAX_CALLS = 1_000
MAX_AGE_SECONDS = 600.0
SWEEP_SECONDS = 15.0


class Slots:
    """`max_executors` bounds those that belong to a tenant; `clean` more stand ready."""

    def __init__(self, zygote: Zygote, owner: TaskOwner, metrics: Metrics, *, max_executors: int, clean: int) -> None:
        self._zygote, self._owner, self._metrics = zygote, owner, metrics
        self._max_executors, self._wanted_clean = max_executors, clean
        self._all: set[Executor] = set()
        self._clean: deque[Executor] = deque()
        self._parked: OrderedDict[Executor, TenantId] = OrderedDict()
        self._of_tenant: dict[TenantId, list[Executor]] = {}
        self._busy = 0
        self._closing = False
        self._more = asyncio.Event()
        self.fingerprint = ""
        """Of the engine in the executors: which cwasm they load."""

    async def start(self) -> None:
        """Fork the first executor, which tells the engine's fingerprint, then keep clean ones ready.

        Raises Unavailable when no executor can be started here.
        """
        first = await self._fork()
        self.fingerprint = first.fingerprint
        log.info("executors can be started", engine_fingerprint=first.fingerprint, walls=first.walls)
        self._clean.append(first)
        self._owner.start(self._keep_clean(), name="clean executors")
        self._owner.start(self._sweep_regularly(), name="executor recycling")
        self._more.set()

    def close(self) -> None:
        self._closing = True
        for executor in tuple(self._all):
            executor.kill(End.RETIRED)

    @property
    def counts(self) -> dict[str, int]:
        """`busy`, `parked` and `clean` executors now."""
        return {"busy": self._busy, "parked": len(self._parked), "clean": len(self._clean)}

    async def take(self, tenant: TenantId, content_hash: ContentHash) -> Executor:
        """An executor of this tenant, or a clean one that becomes it, until `give_back`.

        Raises Unavailable when none can be forked.
        """
        executor = self._find_parked(tenant, content_hash) or await self._take_clean()
        executor.tenant = tenant
        self._busy += 1
        return executor

    def give_back(self, executor: Executor) -> None:
        """Park it with its tenant, or end it: recycled, too old, or told to go."""
        self._busy -= 1
        if not executor.is_alive:
            return
        if self._closing or executor.must_go or executor.calls >= MAX_CALLS or _is_old(executor):
            executor.kill(End.RETIRED)
            return
        assert executor.tenant is not None
        self._parked[executor] = executor.tenant
        self._of_tenant.setdefault(executor.tenant, []).append(executor)

    def _find_parked(self, tenant: TenantId, content_hash: ContentHash) -> Executor | None:
        """The tenant's most recently used one, rather with this module loaded."""
        own = self._of_tenant.get(tenant)
        if not own:
            return None
        at = next((i for i in range(len(own) - 1, -1, -1) if own[i].has_loaded(content_hash)), len(own) - 1)
        executor = own[at]
        self._unpark(executor)
        return executor

    async def _take_clean(self) -> Executor:
        while self._clean:
            executor = self._clean.popleft()
            if executor.is_alive:
                break
        else:
            executor = await self._fork()
        self._more.set()
        self._make_room()
        return executor

    def _make_room(self) -> None:
        """One more is about to have a tenant: the longest parked one goes if that would be too many."""
        while self._parked and self._busy + len(self._parked) >= self._max_executors:
            next(iter(self._parked)).kill(End.RETIRED)

    def _unpark(self, executor: Executor) -> None:
        tenant = self._parked.pop(executor, None)
        if tenant is None:
            return
        own = self._of_tenant[tenant]
        own.remove(executor)
        if not own:
            del self._of_tenant[tenant]

    def _ended(self, executor: Executor) -> None:
        self._all.discard(executor)
        self._metrics.executor_exits.labels(executor.end.name.lower()).inc()
        self._unpark(executor)
        if executor in self._clean:
            self._clean.remove(executor)
            self._more.set()

    async def _fork(self) -> Executor:
        self._refuse_if_closing()
        executor = Executor(await self._zygote.fork(), on_end=self._ended)
        self._all.add(executor)
        try:
            self._refuse_if_closing()
            await executor.ready()
        finally:
            if not executor.fingerprint:
                executor.kill()
        if self.fingerprint and executor.fingerprint != self.fingerprint:
            executor.kill()
            raise Unavailable("no executor could be started", code=ErrorCode.OVERLOADED, detail="another engine")
        return executor

    def _refuse_if_closing(self) -> None:
        if self._closing:
            raise Unavailable("the worker is stopping", code=ErrorCode.DRAINING, retry_after_seconds=1.0)

    async def _keep_clean(self) -> None:
        """Forks one after another, so that a flood of tenants does not fork them all at once."""
        while True:
            await self._more.wait()
            self._more.clear()
            while len(self._clean) < self._wanted_clean:
                try:
                    self._clean.append(await self._fork())
                except Unavailable as error:
                    if self._closing:
                        return
                    log.warning("no clean executor could be started", reason=error.detail or error.message)
                    await asyncio.sleep(1.0)

    async def _sweep_regularly(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for executor in [*self._parked, *self._clean]:
                if _is_old(executor):
                    executor.kill(End.RETIRED)


def _is_old(executor: Executor) -> bool:
    return time.monotonic() - executor.born > MAX_AGE_SECONDS
