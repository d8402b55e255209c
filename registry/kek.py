"""Key-encryption keys: the file that holds them, and the envelope `aes-256-gcm:v1` around an install's secrets.

Owns the bytes of an envelope and the KEK file; which install has which envelope is `registry/secrets.py`'s.

An envelope has its own random data key, which encrypts one text once. The data key is wrapped under a key derived
from the KEK and a random salt of the envelope, so that no two wraps share a key and nonces cannot repeat under one,
however many envelopes there are. Both ciphers authenticate the tenant, the install and the secrets version: an
envelope moved to another row does not open.

    VERSION 1 | salt 32 | wrapped data key 32 + 16 | nonce 12 | ciphertext + 16       (base64 in the column)

KEK file, mode 0600: {"format": "alga.kek.v1", "active": "<id>", "keys": {"<id>": "<base64 of 32 bytes>"}}. New
envelopes use the active key, older ones name theirs, so a rotated key stays in the file until nothing names it.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from pathlib import Path
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from schemas.errors import ErrorCode, Invalid, Unavailable

ALGORITHM: Final = "aes-256-gcm:v1"
FILE_FORMAT: Final = "alga.kek.v1"
KEY_BYTES, SALT_BYTES, NONCE_BYTES, TAG_BYTES = 32, 32, 12, 16
_VERSION: Final = 1
_WRAPPED_BYTES = KEY_BYTES + TAG_BYTES
_HEAD_BYTES = 1 + SALT_BYTES + _WRAPPED_BYTES + NONCE_BYTES
_ZERO_NONCE = bytes(NONCE_BYTES)
"""A wrapping key is derived for one wrap only, so its nonce may be fixed."""


class KekFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The document on disk; keys are base64."""

    format: str
    active: str
    keys: dict[str, str]


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """What an envelope belongs to; authenticated, not stored in it."""

    tenant: str
    install: str
    version: str

    def associated(self) -> bytes:
        parts = [part.encode() for part in (ALGORITHM, self.tenant, self.install, self.version)]
        return b"".join(len(part).to_bytes(4) + part for part in parts)


class DataKey(msgspec.Struct, frozen=True):
    """An unwrapped data key, kept apart from its envelope so that it can be cached for a while."""

    key: bytes


class KeyRing:
    """The KEKs of this process; never prints them."""

    def __init__(self, keys: dict[str, bytes], *, active: str) -> None:
        if active not in keys:
            raise Invalid(f"KEK file: the active key {active[:40]!r} is not among its keys")
        for key_id, key in keys.items():
            if len(key) != KEY_BYTES:
                raise Invalid(f"KEK file: key {key_id[:40]!r} has {len(key)} bytes, not {KEY_BYTES}")
        self._keys, self.active = dict(keys), active

    def __repr__(self) -> str:
        return f"KeyRing({sorted(self._keys)}, active={self.active!r})"

    def seal(self, plaintext: bytes, binding: Binding) -> tuple[str, str]:
        """The envelope's text and the id of the KEK it is wrapped under."""
        salt, data_key, nonce = os.urandom(SALT_BYTES), os.urandom(KEY_BYTES), os.urandom(NONCE_BYTES)
        wrapped = self._wrapper(self.active, salt).encrypt(_ZERO_NONCE, data_key, binding.associated())
        ciphertext = AESGCM(data_key).encrypt(nonce, plaintext, binding.associated())
        envelope = bytes((_VERSION,)) + salt + wrapped + nonce + ciphertext
        return base64.b64encode(envelope).decode(), self.active

    def unwrap(self, envelope: str, key_id: str, binding: Binding) -> DataKey:
        """The data key of an envelope. Raises Unavailable when the KEK is not here or the envelope is not ours."""
        raw = _parse(envelope)
        salt, wrapped = raw[1 : 1 + SALT_BYTES], raw[1 + SALT_BYTES : 1 + SALT_BYTES + _WRAPPED_BYTES]
        try:
            return DataKey(self._wrapper(key_id, salt).decrypt(_ZERO_NONCE, wrapped, binding.associated()))
        except InvalidTag as error:
            raise _unreadable("the data key does not authenticate") from error

    def _wrapper(self, key_id: str, salt: bytes) -> AESGCM:
        key = self._keys.get(key_id)
        if key is None:
            raise _unreadable(f"KEK {key_id[:40]!r} is not in the KEK file")
        derived = HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=salt, info=b"alga.secrets.wrap.v1").derive(key)
        return AESGCM(derived)


def open_envelope(envelope: str, data_key: DataKey, binding: Binding) -> bytes:
    """The plaintext. Raises Unavailable when the envelope was changed or belongs to another install or version."""
    raw = _parse(envelope)
    nonce, ciphertext = raw[_HEAD_BYTES - NONCE_BYTES : _HEAD_BYTES], raw[_HEAD_BYTES:]
    try:
        return AESGCM(data_key.key).decrypt(nonce, ciphertext, binding.associated())
    except InvalidTag as error:
        raise _unreadable("the envelope does not authenticate") from error


def generate(path: Path, *, key_id: str) -> KeyRing:
    """Write a new KEK file with one key, mode 0600. Raises Invalid when the file exists."""
    key = os.urandom(KEY_BYTES)
    document = KekFile(format=FILE_FORMAT, active=key_id, keys={key_id: base64.b64encode(key).decode()})
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise Invalid(f"KEK file {path} exists already") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(document))
        file.flush()
        os.fsync(file.fileno())
    return KeyRing({key_id: key}, active=key_id)


def load(path: Path) -> KeyRing:
    """The key ring of a KEK file. Raises Invalid when it is missing, readable by others, or malformed."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_bytes()
    except OSError as error:
        raise Invalid(f"KEK file {path} cannot be read: {error.strerror}") from error
    if mode & 0o077:
        raise Invalid(f"KEK file {path} has mode {mode:04o}; it must be readable by its owner only (0600)")
    try:
        document = msgspec.json.decode(text, type=KekFile)
        keys = {key_id: base64.b64decode(key, validate=True) for key_id, key in document.keys.items()}
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise Invalid(f"KEK file {path} is not a document of format {FILE_FORMAT}") from error
    if document.format != FILE_FORMAT:
        raise Invalid(f"KEK file {path} has format {document.format[:40]!r}, not {FILE_FORMAT}")
    return KeyRing(keys, active=document.active)


def _parse(envelope: str) -> bytes:
    try:
        raw = base64.b64decode(envelope, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _unreadable("the envelope is not base64") from error
    if len(raw) < _HEAD_BYTES + TAG_BYTES or raw[0] != _VERSION:
        raise _unreadable(f"the envelope is not {ALGORITHM}")
    return raw


def _unreadable(detail: str) -> Unavailable:
    return Unavailable(
        "stored secrets cannot be decrypted now",
        code=ErrorCode.DEPENDENCY_UNAVAILABLE,
        detail=detail,
        retry_after_seconds=5,
    )
