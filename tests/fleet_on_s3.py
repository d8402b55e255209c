"""A fleet whose bundle store is S3: a real server, told to every process that stores or fetches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from deploy.embedded import s3
from deploy.embedded.processes import Options
from deploy.embedded.s3 import S3Server
from service.settings import StoreSettings
from tests.fleet import TestFleet, open_fleet

ROLES = ("gateway", "registry", "worker", "events")
PREFIX = "fleet"


@asynccontextmanager
async def open_fleet_on_s3(
    directory: Path, *, extra: Mapping[str, Mapping[str, str]] | None = None
) -> AsyncIterator[tuple[TestFleet, S3Server]]:
    """The fleet and its S3 server. `extra`: more settings by role."""
    more = extra or {}
    async with s3.start(directory / "s3") as server:
        store = {
            "ALGA_STORE_URL": settings_of(server).url,
            "ALGA_STORE_ENDPOINT": server.endpoint,
            "ALGA_STORE_REGION": server.region,
            "ALGA_STORE_ACCESS_KEY": server.access_key,
            "ALGA_STORE_SECRET_KEY": server.secret_key,
        }
        options = Options(extra={role: {**store, **more.get(role, {})} for role in ROLES})
        async with open_fleet(directory / "fleet", options) as fleet:
            yield fleet, server


def settings_of(server: S3Server) -> StoreSettings:
    """What the processes are told, for a test that looks into their store."""
    return StoreSettings(
        url=f"s3://{server.bucket}/{PREFIX}",
        endpoint=server.endpoint,
        region=server.region,
        access_key=server.access_key,
        secret_key=server.secret_key,
    )
