"""What a signature covers, whose keys count, and verification: of authors' bundles and of load records.

Owns no key: publishers' keys come from Postgres, roots from the trust bundle, the build key from the registry process,
all handed in. Holds no state and needs only `schemas` and `registry/certificates.py`: the worker borrows this file.
A refused author is Unprocessable (signature_invalid); a load record that does not hold is Corrupt.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurve, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from registry import certificates
from registry.certificates import AuthorPublicKey, Roots
from schemas import bundle
from schemas.bundle import LoadRecord, Signature, SignedLoadRecord, Statement
from schemas.errors import Corrupt, ErrorCode, FleetError, Forbidden, Invalid, Unprocessable
from schemas.ids import ContentHash

ED25519 = "ed25519"
X509 = "x509"
ALGORITHMS = (ED25519, X509)
MAX_LOAD_RECORD_BYTES = 256 * 1024
MAX_CLOCK_SKEW = timedelta(minutes=5)

AuthorPrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey
BuildKeys = Mapping[str, Ed25519PublicKey]
"""The public build keys by key id; several while one replaces another."""


class PublisherKey(msgspec.Struct, frozen=True, kw_only=True):
    """A row of `extension_publisher_key`, and the name of its publisher. Times are aware; None: no bound."""

    key_id: str
    publisher: str
    public_key: bytes
    """SPKI, DER."""
    not_before: datetime | None = None
    not_after: datetime | None = None
    revoked_at: datetime | None = None


class Verified(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle's signature that held. `author_key`: as a load record states it, SPKI in base64 or the PEM chain."""

    statement: Statement
    signature: Signature
    author_key: str


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement must say: the facts of the archive and of the publisher who is publishing."""

    publisher: str
    name: str
    version: str
    manifest_sha256: str
    content_hash: ContentHash


def sign_bundle(statement: Statement, key: AuthorPrivateKey, *, chain: str | None = None) -> Signature:
    """The `SIGNATURE` document: by a bare Ed25519 key, or with `chain` (PEM, leaf first) by the leaf's key."""
    data = statement.canonical()
    if isinstance(key, Ed25519PrivateKey):
        signature = key.sign(data)
    elif chain is not None:
        signature = key.sign(data, _ecdsa(key.curve))
    else:
        raise Invalid("an ECDSA key signs only with its certificate chain; without one use an Ed25519 key")
    return Signature(
        statement=_base64(data),
        algorithm=ED25519 if chain is None else X509,
        key_id=bundle.key_id_of(spki_of(key.public_key())),
        signature=_base64(signature),
        chain=chain,
    )


def encode_signature(signature: Signature) -> bytes:
    """The bytes of a `SIGNATURE` file, without nulls."""
    return msgspec.json.encode(signature)


def check_subject(signature: Signature, content_hash: ContentHash) -> None:
    """Whether a signature speaks about this archive at all. Raises Unprocessable (signature_invalid).

    Asked before anything in the archive is judged, it makes every changed archive one and the same refusal.
    """
    signed = bundle.parse_statement(bundle.decode_base64(signature.statement, field="statement")).content_hash
    if signed != content_hash:
        raise _refused(f"the signature is about the archive {signed[:80]!r}, not {content_hash!r}")


def verify_bundle(
    signature: Signature, *, bound: Bound, keys: Iterable[PublisherKey], roots: Roots, now: datetime
) -> Verified:
    """Everything about an author's signature, at publish and at install.

    `keys`: those of any publisher with the signature's key id. Raises Unprocessable (signature_invalid), and Forbidden
    when the key is good but another publisher's.
    """
    if signature.algorithm == ED25519:
        public_key, author_key = _publisher_key(signature, bound.publisher, keys, now)
    elif signature.algorithm == X509:
        public_key, author_key = _certified_key(signature, bound.publisher, roots, now)
    else:
        raise _refused(
            f"signature algorithm {signature.algorithm[:40]!r} is not supported, use one of {', '.join(ALGORITHMS)}"
        )
    data = bundle.decode_base64(signature.statement, field="statement")
    _verify(public_key, bundle.decode_base64(signature.signature, field="signature"), data)
    statement = bundle.parse_statement(data)
    _check_binding(statement, bound, now)
    return Verified(statement=statement, signature=signature, author_key=author_key)


def check_key(key: PublisherKey, *, now: datetime) -> None:
    """Whether a publisher's key counts now. Raises Unprocessable for a revoked, expired or not yet valid one."""
    if key.revoked_at is not None and key.revoked_at <= now:
        raise _refused(f"signing key {key.key_id} was revoked on {key.revoked_at:%Y-%m-%d}")
    if key.not_before is not None and now < key.not_before:
        raise _refused(f"signing key {key.key_id} is not valid before {key.not_before:%Y-%m-%d %H:%M} UTC")
    if key.not_after is not None and now >= key.not_after:
        raise _refused(f"signing key {key.key_id} expired on {key.not_after:%Y-%m-%d %H:%M} UTC")


def load_record_of(
    verified: Verified,
    *,
    cwasm_sha256: str,
    cwasm_bytes: int,
    engine_fingerprint: str,
    built_at: datetime,
) -> LoadRecord:
    """The load record of a compiled component whose author was verified."""
    return LoadRecord(
        type=bundle.LOAD_RECORD_TYPE,
        content_hash=verified.statement.content_hash,
        cwasm_sha256=cwasm_sha256,
        cwasm_bytes=cwasm_bytes,
        engine_fingerprint=engine_fingerprint,
        statement=verified.signature.statement,
        author_algorithm=verified.signature.algorithm,
        author_signature=verified.signature.signature,
        author_key=verified.author_key,
        built_at=built_at.astimezone(UTC).strftime(bundle.ISSUED_FORMAT),
    )


def sign_load_record(record: LoadRecord, build_key: Ed25519PrivateKey) -> bytes:
    """The stored form of a load record: a SignedLoadRecord as JSON."""
    data = record.canonical()
    signed = SignedLoadRecord(
        record=_base64(data),
        key_id=bundle.key_id_of(spki_of(build_key.public_key())),
        signature=_base64(build_key.sign(data)),
    )
    return msgspec.json.encode(signed)


def verify_load_record(
    data: bytes, *, build_keys: BuildKeys, content_hash: ContentHash, engine_fingerprint: str
) -> LoadRecord:
    """What a load may trust: the build key's signature, then the author's with the key in the record, then the names.

    Raises Corrupt for anything else. The caller still compares the cwasm with `cwasm_sha256` and `cwasm_bytes`.
    """
    with _corrupt():
        if len(data) > MAX_LOAD_RECORD_BYTES:
            raise _refused(f"load record is {len(data)} bytes, over the limit of {MAX_LOAD_RECORD_BYTES}")
        signed = msgspec.json.decode(data, type=SignedLoadRecord)
        raw = bundle.decode_base64(signed.record, field="record")
        if signed.key_id not in build_keys:
            raise _refused("load record is signed with a build key that is not trusted here")
        _verify(build_keys[signed.key_id], bundle.decode_base64(signed.signature, field="signature"), raw)
        record = msgspec.json.decode(raw, type=LoadRecord)
        if record.canonical() != raw or record.type != bundle.LOAD_RECORD_TYPE:
            raise _refused("load record is not in canonical form")
        if (record.content_hash, record.engine_fingerprint) != (content_hash, engine_fingerprint):
            raise _refused("load record is another bundle's or another engine's")
        _check_author(record)
        return record


def load_private_key(pem: bytes, *, password: bytes | None = None) -> AuthorPrivateKey:
    """An Ed25519 or ECDSA private key, PEM PKCS8. Raises Invalid."""
    try:
        key = serialization.load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Invalid("not a private key in PEM form, or the wrong password") from error
    if not isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey):
        raise Invalid("the private key must be Ed25519 or ECDSA")
    return key


def load_build_key(pem: bytes) -> Ed25519PrivateKey:
    """The platform's build key, PEM PKCS8. Raises Invalid."""
    key = load_private_key(pem)
    if not isinstance(key, Ed25519PrivateKey):
        raise Invalid("the build key must be Ed25519")
    return key


def load_public_key(text: str | bytes) -> Ed25519PublicKey:
    """An Ed25519 public key: PEM, or the SPKI in DER or in base64. Raises Invalid."""
    raw = text.encode() if isinstance(text, str) else text
    try:
        if raw.lstrip().startswith(b"-----BEGIN"):
            key = serialization.load_pem_public_key(raw)
        else:
            key = serialization.load_der_public_key(
                raw if raw.startswith(b"\x30") else base64.b64decode(raw, None, True)
            )
    except (ValueError, TypeError, binascii.Error, UnsupportedAlgorithm) as error:
        raise Invalid("public_key is not an SPKI in PEM, DER or base64") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Invalid("public_key must be Ed25519")
    return key


def build_keys_of(pems: Iterable[bytes]) -> dict[str, Ed25519PublicKey]:
    """The trusted build keys by key id. Raises Invalid."""
    keys = [load_public_key(pem) for pem in pems]
    return {bundle.key_id_of(spki_of(key)): key for key in keys}


def spki_of(key: AuthorPublicKey) -> bytes:
    """SubjectPublicKeyInfo, DER."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def _publisher_key(
    signature: Signature, publisher: str, keys: Iterable[PublisherKey], now: datetime
) -> tuple[AuthorPublicKey, str]:
    key = next((key for key in keys if key.key_id == signature.key_id), None)
    if key is None:
        raise _refused(f"signing key {signature.key_id[:40]!r} is not registered for any publisher")
    if key.publisher != publisher:
        raise Forbidden(f"signing key {key.key_id} belongs to another publisher than {publisher!r}")
    if bundle.key_id_of(key.public_key) != key.key_id:
        raise _refused(f"signing key {key.key_id} does not have this key id")
    check_key(key, now=now)
    with _refusals():
        return load_public_key(key.public_key), _base64(key.public_key)


def _certified_key(signature: Signature, publisher: str, roots: Roots, now: datetime) -> tuple[AuthorPublicKey, str]:
    if signature.chain is None:
        raise _refused("an x509 signature needs its certificate chain in the field chain")
    leaf = certificates.verify_chain(signature.chain, roots=roots, now=now)
    if leaf.publisher != publisher:
        raise Forbidden(f"the signing certificate is {leaf.publisher[:80]!r}'s, not {publisher!r}'s")
    if bundle.key_id_of(leaf.spki) != signature.key_id:
        raise _refused("key_id is not that of the signing certificate's key")
    return leaf.public_key, signature.chain


def _check_binding(statement: Statement, bound: Bound, now: datetime) -> None:
    for field in bound.__struct_fields__:
        if getattr(statement, field) != getattr(bound, field):
            raise _refused(
                f"the signed statement has {field} {getattr(statement, field)[:80]!r}, "
                f"the bundle {getattr(bound, field)[:80]!r}"
            )
    with _refusals():
        issued = datetime.strptime(statement.issued, bundle.ISSUED_FORMAT).replace(tzinfo=UTC)
    if issued > now + MAX_CLOCK_SKEW:
        raise _refused(f"the signed statement was issued in the future, at {statement.issued}")


def _check_author(record: LoadRecord) -> None:
    data = bundle.decode_base64(record.statement, field="statement")
    if bundle.parse_statement(data).content_hash != record.content_hash:
        raise _refused("the author's statement is about another bundle")
    if record.author_algorithm == X509:
        key: AuthorPublicKey = certificates.leaf_key(record.author_key)
    else:
        key = load_public_key(bundle.decode_base64(record.author_key, field="author_key"))
    _verify(key, bundle.decode_base64(record.author_signature, field="author_signature"), data)


def _verify(key: AuthorPublicKey, signature: bytes, data: bytes) -> None:
    with _refusals():
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, data)
        else:
            key.verify(signature, data, _ecdsa(key.curve))


def _ecdsa(curve: EllipticCurve) -> ECDSA:
    return ECDSA(hashes.SHA256() if isinstance(curve, SECP256R1) else hashes.SHA384())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@contextmanager
def _refusals() -> Iterator[None]:
    """What `cryptography` and our own parsers raise about an author's signature, as signature_invalid."""
    try:
        yield
    except InvalidSignature as error:
        raise _refused("the signature does not verify") from error
    except (ValueError, TypeError, UnsupportedAlgorithm, Invalid) as error:
        raise _refused("the signature, its key or its statement is not valid", detail=str(error)) from error


@contextmanager
def _corrupt() -> Iterator[None]:
    """Whatever is wrong with a load record: stored bytes are not what was signed."""
    try:
        yield
    except FleetError as error:
        raise Corrupt(f"load record: {error.message}", detail=error.detail) from error
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Corrupt("load record does not have the expected fields", detail=str(error)) from error


def _refused(message: str, *, detail: str | None = None) -> Unprocessable:
    return Unprocessable(message, code=ErrorCode.SIGNATURE_INVALID, detail=detail)
