"""What has to be tidied up from time to time, whoever caused it: invocations nobody closed, records that expired.

Owns when each job runs. A job does one bounded piece and says how much it did; several replicas may run it at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec
import structlog

from schemas.errors import FleetError
from service.lifecycle import TaskOwner

log = structlog.get_logger()


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """`run` does one piece and answers how much that was; a piece of `full` or more is followed by the next at once."""

    name: str
    every_seconds: float
    run: Callable[[], Awaitable[int]]
    full: int


def start(jobs: tuple[Job, ...], tasks: TaskOwner) -> None:
    """Run each job by itself until `tasks` ends."""
    for job in jobs:
        tasks.start(_repeat(job), name=f"housekeeping: {job.name}")


async def _repeat(job: Job) -> None:
    while True:
        try:
            done = await job.run()
        except FleetError as error:
            log.warning("housekeeping failed", job=job.name, code=error.code, detail=error.detail)
            done = 0
        if done < job.full:
            await asyncio.sleep(job.every_seconds)
