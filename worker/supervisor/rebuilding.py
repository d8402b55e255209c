"""Asking the registry process to compile a bundle again for this worker's engine.

Owns the conversation and how often it is held. The registry verifies the bundle anew and does the work once,
whichever workers ask.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict

from schemas import codec, errors, subjects
from schemas.errors import DeadlineExceeded, FleetError, Unavailable
from schemas.ids import ContentHash
from schemas.publishing import (
    PUBLISH_DEADLINE_SECONDS,
    PUBLISH_LOST_AFTER_SECONDS,
    Precompiled,
    PrecompileReply,
    PrecompileRequest,
    PublishFailed,
)
from service.clock import Clock
from service.messaging import Messaging

AGAIN_AFTER_SECONDS = 30.0
MAX_KEPT = 1_000


class Rebuilder:
    """Requests on `ext.precompile`."""

    def __init__(self, messaging: Messaging, clock: Clock) -> None:
        self._messaging, self._clock = messaging, clock
        self._asked: OrderedDict[ContentHash, float] = OrderedDict()

    async def rebuild(self, content_hash: ContentHash, fingerprint: str, *, refused_sha256: str | None = None) -> None:
        """Returns when the store has it, and not the one of `refused_sha256`. Raises Unavailable, or what the registry
        said."""
        self._claim(content_hash)
        request = codec.encode(
            PrecompileRequest(content_hash=content_hash, engine_fingerprint=fingerprint, refused_sha256=refused_sha256)
        )
        try:
            async with (
                asyncio.timeout(PUBLISH_DEADLINE_SECONDS),
                self._messaging.conversation(subjects.PRECOMPILE, request) as conversation,
            ):
                while True:
                    data = await conversation.next(PUBLISH_LOST_AFTER_SECONDS)
                    reply: PrecompileReply = codec.decode(PrecompileReply, data)
                    if isinstance(reply, Precompiled):
                        return
                    if isinstance(reply, PublishFailed):
                        raise _failed(reply)
        except (TimeoutError, DeadlineExceeded) as error:
            raise Unavailable("the extension's code cannot be prepared now", retry_after_seconds=5.0) from error

    def _claim(self, content_hash: ContentHash) -> None:
        now = self._clock.monotonic()
        if now - self._asked.get(content_hash, -AGAIN_AFTER_SECONDS) < AGAIN_AFTER_SECONDS:
            raise Unavailable("the extension's code cannot be prepared now", retry_after_seconds=5.0)
        self._asked[content_hash] = now
        self._asked.move_to_end(content_hash)
        if len(self._asked) > MAX_KEPT:
            self._asked.popitem(last=False)


def _failed(reply: PublishFailed) -> FleetError:
    error = errors.from_code(reply.code, reply.message, retry_after_seconds=reply.retry_after_seconds)
    if isinstance(error, Unavailable | errors.Corrupt):
        return error
    return Unavailable("the extension's code cannot be prepared", detail=reply.message, retry_after_seconds=5.0)
