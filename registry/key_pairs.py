"""New Ed25519 key pairs in PEM, for authors and for the platform. Uses of keys are `registry/signing.py`'s."""

from __future__ import annotations

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from schemas.bundle import key_id_of


class KeyPair(msgspec.Struct, frozen=True, kw_only=True):
    """PKCS8 and SPKI in PEM; `key_id` as signatures name the key."""

    private_pem: bytes
    public_pem: bytes
    key_id: str


def generate() -> KeyPair:
    key = Ed25519PrivateKey.generate()
    public = key.public_key()
    return KeyPair(
        private_pem=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        public_pem=public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        key_id=key_id_of(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    )
