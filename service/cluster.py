"""What is fixed when a cluster is made: its shard count, kept in NATS, so that no process counts otherwise.

The registry process writes it first; every process compares its own setting with it at start.
"""

from __future__ import annotations

from schemas.errors import Invalid
from service.messaging import Messaging

BUCKET = "cluster"
SHARD_COUNT = "shard_count"


async def declare(messaging: Messaging, *, shard_count: int) -> None:
    """Fix the count where none is fixed yet, then `check`. For the registry process, which alone may write it."""
    bucket = await messaging.bucket(BUCKET)
    await bucket.create(SHARD_COUNT, b"%d" % shard_count)
    await check(messaging, shard_count=shard_count)


async def check(messaging: Messaging, *, shard_count: int) -> None:
    """Raises Invalid when the cluster has another count: calls would go where nobody listens."""
    fixed = await (await messaging.bucket(BUCKET)).get(SHARD_COUNT)
    if fixed is not None and fixed != b"%d" % shard_count:
        raise Invalid(
            f"setting ALGA_NATS_SHARD_COUNT is {shard_count}, but this cluster was made with {fixed.decode()} shards"
        )
