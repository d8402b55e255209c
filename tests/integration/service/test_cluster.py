"""The shard count of a cluster never changes by a slip in one process's settings."""

import tempfile
from pathlib import Path

import pytest

from deploy.embedded import stack
from schemas.errors import Invalid
from service import cluster
from service.messaging import Messaging


async def test_a_process_with_another_shard_count_is_refused() -> None:
    """Its calls would go to shards that nobody serves."""
    with tempfile.TemporaryDirectory(prefix="alga-cluster-") as directory:
        async with (
            stack.start(Path(directory)) as engines,
            Messaging.connect(engines.nats_url_for("registry"), name="test", role="registry") as registry,
            Messaging.connect(engines.nats_url_for("worker"), name="test", role="worker") as worker,
        ):
            await cluster.declare(registry, shard_count=64)
            await cluster.check(worker, shard_count=64)
            with pytest.raises(Invalid, match="ALGA_NATS_SHARD_COUNT is 32, but this cluster was made with 64"):
                await cluster.check(worker, shard_count=32)
            with pytest.raises(Invalid, match="made with 64"):
                await cluster.declare(registry, shard_count=128)
