"""Extension, version, bundle: what is published; the author's signed statement; the load record of a cwasm.

Owns the shapes and the canonical bytes that signatures cover. Keys and verification are `registry/signing.py`'s.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re

import msgspec
import orjson

from schemas.errors import ErrorCode, Unprocessable
from schemas.ids import ContentHash, hex_of

STATEMENT_TYPE = "alga.bundle.v1"
LOAD_RECORD_TYPE = "alga.load.v1"
COMPONENT_PATH = "dist/main.wasm"
MANIFEST_PATH = "manifest.json"
ISSUED_FORMAT = "%Y-%m-%dT%H:%M:%SZ"
MAX_SIGNATURE_BYTES = 64 * 1024
_ISSUED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z", re.ASCII)


class Statement(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What an author signs: this manifest, in this archive, under this name. All fields are strings."""

    content_hash: str
    issued: str
    manifest_sha256: str
    name: str
    publisher: str
    type: str
    version: str

    def canonical(self) -> bytes:
        """UTF-8 JSON, keys sorted, no white space (RFC 8785 for an object of strings)."""
        return orjson.dumps(msgspec.to_builtins(self), option=orjson.OPT_SORT_KEYS)


class Signature(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """The `SIGNATURE` document: base64 of the canonical statement and of its signature, and whose it is.

    `key_id`: first 16 hex of the SHA-256 of the key's SPKI. `chain`: PEM certificates, leaf first, for x509.
    """

    statement: str
    algorithm: str
    key_id: str
    signature: str
    chain: str | None = None


class LoadRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """Stored beside each cwasm; all that a worker reads to verify a load. Signed with the platform's build key."""

    type: str
    content_hash: str
    cwasm_sha256: str
    cwasm_bytes: int
    engine_fingerprint: str
    statement: str
    author_algorithm: str
    author_signature: str
    author_key: str
    """Base64 of the SPKI for ed25519, the PEM chain for x509."""
    built_at: str

    def canonical(self) -> bytes:
        return orjson.dumps(msgspec.to_builtins(self), option=orjson.OPT_SORT_KEYS)


class SignedLoadRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The stored form: base64 of the canonical load record, the build key's id and its signature."""

    record: str
    key_id: str
    signature: str


def key_id_of(spki: bytes) -> str:
    return hashlib.sha256(spki).hexdigest()[:16]


def bundle_key(content_hash: ContentHash) -> str:
    return f"sha256/{hex_of(content_hash)}/bundle.tar.zst"


def manifest_key(content_hash: ContentHash) -> str:
    return f"sha256/{hex_of(content_hash)}/manifest.json"


def signature_key(content_hash: ContentHash) -> str:
    return f"sha256/{hex_of(content_hash)}/SIGNATURE"


def cwasm_key(fingerprint: str, content_hash: ContentHash) -> str:
    return f"cwasm/{fingerprint}/{hex_of(content_hash)}"


def load_record_key(fingerprint: str, content_hash: ContentHash) -> str:
    return f"cwasm/{fingerprint}/{hex_of(content_hash)}.json"


def staging_key(tenant_or_publisher: str, upload: str) -> str:
    return f"tenants/{tenant_or_publisher}/_staging/{upload}/bundle.tar.zst"


def decode_base64(text: str, *, field: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Unprocessable(f"{field} is not base64", code=ErrorCode.SIGNATURE_INVALID) from error


def parse_statement(data: bytes) -> Statement:
    """The statement behind canonical bytes; refused unless re-encoding gives the same bytes."""
    try:
        statement = msgspec.json.decode(data, type=Statement)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unsigned("the signed statement is not a JSON object of the expected strings") from error
    if statement.canonical() != data:
        raise _unsigned("the signed statement is not in canonical form")
    if statement.type != STATEMENT_TYPE:
        raise _unsigned(f"the signed statement has type {statement.type[:40]!r}, not {STATEMENT_TYPE}")
    if not _ISSUED.fullmatch(statement.issued):
        raise _unsigned(f"issued must be YYYY-MM-DDTHH:MM:SSZ, not {statement.issued[:40]!r}")
    return statement


def parse_signature(data: bytes | str) -> Signature:
    """The `SIGNATURE` JSON, bounded in size."""
    raw = data.encode() if isinstance(data, str) else data
    if not 0 < len(raw) <= MAX_SIGNATURE_BYTES:
        raise _unsigned(f"signature document is {len(raw)} bytes, not 1 to {MAX_SIGNATURE_BYTES}")
    try:
        return msgspec.json.decode(raw, type=Signature)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _unsigned(
            "signature document does not have the fields statement, algorithm, key_id, signature"
        ) from error


def _unsigned(message: str) -> Unprocessable:
    return Unprocessable(message, code=ErrorCode.SIGNATURE_INVALID)
