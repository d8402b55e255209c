"""Typed identifiers and the fixed tokens made of them.

Owns the spelling of ids. Whether an id exists is the registry's to say.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import time
import uuid
from typing import NewType

from schemas.errors import Invalid

TenantId = NewType("TenantId", str)
InstallId = NewType("InstallId", str)
RegistryId = NewType("RegistryId", str)
VersionId = NewType("VersionId", str)
InvocationId = NewType("InvocationId", str)
PublisherId = NewType("PublisherId", str)
WorkerId = NewType("WorkerId", str)
ContentHash = NewType("ContentHash", str)
"""`sha256:` and 64 lower-case hex digits: the name of a bundle by its bytes."""
Token = NewType("Token", str)
"""26 characters of lower-case base32: an id as it may stand in a subject."""

TOKEN_LENGTH = 26
_TENANT = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_HASH = re.compile(r"(?:sha256:)?([0-9a-f]{64})", re.ASCII)
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)


def parse_tenant(text: str, *, field: str = "tenant") -> TenantId:
    """A tenant id: 1-64 of `[A-Za-z0-9._-]`, not dots only, since it stands in store paths."""
    if not _TENANT.fullmatch(text) or not text.strip("."):
        raise Invalid(f"{field} must be 1 to 64 of A-Z a-z 0-9 . _ - and not only dots, not {text[:80]!r}")
    return TenantId(text)


def parse_uuid(text: str, *, field: str) -> str:
    """A UUID in its canonical lower-case form."""
    lowered = text.lower()
    if not _UUID.fullmatch(lowered):
        raise Invalid(f"{field} must be a UUID, not {text[:80]!r}")
    return lowered


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text.lower()) is not None


def parse_content_hash(text: str, *, field: str = "content_hash") -> ContentHash:
    """`sha256:<64 hex>`, or the bare hex that upload calls use."""
    match = _HASH.fullmatch(text)
    if match is None:
        raise Invalid(f"{field} must be sha256: and 64 lower-case hex digits, not {text[:80]!r}")
    return ContentHash(f"sha256:{match[1]}")


def content_hash_of(data: bytes) -> ContentHash:
    return ContentHash(f"sha256:{hashlib.sha256(data).hexdigest()}")


def hex_of(content_hash: ContentHash) -> str:
    return content_hash.removeprefix("sha256:")


def is_request_id(text: str) -> bool:
    return _REQUEST_ID.fullmatch(text) is not None


def token(text: str) -> Token:
    """The fixed-length stand-in of an id in subjects: no raw id ever enters one."""
    digest = hashlib.sha256(text.encode()).digest()
    return Token(base64.b32encode(digest).decode().lower()[:TOKEN_LENGTH])


def new_id() -> str:
    """A random UUID for a row."""
    return str(uuid.uuid4())


def uuid7() -> str:
    """A UUIDv7 (RFC 9562): millisecond time in front, so that rows of one time lie together."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10))
    value = (
        (milliseconds & (1 << 48) - 1) << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & (1 << 62) - 1
    )
    return str(uuid.UUID(int=value))


def new_invocation_id() -> InvocationId:
    return InvocationId(uuid7())
