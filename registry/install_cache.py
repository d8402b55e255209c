"""What references resolve to, kept by a front for a short while: single-flight, bounded, dropped when told.

Owns no rule of installs and no message. An entry lives at most `LIFETIME_SECONDS`. All of a tenant hangs on one
object, and a drop lets go of it: what was being loaded then is answered to who asked before, and goes with it, so
nothing that was read before a change outlives the change.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from schemas.errors import ErrorCode, FleetError, NotFound
from schemas.ids import InstallId, TenantId
from schemas.install import Resolved
from service.clock import Clock

LIFETIME_SECONDS = 10.0
CAPACITY = 20_000
"""Entries in all, at a few kB each; the least recently asked tenants go first."""
TENANT_CAPACITY = 1_000
"""Entries of one tenant, guesses that found nothing included."""

Load = Callable[[TenantId, str], Awaitable[Resolved]]


class _Entry(NamedTuple):
    """`resolved` None: there is no such install."""

    resolved: Resolved | None
    until: float


class _Kept:
    """All that is kept of one tenant."""

    __slots__ = ("entries", "flights", "states")

    def __init__(self) -> None:
        self.entries: dict[str, _Entry] = {}
        self.states: dict[InstallId, _Entry] = {}
        self.flights: dict[str, asyncio.Future[Resolved | None]] = {}


class InstallCache:
    """The cache of one front. `load` raises NotFound for a reference that does not resolve."""

    def __init__(self, load: Load, clock: Clock, *, capacity: int = CAPACITY) -> None:
        self._load, self._clock, self._capacity = load, clock, capacity
        self._tenants: OrderedDict[TenantId, _Kept] = OrderedDict()
        self._size = 0

    async def get(self, tenant: TenantId, reference: str) -> Resolved:
        """What `reference` means to `tenant` now. NotFound where it means nothing; whatever `load` raises otherwise."""
        while True:
            kept = self._of(tenant)
            entry = kept.entries.get(reference)
            if entry is not None and self._is_fresh(entry):
                return _answer(entry.resolved)
            flight = kept.flights.get(reference)
            if flight is None:
                return _answer(await self._fly(kept, tenant, reference))
            # A cancelled leader leaves its followers without an answer: the first of them leads anew.
            await asyncio.wait([flight])
            if not flight.cancelled():
                return _answer(flight.result())

    def holds(self, resolved: Resolved) -> bool:
        """Whether this state is the install's latest, as far as this front read and was told."""
        kept = self._tenants.get(resolved.tenant)
        entry = kept.states.get(resolved.install) if kept else None
        if entry is None or not self._is_fresh(entry):
            return False
        return entry.resolved is resolved or entry.resolved == resolved

    def drop(self, tenant: TenantId) -> None:
        """Forget all of a tenant, what is being loaded now included."""
        kept = self._tenants.pop(tenant, None)
        if kept is not None:
            self._size -= len(kept.entries)

    def clear(self) -> None:
        """Forget everything: this front may have missed a change."""
        self._tenants.clear()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def _of(self, tenant: TenantId) -> _Kept:
        kept = self._tenants.get(tenant)
        if kept is None:
            kept = self._tenants[tenant] = _Kept()
        self._tenants.move_to_end(tenant)
        return kept

    def _is_fresh(self, entry: _Entry) -> bool:
        return entry.until > self._clock.monotonic()

    async def _fly(self, kept: _Kept, tenant: TenantId, reference: str) -> Resolved | None:
        flight = kept.flights[reference] = asyncio.get_running_loop().create_future()
        # The age of an entry counts from before the read: a slow read does not make it younger.
        until = self._clock.monotonic() + LIFETIME_SECONDS
        try:
            resolved = await self._read(tenant, reference)
        except FleetError as error:
            flight.set_exception(error)
            flight.exception()
            raise
        except BaseException:
            flight.cancel()
            raise
        finally:
            del kept.flights[reference]
        flight.set_result(resolved)
        if self._tenants.get(tenant) is kept:
            self._keep(kept, reference, _Entry(resolved, until))
        return resolved

    async def _read(self, tenant: TenantId, reference: str) -> Resolved | None:
        try:
            return await self._load(tenant, reference)
        except NotFound:
            return None

    def _keep(self, kept: _Kept, reference: str, entry: _Entry) -> None:
        if len(kept.entries) >= TENANT_CAPACITY:
            self._size -= len(kept.entries)
            kept.entries.clear()
        self._size += reference not in kept.entries
        kept.entries[reference] = entry
        if entry.resolved is not None:
            kept.states[entry.resolved.install] = entry
        while self._size > self._capacity and len(self._tenants) > 1:
            self._size -= len(self._tenants.popitem(last=False)[1].entries)


def not_installed() -> NotFound:
    """The one answer for what is unknown, disabled, pending or another tenant's."""
    return NotFound("no such extension is installed", code=ErrorCode.EXTENSION_NOT_INSTALLED)


def _answer(resolved: Resolved | None) -> Resolved:
    if resolved is None:
        raise not_installed()
    return resolved
