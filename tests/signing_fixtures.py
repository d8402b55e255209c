"""Real keys, certificates and signed statements for the tests of signing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from registry import signing
from registry.signing import Bound, PublisherKey
from schemas.bundle import STATEMENT_TYPE, Statement, key_id_of
from schemas.ids import ContentHash

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
DAY = timedelta(days=1)
PUBLISHER = "Acme Software GmbH"
BOUND = Bound(
    publisher=PUBLISHER,
    name="com.acme.reports",
    version="1.2.*",
    manifest_sha256="ab" * 32,
    content_hash=ContentHash(f"sha256:{'cd' * 32}"),
)
PrivateKey = Ed25519PrivateKey | EllipticCurvePrivateKey | RSAPrivateKey


def statement(bound: Bound = BOUND, *, issued: str = "2026-11-22T11:59:00Z") -> Statement:
    return Statement(
        type=STATEMENT_TYPE,
        issued=issued,
        publisher=bound.publisher,
        name=bound.name,
        version=bound.version,
        manifest_sha256=bound.manifest_sha256,
        content_hash=bound.content_hash,
    )


def publisher_key(
    key: Ed25519PrivateKey,
    *,
    publisher: str = PUBLISHER,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    revoked_at: datetime | None = None,
) -> PublisherKey:
    spki = signing.spki_of(key.public_key())
    return PublisherKey(
        key_id=key_id_of(spki),
        publisher=publisher,
        public_key=spki,
        not_before=not_before,
        not_after=not_after,
        revoked_at=revoked_at,
    )


def certificate(
    key: PrivateKey,
    *,
    issuer_key: PrivateKey,
    issuer: str = "Root",
    subject: str = PUBLISHER,
    organizations: Sequence[str] | None = None,
    authority: bool = False,
    path_length: int | None = None,
    code_signing: bool = True,
    digital_signature: bool = True,
    not_before: datetime = NOW - DAY,
    not_after: datetime = NOW + DAY,
    algorithm: hashes.HashAlgorithm | None = None,
    extra: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> x509.Certificate:
    """One certificate. A name is a common name and one organization, unless `organizations` says otherwise."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(_name(subject, [subject] if organizations is None else organizations))
        .issuer_name(_name(issuer, [issuer]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(not_before)
        .not_valid_after(not_after)
        .add_extension(
            x509.BasicConstraints(ca=authority, path_length=path_length if authority else None), critical=True
        )
        .add_extension(
            _usage(digital_signature=digital_signature and not authority, authority=authority), critical=True
        )
    )
    if code_signing and not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
    for extension, critical in extra:
        builder = builder.add_extension(extension, critical=critical)
    if not isinstance(issuer_key, Ed25519PrivateKey):
        return builder.sign(issuer_key, algorithm or hashes.SHA256())  # type: ignore[arg-type]
    return builder.sign(issuer_key, None)


def pem(*certificates: x509.Certificate) -> str:
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in certificates)


def _name(common: str, organizations: Sequence[str]) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    return x509.Name(attributes + [x509.NameAttribute(NameOID.ORGANIZATION_NAME, text) for text in organizations])


def _usage(*, digital_signature: bool, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
