"""The word that an install changed: announced after the commit, heard by every front, acknowledged.

Owns who the live fronts are: each keeps a key in a bucket with expiring keys. An admin call answers when all of them
have dropped what they kept, or after `ACKNOWLEDGE_SECONDS`: a front that is stuck serves what it has for at most the
life of a cache entry. Nothing here is needed for correctness after those ten seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Protocol

import structlog

from schemas import codec, ids, subjects
from schemas.errors import DeadlineExceeded, FleetError, Unavailable
from schemas.ids import TenantId
from schemas.install import InstallChanged
from service.clock import Clock
from service.lifecycle import TaskOwner
from service.messaging import LiveKeys, Message, Messaging, NoResponders

log = structlog.get_logger()

FRONTS_BUCKET = "fronts"
FRONT_TTL_SECONDS = 5.0
FRONT_PUT_SECONDS = 1.0
ACKNOWLEDGE_SECONDS = 2.0


class Announces(Protocol):
    """What `registry/installs.py` needs after a commit."""

    async def announce(self, change: InstallChanged) -> None:
        """Tell every front, and return when all have acknowledged or the wait is over; never raises."""
        ...


class Announcer:
    """Says that an install changed. `fronts`: the living keys of `FRONTS_BUCKET`."""

    def __init__(self, messaging: Messaging, fronts: LiveKeys, clock: Clock) -> None:
        self._messaging, self._fronts, self._clock = messaging, fronts, clock

    @classmethod
    async def open(cls, messaging: Messaging, tasks: TaskOwner, clock: Clock) -> Announcer:
        """An announcer whose view of the live fronts keeps itself up to date in `tasks`."""
        bucket = await messaging.bucket(FRONTS_BUCKET, ttl_seconds=FRONT_TTL_SECONDS)
        return cls(messaging, await bucket.watch(tasks, clock), clock)

    async def announce(self, change: InstallChanged) -> None:
        """See `Announces`. The change is committed: whatever fails here is logged, not raised."""
        waiting = set(self._fronts.current())
        try:
            await self._tell(change, waiting)
        except NoResponders:
            return
        except Unavailable as error:
            log.warning("an install change was not announced", tenant=change.tenant, code=error.code)
        if waiting:
            log.warning("fronts did not acknowledge an install change", tenant=change.tenant, fronts=sorted(waiting))

    async def _tell(self, change: InstallChanged, waiting: set[str]) -> None:
        until = self._clock.monotonic() + ACKNOWLEDGE_SECONDS
        subject = subjects.control_install(change.tenant)
        async with self._messaging.conversation(subject, codec.encode(change)) as acknowledgements:
            while waiting:
                try:
                    front = await acknowledgements.next(until - self._clock.monotonic())
                except DeadlineExceeded:
                    return
                waiting.discard(front.decode(errors="replace"))


@asynccontextmanager
async def listen(
    messaging: Messaging,
    changed: Callable[[TenantId], None],
    *,
    clear: Callable[[], None],
    on_failure: Callable[[], object] | None = None,
) -> AsyncIterator[str]:
    """Be a live front while the context lasts: `changed` drops a tenant, `clear` everything, after each reconnect.

    Yields this front's name. The acknowledgement leaves after `changed` returned.
    """
    front = ids.new_id()

    async def hear(message: Message) -> None:
        changed(codec.decode(InstallChanged, message.data).tenant)
        await message.reply(front.encode())

    messaging.on_reconnect(clear)
    served = await messaging.serve(subjects.CONTROL_INSTALL_ALL, hear)
    clear()
    await _list(messaging, front)
    async with TaskOwner(on_failure) as tasks:
        tasks.start(_stay_listed(messaging, front), name="stay listed as a front")
        try:
            yield front
        finally:
            await served.stop(timeout_seconds=1)
    try:
        bucket = await messaging.bucket(FRONTS_BUCKET, ttl_seconds=FRONT_TTL_SECONDS)
        await bucket.delete(front)
    except FleetError:
        log.info("a front leaves without saying so", front=front)


async def _stay_listed(messaging: Messaging, front: str) -> None:
    while True:
        await asyncio.sleep(FRONT_PUT_SECONDS)
        try:
            await _list(messaging, front)
        except Unavailable:
            log.warning("a front could not renew its key", front=front)


async def _list(messaging: Messaging, front: str) -> None:
    """The bucket is opened each time: it may have been lost with its server, and is then made anew."""
    bucket = await messaging.bucket(FRONTS_BUCKET, ttl_seconds=FRONT_TTL_SECONDS)
    await bucket.put(front, b"")
