"""The calls of a soak: who makes which, and what each may answer.

A storage effect is a write under a key of its own, so the key's revision counts how often it happened. POST may not
be repeated by the platform, PUT is declared idempotent and may run twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from schemas.ids import new_id
from tests.fleet import Answer, Installed, TestFleet
from tests.guests import build
from tests.soak.faults import Faults

TENANTS = 20
CALLERS = 6
PAUSE_SECONDS = 0.03
"""Of each caller between calls: a soak is long, not hard."""
DEADLINE_SECONDS = 3.0
LATE_SECONDS = 2.0
"""How late after its deadline an answer may come on a machine that does all this at once."""
NAMESPACE = "effects"
KINDS = {"echo": 50, "write": 25, "idempotent write": 10, "trap": 6, "timeout": 1}
FAULT_CODES = frozenset({"no_worker", "overloaded", "draining", "dependency_unavailable", "deadline_exceeded"})
LIMITS = {"timeout_ms": int(DEADLINE_SECONDS * 1000), "concurrency": CALLERS}


@dataclass(frozen=True)
class Target:
    """One install and which of the two extensions it is."""

    installed: Installed
    is_echo: bool


@dataclass(frozen=True)
class Made:
    """One call. `status` 0: no answer at all. Instants of `time.monotonic`. `is_ok`: it did what its kind is for."""

    kind: str
    request_id: str
    status: int
    code: str
    began: float
    ended: float
    is_ok: bool
    key: str | None = None

    @property
    def answer(self) -> str:
        return f"{self.status} {self.code}".strip()


@dataclass
class Load:
    """Callers that pause a little between calls, each call to a random install."""

    fleet: TestFleet
    installs: Sequence[Target]
    calls: list[Made] = field(default_factory=list)
    began: float = field(default_factory=time.monotonic)
    seconds: float = 0.0

    @property
    def lost(self) -> list[Made]:
        return [call for call in self.calls if not call.status]

    async def run(self, ending: asyncio.Event) -> None:
        """Until `ending`; every call under way is waited for."""
        self.began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for _ in range(CALLERS):
                group.create_task(self._caller(ending))
        self.seconds = time.monotonic() - self.began

    async def _caller(self, ending: asyncio.Event) -> None:
        while not ending.is_set():
            kind = random.choices(list(KINDS), list(KINDS.values()))[0]
            fitting = [target for target in self.installs if target.is_echo == (kind == "echo")]
            await self.call(kind, random.choice(fitting))
            await asyncio.sleep(PAUSE_SECONDS)

    async def call(self, kind: str, target: Target) -> Made:
        """One call, kept in `calls`."""
        key = f"{kind.replace(' ', '-')}-{new_id()}" if "write" in kind else None
        request_id, body = (
            new_id(),
            random.randbytes(random.choice((0, 20, 5_000))) if target.is_echo else _script(kind, key),
        )
        method, path = ("PUT" if kind == "idempotent write" else "POST"), ("/" if target.is_echo else "/script")
        began, answer = time.monotonic(), None
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            answer = await self.fleet.call(
                target.installed, path, method=method, body=body, headers={"x-request-id": request_id}
            )
        made = _made(kind, request_id, answer, began=began, body=body, key=key)
        self.calls.append(made)
        return made


async def install(fleet: TestFleet) -> list[Target]:
    """Both extensions for every tenant, called once."""
    echo = await fleet.publish(build.component("echo"))
    endpoints = [
        {"method": "POST", "path": "/script", "handler": "dist/main"},
        {"method": "PUT", "path": "/script", "handler": "dist/main", "idempotent": True},
    ]
    manifest = {"api": {"endpoints": endpoints}, "capabilities": ["cap:storage.kv"]}
    script = await fleet.publish(build.component("ask-qjs"), manifest=manifest)
    targets = []
    for _ in range(TENANTS):
        tenant = await fleet.tenant("soak")
        targets += [Target(await fleet.install(tenant, echo, limits=LIMITS), True)]
        targets += [Target(await fleet.install(tenant, script, limits=LIMITS), False)]
    return targets


def judge(load: Load, faults: Faults) -> list[str]:
    """What no fault excuses: no answer, a late one, a wrong one, or a failure while nothing was broken."""
    broken = [f"{call.kind} {call.request_id} got no answer" for call in load.lost]
    limit = DEADLINE_SECONDS + LATE_SECONDS
    late = [call for call in load.calls if call.ended - call.began > limit]
    broken += [f"{call.kind} {call.request_id} was answered after {call.ended - call.began:.1f} s" for call in late]
    for call in load.calls:
        if call.is_ok or not call.status:
            continue
        at = f"{call.began - load.began:.1f} s"
        if call.status == 200 and not faults.explains(call.began, call.ended):
            broken.append(f"{call.kind} {call.request_id} at {at} was answered 200 and wrong")
        elif call.status != 200 and call.code not in FAULT_CODES:
            broken.append(f"{call.kind} {call.request_id} at {at} was answered {call.answer}")
        elif call.status != 200 and not faults.explains(call.began, call.ended):
            broken.append(f"{call.kind} {call.request_id} at {at} was answered {call.answer} while nothing was broken")
    return broken


def _script(kind: str, key: str | None) -> bytes:
    steps: list[dict[str, Any]] = [{"trap": True}] if kind == "trap" else [{"loop": True}]
    if key is not None:
        item = {"key": key, "value": "x", "encoding": "text", "createOnly": False}
        steps = [{"ask": ["storage-v2", "put", [NAMESPACE, item]]}]
    return json.dumps(steps).encode()


def _made(kind: str, request_id: str, answer: Answer | None, *, began: float, body: bytes, key: str | None) -> Made:
    ended = time.monotonic()
    if answer is None:
        return Made(kind, request_id, 0, "no answer", began, ended, False, key)
    code = answer.code if answer.status >= 400 else ""
    return Made(kind, request_id, answer.status, code, began, ended, _is_ok(kind, answer, body), key)


def _is_ok(kind: str, answer: Answer, body: bytes) -> bool:
    match kind:
        case "echo":
            return answer.status == 200 and answer.body == body
        case "trap":
            return answer.status == 502 and answer.code == "guest_trap"
        case "timeout":
            return answer.status == 504 and answer.code == "deadline_exceeded"
        case _:
            return answer.status == 200 and "ok" in answer.json()["results"][0]
