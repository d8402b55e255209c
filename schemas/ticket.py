"""Tickets: the signed identity of one install, and the signed statement of a user. Bytes and fields, no keys.

`VERSION (1) | key id (8) | Ed25519 signature (64) | payload (JSON)`; the signature covers the domain, the version
byte, the key id and the payload. `service/tickets.py` mints and verifies.
"""

from __future__ import annotations

from typing import Final, TypeVar

import msgspec
import orjson

from schemas.call import User
from schemas.errors import Unauthenticated
from schemas.ids import ContentHash, InstallId, RegistryId, TenantId, VersionId
from schemas.invocation import Limits

T = TypeVar("T")

VERSION: Final = 1
KEY_ID_BYTES: Final = 8
SIGNATURE_BYTES: Final = 64
HEAD_BYTES: Final = 1 + KEY_ID_BYTES + SIGNATURE_BYTES
MAX_BYTES: Final = 32 * 1024
TICKET_DOMAIN: Final = b"alga.ticket.v1\0"
USER_DOMAIN: Final = b"alga.user.v1\0"
MARGIN_SECONDS: Final = 60
"""A ticket lives as long as the longest deadline of its trigger and this."""


class Ticket(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who runs, and what it may do. Times in Unix seconds."""

    tenant: TenantId
    install: InstallId
    registry: RegistryId
    version_id: VersionId
    name: str
    version: str
    content_hash: ContentHash
    grants: frozenset[str]
    egress: tuple[str, ...]
    limits: Limits
    issued: int
    expires: int
    shard: int


class UserStatement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A front's word that this user is behind this one invocation."""

    tenant: TenantId
    install: InstallId
    invocation: str
    user: User
    expires: int


class Sealed(msgspec.Struct, frozen=True):
    """A signed statement taken apart, not yet verified. `signed` is what the signature covers, without the domain."""

    key_id: bytes
    signature: bytes
    payload: bytes

    @property
    def signed(self) -> bytes:
        return bytes((VERSION,)) + self.key_id + self.payload


def pack(sealed: Sealed) -> bytes:
    return bytes((VERSION,)) + sealed.key_id + sealed.signature + sealed.payload


def unpack(data: bytes) -> Sealed:
    """Raises Unauthenticated for anything that cannot be a statement of ours."""
    if not HEAD_BYTES < len(data) <= MAX_BYTES:
        raise Unauthenticated(f"ticket is {len(data)} bytes, not {HEAD_BYTES + 1} to {MAX_BYTES}")
    if data[0] != VERSION:
        raise Unauthenticated(f"ticket has version {data[0]}, not {VERSION}")
    return Sealed(data[1:9], data[9:HEAD_BYTES], data[HEAD_BYTES:])


def encode_payload(statement: Ticket | UserStatement) -> bytes:
    return orjson.dumps(msgspec.to_builtins(statement), option=orjson.OPT_SORT_KEYS)


def decode_ticket(payload: bytes) -> Ticket:
    return _decode(Ticket, payload)


def decode_user(payload: bytes) -> UserStatement:
    return _decode(UserStatement, payload)


def _decode(type_: type[T], payload: bytes) -> T:
    try:
        return msgspec.convert(orjson.loads(payload), type_)
    except (orjson.JSONDecodeError, msgspec.ValidationError) as error:
        raise Unauthenticated("ticket does not have the expected fields", detail=str(error)) from error
