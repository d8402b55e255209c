"""Bodies of requests: bounded in bytes and in time, counted as they arrive, never decompressed.

The framework has no read time-outs (hazards F43): after a grace a body must come at 1 kB/s or more. Who is allowed
to be heard at all was settled before anything here runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from aiohttp import HttpVersion11, web

from schemas.errors import Invalid, TooLarge

MIN_BYTES_PER_SECOND = 1000
GRACE_SECONDS = 10.0
LONGEST_SECONDS = 300.0
"""However steadily it comes, no body takes longer than this."""


def check_length(request: web.BaseRequest, *, limit: int) -> None:
    """Refuse a body that announces itself as too large before a byte of it is read."""
    length = request.content_length
    if length is not None and length > limit:
        raise TooLarge(f"request body is {length} bytes, over the limit of {limit}")


async def read(request: web.BaseRequest, *, limit: int) -> bytes | None:
    """The whole body, None when there is none. Raises TooLarge, or Invalid for a slow or malformed one."""
    content = request.content
    if content.at_eof():
        return None
    check_length(request, limit=limit)
    if content.is_eof() and content.total_bytes <= limit and content.exception() is None:
        return content.read_nowait() or None
    return b"".join([chunk async for chunk in chunks(request, limit=limit)]) or None


async def chunks(request: web.BaseRequest, *, limit: int) -> AsyncIterator[bytes]:
    """The body as it arrives, at most `limit` bytes in all."""
    await _invite(request)
    started, received = asyncio.get_running_loop().time(), 0
    while True:
        until = min(started + GRACE_SECONDS + received / MIN_BYTES_PER_SECOND, started + LONGEST_SECONDS)
        chunk = await _next(request, until)
        if not chunk:
            return
        received += len(chunk)
        if received > limit:
            raise TooLarge(f"request body is over the limit of {limit} bytes")
        yield chunk


async def leave_uninvited(_: web.Request) -> None:
    """For routes, in place of the framework's own answer to `Expect`: nobody is asked for a body before he is heard."""


async def _invite(request: web.BaseRequest) -> None:
    """Ask for the body of a caller who waits to be asked."""
    expects = request.version >= HttpVersion11 and request.headers.get("expect", "").lower() == "100-continue"
    if expects and not request.content.total_bytes:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.writer.output_size = 0


async def _next(request: web.BaseRequest, until: float) -> bytes:
    try:
        async with asyncio.timeout_at(until):
            return await request.content.readany()
    except TimeoutError:
        raise Invalid(f"request body came slower than {MIN_BYTES_PER_SECOND} bytes per second") from None
    except web.RequestPayloadError as error:
        raise Invalid("request body is not framed as HTTP says", detail=str(error)) from error
