"""Asking the registry process to publish a staged upload, and listening until it has.

Owns the conversation on `ext.publish`; the pipeline is `registry/publishing.py`'s.
"""

from __future__ import annotations

from schemas import codec, errors, subjects
from schemas.errors import DeadlineExceeded, ErrorCode, Unavailable
from schemas.publishing import (
    PUBLISH_DEADLINE_SECONDS,
    PUBLISH_LOST_AFTER_SECONDS,
    Published,
    PublishFailed,
    PublishReply,
    PublishRequest,
)
from service.clock import Clock
from service.messaging import Conversation, Messaging, NoResponders


async def publish(messaging: Messaging, request: PublishRequest, *, clock: Clock) -> Published:
    """The published version. Raises what the pipeline answered, or Unavailable when nobody answers."""
    until = clock.monotonic() + PUBLISH_DEADLINE_SECONDS
    try:
        async with messaging.conversation(subjects.PUBLISH, codec.encode(request)) as conversation:
            return await _listen(conversation, until, clock)
    except NoResponders as error:
        raise Unavailable("the publish service is not running", retry_after_seconds=5) from error


async def _listen(conversation: Conversation, until: float, clock: Clock) -> Published:
    while True:
        left = until - clock.monotonic()
        try:
            reply: PublishReply = codec.decode(
                PublishReply, await conversation.next(min(left, PUBLISH_LOST_AFTER_SECONDS))
            )
        except DeadlineExceeded:
            if left <= PUBLISH_LOST_AFTER_SECONDS:
                raise DeadlineExceeded(f"publishing took longer than {PUBLISH_DEADLINE_SECONDS:.0f} s") from None
            raise Unavailable(
                "the publish service stopped answering; finalize again with the same key",
                code=ErrorCode.DEPENDENCY_UNAVAILABLE,
                retry_after_seconds=5,
            ) from None
        match reply:
            case Published():
                return reply
            case PublishFailed():
                raise errors.from_code(
                    reply.code, reply.message, retry_after_seconds=reply.retry_after_seconds, extra=reply.extra
                )
