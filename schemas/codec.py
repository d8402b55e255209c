"""Bytes and wire types: one version tag, then MessagePack, strictly typed both ways.

A message is `TAG`, one version byte, and a MessagePack document whose shape is a frozen struct of this package.
Bodies travel as raw bytes. Anything that does not decode to exactly the expected shape is refused.
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import lru_cache
from typing import Any, TypeVar, cast

import msgspec

from schemas.errors import Invalid

TAG = 0xA1
WIRE_VERSION = 1
_PREFIX = bytes((TAG, WIRE_VERSION))

T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder()


class Wire(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Base of every struct that crosses a process boundary: frozen, strict, unknown fields refused."""


class UnsupportedVersion(Invalid):
    """The sender speaks a newer wire version than this process."""


@lru_cache(maxsize=256)
def _decoder(type_: Hashable) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(type_)


def encode(message: object) -> bytes:
    """A struct as wire bytes."""
    return _PREFIX + _encoder.encode(message)


def decode(type_: type[T] | Any, data: bytes | memoryview) -> T:
    """Wire bytes as `type_` (a struct or a union of tagged structs).

    Raises UnsupportedVersion for another version, Invalid for anything that is not exactly the expected shape.
    """
    if len(data) < 2 or data[0] != TAG:
        raise Invalid("message is not in the fleet's wire format")
    if data[1] != WIRE_VERSION:
        raise UnsupportedVersion(f"message has wire version {data[1]}, this process speaks {WIRE_VERSION}")
    try:
        decoded: T = _decoder(cast(Hashable, type_)).decode(memoryview(data)[2:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid("message does not have the expected shape", detail=str(error)) from error
    return decoded
