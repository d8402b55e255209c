"""An attack on the one slot there is, and a good call of another tenant right behind it: "slot OK" of the case list."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tests import execution_log
from tests.execution_log import Run
from tests.fleet import Answer, Installed, TestFleet
from tests.guests import build

SLOT_BACK_MS = 500
"""The slot that an attack had answers a good call this soon."""


@dataclass
class Attack:
    """A bad guest of one tenant, a good one of another, on a fleet with one slot."""

    fleet: TestFleet
    bad: Installed
    good: Installed
    _tries: int = field(default=0)

    async def call(self, path: str = "/", *, method: str = "GET", body: bytes | None = None) -> Answer:
        """The bad guest's answer; the slot has then answered the good guest's call."""
        answer = await self.fleet.call(self.bad, path, method=method, body=body)
        self._tries += 1
        after = await self.fleet.call(self.good)
        assert after.status == 200, after.body
        return answer

    async def runs(self) -> list[Run]:
        """The bad guest's runs as the worker measured them, newest first, once the good ones were quick enough."""
        served = await execution_log.runs_of(self.fleet, self.good, count=self._tries)
        slowest = max(run.queue_ms + run.duration_ms for run in served)
        assert slowest <= SLOT_BACK_MS, f"the slot was back after {slowest} ms"
        return await execution_log.runs_of(self.fleet, self.bad, count=self._tries)


async def prepare(fleet: TestFleet, guest: str, *, limits: Mapping[str, int] | None = None, **manifest: Any) -> Attack:
    """Both guests installed, each by a tenant of its own."""
    bad = await fleet.publish_once(f"{guest} {manifest}", build.component(guest), **manifest)
    good = await fleet.publish_once("echo {}", build.component("echo"))
    return Attack(
        fleet,
        await fleet.install(await fleet.tenant(), bad, **({"limits": dict(limits)} if limits else {})),
        await fleet.install(await fleet.tenant(), good),
    )
