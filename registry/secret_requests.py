"""`ext.secrets`: writes of an install's secrets, asked by the gateway, which does not hold the key encryption key.

Owns the conversation. What a secret may be is `registry/secrets.py`'s, as is the audit row; who may write was decided
by the gateway. Neither names nor values are logged.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

from registry.install_changes import Announces
from registry.secrets import Secrets
from schemas import codec, subjects
from schemas.call import CallContext, Deadline, Principal, PrincipalKind
from schemas.errors import FleetError, Invalid
from schemas.install import InstallChanged
from schemas.secrets import SecretsRefused, SecretsReply, SecretsUpdate, SecretsUpdated
from service.clock import Clock
from service.messaging import Message, Messaging

log = structlog.get_logger()

CONCURRENCY = 16
DEADLINE_SECONDS = 10.0


class SecretRequests:
    """Answers the subject."""

    def __init__(self, secrets: Secrets, announcer: Announces, clock: Clock) -> None:
        self._secrets, self._announcer, self._clock = secrets, announcer, clock

    @asynccontextmanager
    async def serving(self, messaging: Messaging) -> AsyncIterator[None]:
        """Answer while the context lasts."""
        served = await messaging.serve(
            subjects.SECRETS, self._handle, queue=subjects.REGISTRY_QUEUE, concurrency=CONCURRENCY
        )
        try:
            yield
        finally:
            await served.stop(timeout_seconds=DEADLINE_SECONDS)

    async def _handle(self, message: Message) -> None:
        update: SecretsUpdate = codec.decode(SecretsUpdate, message.data)
        structlog.contextvars.bind_contextvars(request_id=update.request_id, tenant=update.tenant)
        reply: SecretsReply
        try:
            reply = await self._change(update)
        except FleetError as error:
            log.info("secrets were not changed", install=update.install, code=error.code, detail=error.detail)
            reply = SecretsRefused(code=error.code, message=error.message)
        await message.reply(codec.encode(reply))

    async def _change(self, update: SecretsUpdate) -> SecretsUpdated:
        ctx = CallContext(
            tenant=update.tenant,
            principal=Principal(kind=PrincipalKind.SERVICE, key_id=update.principal),
            request_id=update.request_id,
            deadline=Deadline.after(DEADLINE_SECONDS, now=self._clock.monotonic()),
        )
        info = await self._secrets.change(
            ctx,
            update.install,
            put=update.put,
            delete=tuple(sorted(update.delete)),
            expires_at=parse_expiry(update.expires_at),
        )
        await self._announcer.announce(InstallChanged(tenant=update.tenant, install=update.install))
        return SecretsUpdated(names=info.names, version=info.version or "")


def parse_expiry(text: str | None) -> datetime.datetime | None:
    """An RFC 3339 time with its offset. Raises Invalid."""
    if text is None:
        return None
    try:
        at = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise Invalid(f"expires_at must be an RFC 3339 time, not {text[:40]!r}") from error
    if at.tzinfo is None:
        raise Invalid(f"expires_at must say its offset from UTC, not {text[:40]!r}")
    return at
