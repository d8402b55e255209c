"""Does an S3 server take a write? A signed PUT of a bucket and of one small object.

Owns just enough of AWS Signature Version 4 for two requests without query or special headers; the real client is
`registry/bundle_store.py`, above which this layer must not reach for a start check.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import urlsplit

import aiohttp

_PROBE_KEY = ".probe"
_ATTEMPT_SECONDS = 2
_ALREADY_THERE = 409


@dataclass(frozen=True)
class Credentials:
    access_key: str
    secret_key: str = field(repr=False)
    region: str


async def can_write(endpoint: str, credentials: Credentials, *, bucket: str) -> bool:
    """Make sure of `bucket` and write one object into it. False while the server cannot."""
    timeout = aiohttp.ClientTimeout(total=_ATTEMPT_SECONDS)
    try:
        async with aiohttp.ClientSession(endpoint, timeout=timeout) as session:
            made = await _put(session, credentials, path=f"/{bucket}", endpoint=endpoint)
            if made != 200 and made != _ALREADY_THERE:
                return False
            return await _put(session, credentials, path=f"/{bucket}/{_PROBE_KEY}", endpoint=endpoint) == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


async def _put(session: aiohttp.ClientSession, credentials: Credentials, *, path: str, endpoint: str) -> int:
    headers = sign(credentials, method="PUT", host=urlsplit(endpoint).netloc, path=path, now=datetime.now(UTC))
    async with session.put(path, headers=headers) as answer:
        return answer.status


def sign(credentials: Credentials, *, method: str, host: str, path: str, now: datetime) -> dict[str, str]:
    """Headers of a request without body and query; `path` needs no escaping."""
    stamp = now.strftime("%Y%m%dT%H%M%SZ")
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"host": host, "x-amz-content-sha256": empty, "x-amz-date": stamp}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    request = f"{method}\n{path}\n\n{lines}\n{names}\n{empty}"
    scope = f"{stamp[:8]}/{credentials.region}/s3/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = f"AWS4{credentials.secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    signature = hmac.digest(key, text.encode(), hashlib.sha256).hex()
    credential = f"Credential={credentials.access_key}/{scope}"
    return {**headers, "authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}"}
