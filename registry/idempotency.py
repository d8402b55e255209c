"""Idempotency keys: one execution per key, its answer kept for a day and replayed.

Owns who executes and what is replayed. A key counts within (tenant, install, method, path) and is bound to the body:
the same key with another body is a conflict. The claim is a lease, not a lock: when its holder dies, the key is free
for the same body again after the lease, so two may then have executed; a door gives a key only to calls that say that
repeating them is harmless. Results of 500 and more, and failures of ours, are not kept: such a call may be tried again.

Only keyed calls touch Postgres, and they fail closed: without it nothing is executed.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog

from registry import statements
from registry.database import Database, Row
from schemas import ids
from schemas.call import CallContext
from schemas.errors import Conflict, FleetError, Invalid
from schemas.guest_http import GuestResponse
from schemas.ids import InstallId, TenantId
from schemas.invocation import Outcome, OutcomeKind
from service.clock import Clock

log = structlog.get_logger()

KEPT_SECONDS: Final = 24 * 3600
LEASE_MARGIN_SECONDS: Final = 10
"""Beyond the call's deadline, for the answer to be stored."""
MAX_BODY_BYTES: Final = 256 * 1024
MAX_KEY_CHARACTERS: Final = 255
FIRST_POLL_SECONDS: Final = 0.02
MAX_POLL_SECONDS: Final = 0.5
REAP_TENANTS: Final = 100
_SQL = statements.load("idempotency")

Execute = Callable[[], Awaitable[Outcome]]


class Scope(msgspec.Struct, frozen=True, kw_only=True):
    """What a key counts in: the authorised endpoint's canonical path, not its template. `key` as the caller gave it."""

    install: InstallId
    method: str
    path: str
    key: str

    def digest(self) -> bytes:
        parts = [part.encode() for part in (self.method, self.path, self.key)]
        return hashlib.sha256(b"".join(len(part).to_bytes(4) + part for part in parts)).digest()


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An outcome, and whether it is that of an earlier call."""

    outcome: Outcome
    is_replay: bool


def check_key(key: str) -> None:
    """1 to 255 visible ASCII characters. Raises Invalid."""
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not all("!" <= character <= "~" for character in key):
        raise Invalid(f"the idempotency key must be 1 to {MAX_KEY_CHARACTERS} visible ASCII characters")


class Idempotency:
    """The keys of all installs."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database, self._clock = database, clock

    async def once(self, ctx: CallContext, scope: Scope, body: bytes | None, execute: Execute) -> Answer:
        """Execute, or answer with what the first call with this key got, waiting for it until the deadline.

        Raises Conflict: another body, a twin that is not finished at the deadline, an answer too large to replay.
        Raises Unavailable when the keys cannot be read. What `execute` raises frees the key and is raised.
        """
        check_key(scope.key)
        body_sha256 = hashlib.sha256(b"\0" if body is None else b"\1" + body).digest()
        claim = ids.new_id()
        wait = FIRST_POLL_SECONDS
        while True:
            kept = await self._claim_or_find(ctx, scope, body_sha256, claim)
            if kept is None:
                return Answer(outcome=await self._execute(ctx.tenant, scope, claim, execute), is_replay=False)
            replay = _replay(kept, body_sha256)
            if replay is not None:
                return Answer(outcome=replay, is_replay=True)
            left = ctx.deadline.left(self._clock.monotonic())
            if left <= wait:
                raise Conflict("a call with this idempotency key is still running")
            await asyncio.sleep(wait)
            wait = min(2 * wait, MAX_POLL_SECONDS)

    async def reap(self, *, tenants: int = REAP_TENANTS) -> int:
        """Remove expired keys of up to so many tenants; how many went. Needs alga_system."""
        async with self._database.system() as connection:
            rows = await connection.fetch(_SQL.find_expired_tenants, tenants)
        removed = 0
        for row in rows:
            async with self._database.transaction(TenantId(row["tenant_id"])) as connection:
                removed += await connection.execute(_SQL.delete_expired, row["tenant_id"])
        return removed

    async def _claim_or_find(self, ctx: CallContext, scope: Scope, body_sha256: bytes, claim: str) -> Row | None:
        """None: the key is ours now. Else what is known of it."""
        lease = max(0.0, ctx.deadline.left(self._clock.monotonic())) + LEASE_MARGIN_SECONDS
        async with self._database.transaction(ctx.tenant) as connection:
            while True:
                mine = await connection.fetchval(
                    _SQL.claim,
                    ctx.tenant,
                    scope.install,
                    scope.digest(),
                    body_sha256,
                    claim,
                    lease,
                    float(KEPT_SECONDS),
                )
                if mine is not None:
                    return None
                row = await connection.fetchrow(_SQL.find, ctx.tenant, scope.install, scope.digest())
                # Gone between the two statements: its call was abandoned, and the key is free.
                if row is not None:
                    return row

    async def _execute(self, tenant: TenantId, scope: Scope, claim: str, execute: Execute) -> Outcome:
        try:
            outcome = await execute()
        except BaseException:
            await self._abandon(tenant, scope, claim)
            raise
        response = outcome.response
        if outcome.kind is OutcomeKind.COMPLETED and response is not None and response.status < 500:
            await self._finish(tenant, scope, claim, response)
        else:
            await self._abandon(tenant, scope, claim)
        return outcome

    async def _finish(self, tenant: TenantId, scope: Scope, claim: str, response: GuestResponse) -> None:
        """Keep the answer. Raises Unavailable when it cannot be kept: then the caller must not believe in its key."""
        is_kept = response.body is None or len(response.body) <= MAX_BODY_BYTES
        async with self._database.transaction(tenant) as connection:
            await connection.execute(
                _SQL.finish,
                tenant,
                scope.install,
                scope.digest(),
                claim,
                "done" if is_kept else "too_large",
                response.status,
                [list(header) for header in response.headers] if is_kept else None,
                response.body if is_kept else None,
                float(KEPT_SECONDS),
            )

    async def _abandon(self, tenant: TenantId, scope: Scope, claim: str) -> None:
        """Best effort: a key that cannot be freed now is free when its lease is over."""
        try:
            async with self._database.transaction(tenant) as connection:
                await connection.execute(_SQL.abandon, tenant, scope.install, scope.digest(), claim)
        except FleetError as error:
            log.warning("an idempotency key was not freed", tenant=tenant, code=error.code)


def _replay(row: Row, body_sha256: bytes) -> Outcome | None:
    """The kept answer; None while the first call runs. Raises Conflict."""
    if bytes(row["body_sha256"]) != body_sha256:
        raise Conflict("this idempotency key was used with another body")
    if row["state"] == "running":
        return None
    if row["state"] == "too_large":
        raise Conflict(f"the answer to this idempotency key has over {MAX_BODY_BYTES} bytes and was not kept")
    headers = tuple((name, value) for name, value in row["headers"])
    body = None if row["body"] is None else bytes(row["body"])
    response = GuestResponse(status=row["status"], headers=headers, body=body)
    return Outcome(kind=OutcomeKind.COMPLETED, response=response, executed=False)
