"""Whose turn it is among tenants: bounded queues, deficit round robin weighted by CPU time. Pure: no clock, no task.

The rules.
  1. Every round gives each tenant `QUANTUM_MS` of credit, up to one quantum; a call costs the CPU time it really used,
     charged when it ends, and what its tenant's calls use to cost while it runs. Who is in debt waits for rounds.
  2. Among tenants with credit, who can run something, the one that waits longest goes first.
  3. An install runs at most its own `concurrency` at once, a tenant at most all slots but the reserve.
  4. What will not get a turn before its `wait_until` is refused when it comes, not when it is too late: the
     queue of an install is bounded by its own measured pace, that of a tenant and of the worker by number.
A debt is kept while its tenant is idle, and rounds pay it off: coming and going does not help.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

from schemas.errors import ErrorCode
from schemas.ids import InstallId, TenantId

QUANTUM_MS = 10.0
MAX_DEBT_MS = 60_000.0
FIRST_GUESS_MS, FIRST_GUESS_SECONDS = 2.0, 0.05
"""Taken for the CPU time of a tenant's calls, and the wall time of an install's, before any was measured."""
SMOOTHING = 0.2
QUEUED_PER_SLOT = 16
"""Waiting calls the worker keeps for each slot, all tenants together; one tenant may have half of them."""


@dataclass(eq=False)
class Entry:
    """One call that waits or runs. `payload` is the caller's. `wait_until`, `now`: monotonic seconds."""

    tenant: TenantId
    install: InstallId
    concurrency: int
    wait_until: float
    payload: Any = None
    guess_ms: float = 0.0
    started: float = 0.0


@dataclass(frozen=True)
class Refusal:
    """Why a call gets no turn here. Later, or elsewhere, it may."""

    code: ErrorCode
    message: str
    retry_after_seconds: float = 1.0


@dataclass(eq=False)
class _Tenant:
    waiting: OrderedDict[InstallId, deque[Entry]] = field(default_factory=OrderedDict)
    """By install, the one whose turn it is first; no queue here is empty."""
    count: int = 0
    running: int = 0
    credit_ms: float = QUANTUM_MS
    round: int = 0
    cost_ms: float = FIRST_GUESS_MS


@dataclass(eq=False)
class _Install:
    waiting: int = 0
    running: dict[Entry, None] = field(default_factory=dict)
    """In the order they started."""
    seconds: float = FIRST_GUESS_SECONDS
    """Smoothed wall time of its calls here."""

    def pace(self, now: float) -> float:
        """Seconds that a call of it takes, as far as is known: no less than the oldest has run already."""
        oldest = next(iter(self.running), None)
        return self.seconds if oldest is None else max(self.seconds, now - oldest.started)


class FairQueue:
    """Turns for `slots` calls at once."""

    def __init__(self, *, slots: int) -> None:
        self._slots = slots
        self._tenant_limit = max(1, slots - max(1, slots // 4))
        self._max_waiting = slots * QUEUED_PER_SLOT
        self._tenants: dict[TenantId, _Tenant] = {}
        self._ring: OrderedDict[TenantId, None] = OrderedDict()
        self._installs: dict[tuple[TenantId, InstallId], _Install] = {}
        self._round = 0
        self._running = 0
        self._waiting = 0

    @property
    def running(self) -> int:
        return self._running

    @property
    def waiting(self) -> int:
        return self._waiting

    def offer(self, entry: Entry, *, now: float) -> Refusal | None:
        """Queue a call, or say why not."""
        tenant = self._tenants.get(entry.tenant)
        install = self._installs.get((entry.tenant, entry.install))
        refusal = self._refusal(entry, tenant, install, now)
        if refusal is not None:
            return refusal
        if tenant is None:
            tenant = self._tenants[entry.tenant] = _Tenant(round=self._round)
        if install is None:
            install = self._installs[entry.tenant, entry.install] = _Install()
        tenant.waiting.setdefault(entry.install, deque()).append(entry)
        tenant.count += 1
        install.waiting += 1
        self._waiting += 1
        self._ring.setdefault(entry.tenant)
        return None

    def take(self, *, now: float) -> Entry | None:
        """The next call to run now, or None while there is no slot or nobody may use it."""
        if self._running >= self._slots or not self._ring:
            return None
        chosen = self._choose()
        if chosen is None:
            return None
        name, entry = chosen
        tenant = self._tenants[name]
        self._forget_waiting(entry, tenant)
        if tenant.count:
            self._ring.move_to_end(name)
        if entry.install in tenant.waiting:
            tenant.waiting.move_to_end(entry.install)
        entry.guess_ms = tenant.cost_ms
        tenant.credit_ms = max(-MAX_DEBT_MS, self._credit(tenant) - entry.guess_ms)
        tenant.round = self._round
        tenant.running += 1
        entry.started = now
        self._installs[entry.tenant, entry.install].running[entry] = None
        self._running += 1
        return entry

    def finish(self, entry: Entry, *, cpu_ms: float, seconds: float | None) -> None:
        """A call that `take` gave has ended; its turn is free and its tenant is charged what it used.

        `seconds`: its wall time, None when it did not run after all.
        """
        tenant = self._tenants[entry.tenant]
        install = self._installs[entry.tenant, entry.install]
        self._running -= 1
        tenant.running -= 1
        del install.running[entry]
        if seconds is not None:
            tenant.cost_ms += SMOOTHING * (cpu_ms - tenant.cost_ms)
            install.seconds += SMOOTHING * (seconds - install.seconds)
        tenant.credit_ms = min(QUANTUM_MS, max(-MAX_DEBT_MS, self._credit(tenant) + entry.guess_ms - cpu_ms))
        tenant.round = self._round
        self._drop_idle()

    def withdraw(self, entry: Entry) -> bool:
        """Take back a call that still waits; False when it does not wait (any more)."""
        tenant = self._tenants.get(entry.tenant)
        if tenant is None or entry not in tenant.waiting.get(entry.install, ()):
            return False
        self._forget_waiting(entry, tenant)
        return True

    def expire(self, *, now: float) -> list[tuple[Entry, Refusal]]:
        """Take out every call that waited as long as it may, with the reason it is given."""
        late = [entry for entry in self._all_waiting() if entry.wait_until <= now]
        expired = []
        for entry in late:
            install = self._installs[entry.tenant, entry.install]
            expired.append((entry, _capped(entry, 1.0) if self._is_capped(entry, install) else _overloaded(1.0)))
            self.withdraw(entry)
        return expired

    def drain(self) -> list[Entry]:
        """Take out everything that waits."""
        waiting = self._all_waiting()
        for entry in waiting:
            self.withdraw(entry)
        return waiting

    def _all_waiting(self) -> list[Entry]:
        return [entry for name in self._ring for queue in self._tenants[name].waiting.values() for entry in queue]

    def _refusal(self, entry: Entry, tenant: _Tenant | None, install: _Install | None, now: float) -> Refusal | None:
        if self._waiting >= self._max_waiting:
            return _overloaded(1.0)
        if tenant is not None and tenant.count >= max(1, self._max_waiting // 2):
            return _overloaded(1.0)
        if install is None or len(install.running) + install.waiting < entry.concurrency:
            return None
        wait = install.pace(now) * (install.waiting + 1) / entry.concurrency
        return _capped(entry, wait) if now + wait >= entry.wait_until else None

    def _choose(self) -> tuple[TenantId, Entry] | None:
        """The first in the ring with credit and a call it may run; if none has credit, after the rounds that it
        takes until one has."""
        runnable: list[tuple[TenantId, Entry, float]] = []
        for name in self._ring:
            tenant = self._tenants[name]
            entry = self._first_runnable(tenant)
            if entry is None:
                continue
            credit = self._credit(tenant)
            if credit > 0:
                return name, entry
            runnable.append((name, entry, credit))
        if not runnable:
            return None
        best = max(runnable, key=lambda item: item[2])
        self._round += int(-best[2] // QUANTUM_MS) + 1
        return best[0], best[1]

    def _first_runnable(self, tenant: _Tenant) -> Entry | None:
        if tenant.running >= self._tenant_limit:
            return None
        for queue in tenant.waiting.values():
            if not self._is_capped(queue[0], self._installs[queue[0].tenant, queue[0].install]):
                return queue[0]
        return None

    @staticmethod
    def _is_capped(entry: Entry, install: _Install) -> bool:
        return len(install.running) >= entry.concurrency

    def _credit(self, tenant: _Tenant) -> float:
        return min(QUANTUM_MS, tenant.credit_ms + (self._round - tenant.round) * QUANTUM_MS)

    def _forget_waiting(self, entry: Entry, tenant: _Tenant) -> None:
        queue = tenant.waiting[entry.install]
        queue.remove(entry)
        if not queue:
            del tenant.waiting[entry.install]
        tenant.count -= 1
        self._installs[entry.tenant, entry.install].waiting -= 1
        self._waiting -= 1
        if not tenant.count:
            self._ring.pop(entry.tenant, None)

    def _drop_idle(self) -> None:
        """Once there are many, forget who has nothing here and owes nothing; debtors are all let off one round."""
        if len(self._tenants) > 4 * self._max_waiting:
            self._round += 1
            idle = [n for n, t in self._tenants.items() if not t.running and not t.count and self._credit(t) >= 0]
            for name in idle:
                del self._tenants[name]
        if len(self._installs) > 4 * self._max_waiting:
            for key in [key for key, i in self._installs.items() if not i.running and not i.waiting]:
                del self._installs[key]


def _capped(entry: Entry, wait_seconds: float) -> Refusal:
    return Refusal(
        ErrorCode.CONCURRENCY_EXCEEDED,
        f"the extension runs {entry.concurrency} calls at once, its limit here, and more already wait",
        max(1.0, wait_seconds),
    )


def _overloaded(wait_seconds: float) -> Refusal:
    return Refusal(ErrorCode.OVERLOADED, "the worker has more calls waiting than it can finish", wait_seconds)
