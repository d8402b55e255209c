"""This worker's key in the bucket that fronts watch: here, which shards, draining or not.

Owns the heartbeat. It beats from the very loop that runs calls, so that a worker which hangs falls silent.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog

from schemas import codec
from schemas.errors import FleetError, Unavailable
from schemas.ids import WorkerId
from service.dispatch import WORKER_TTL_SECONDS, WORKERS_BUCKET, WorkerKey
from service.messaging import Bucket, Messaging

log = structlog.get_logger()

BEAT_SECONDS = WORKER_TTL_SECONDS / 3
OPEN_TRIES = 20


class Presence:
    """Puts the key and keeps it alive."""

    def __init__(self, bucket: Bucket, worker: WorkerId, shards: tuple[int, ...] | None) -> None:
        self._bucket, self._key = bucket, WorkerKey(worker=worker, shards=shards)

    @classmethod
    async def open(cls, messaging: Messaging, worker: WorkerId, shards: tuple[int, ...] | None) -> Presence:
        """The bucket is made by the fronts and the registry: a worker may not, and waits for it.

        Raises Unavailable when it does not come.
        """
        for _ in range(OPEN_TRIES):
            try:
                return cls(await messaging.bucket(WORKERS_BUCKET, ttl_seconds=WORKER_TTL_SECONDS), worker, shards)
            except Unavailable as error:
                log.warning("the workers' bucket is not there yet", detail=error.detail)
                await asyncio.sleep(BEAT_SECONDS)
        raise Unavailable("the workers' bucket was not made: no gateway, events or registry process has run here")

    async def announce(self) -> None:
        """Say it now. Raises Unavailable."""
        await self._bucket.put(self._key.worker, codec.encode(self._key))

    async def run(self) -> None:
        """Say it again and again until cancelled."""
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                await self.announce()
            except FleetError as error:
                log.warning("the worker could not say that it is alive", code=error.code, detail=error.detail)

    async def drain(self) -> None:
        """From now on no front sends a retry here."""
        self._key = WorkerKey(worker=self._key.worker, shards=self._key.shards, draining=True)
        with contextlib.suppress(FleetError):
            await self.announce()

    async def leave(self) -> None:
        """Take the key away."""
        with contextlib.suppress(FleetError):
            await self._bucket.delete(self._key.worker)
