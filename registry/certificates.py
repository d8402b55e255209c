"""X.509 chains of authors: from a code-signing leaf to a root of the operator's PEM trust bundle.

The publisher of a leaf is its subject's one organization name (O), compared exactly with the publisher's name. There
is no CRL or OCSP: a root, or a publisher's right to publish, is withdrawn by the operator. Names other libraries would
also accept are refused here when in doubt: unknown critical extensions, name constraints, weak keys and hashes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from schemas.errors import ErrorCode, Invalid, Unprocessable

MAX_CHAIN = 5
MIN_RSA_BITS = 2048
ExtensionT = TypeVar("ExtensionT", bound=x509.ExtensionType)
Roots = tuple[x509.Certificate, ...]
AuthorPublicKey = Ed25519PublicKey | EllipticCurvePublicKey
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_UNDERSTOOD = frozenset(
    {x509.BasicConstraints.oid, x509.KeyUsage.oid, x509.ExtendedKeyUsage.oid, x509.SubjectAlternativeName.oid}
)


class Leaf(msgspec.Struct, frozen=True):
    """What a verified chain says: whose it is, and the key that signs."""

    publisher: str
    public_key: AuthorPublicKey
    spki: bytes


def load_roots(pem: bytes) -> Roots:
    """The trust bundle; empty bytes are an empty bundle. Raises Unprocessable when it does not parse."""
    with _refusals("the trust bundle"):
        return tuple(x509.load_pem_x509_certificates(pem)) if pem.strip() else ()


def read_roots(file: str | None) -> Roots:
    """The trust bundle that ALGA_SIGNING_ROOTS_FILE names; none is an empty one. Raises Invalid naming the setting."""
    if file is None:
        return ()
    try:
        return load_roots(Path(file).read_bytes())
    except OSError as error:
        raise Invalid(f"setting ALGA_SIGNING_ROOTS_FILE: {file} cannot be read: {error.strerror}") from error
    except Unprocessable as error:
        raise Invalid(f"setting ALGA_SIGNING_ROOTS_FILE: {error.message}", detail=error.detail) from error


def verify_chain(pem: str, *, roots: Roots, now: datetime) -> Leaf:
    """The leaf of a chain (leaf first) that leads to one of `roots` at `now` (aware). Raises Unprocessable.

    The root itself may stand at the end of the chain or be left out.
    """
    with _refusals("the certificate chain"):
        chain = x509.load_pem_x509_certificates(pem.encode())
        if len(chain) > MAX_CHAIN:
            raise _refused(f"the certificate chain has {len(chain)} certificates, over the limit of {MAX_CHAIN}")
        path = chain if chain[-1] in roots else [*chain, _issuer_of(chain[-1], roots)]
        for certificate in path:
            _check_certificate(certificate, now)
        for depth, issuer in enumerate(path[1:]):
            _check_authority(issuer, below=depth)
            path[depth].verify_directly_issued_by(issuer)
        return _leaf(path[0])


def leaf_key(pem: str) -> AuthorPublicKey:
    """The key of the first certificate, nothing else looked at. Raises Unprocessable."""
    with _refusals("the certificate chain"):
        return _author_key(x509.load_pem_x509_certificates(pem.encode())[0])


def _issuer_of(certificate: x509.Certificate, roots: Roots) -> x509.Certificate:
    for root in roots:
        if root.subject == certificate.issuer and _is_issued_by(certificate, root):
            return root
    raise _refused("the certificate chain does not lead to a root of the trust bundle")


def _is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _check_certificate(certificate: x509.Certificate, now: datetime) -> None:
    if now < certificate.not_valid_before_utc or now > certificate.not_valid_after_utc:
        raise _refused(
            f"a certificate is valid from {certificate.not_valid_before_utc:%Y-%m-%d} "
            f"to {certificate.not_valid_after_utc:%Y-%m-%d}, not now"
        )
    algorithm = certificate.signature_hash_algorithm
    if algorithm is not None and not isinstance(algorithm, _HASHES):
        raise _refused(f"a certificate is signed with {algorithm.name}, which is too weak")
    _check_strength(certificate)
    for extension in certificate.extensions:
        if extension.oid == x509.NameConstraints.oid or (extension.critical and extension.oid not in _UNDERSTOOD):
            raise _refused(f"a certificate has the extension {extension.oid.dotted_string}, which is not supported")


def _check_strength(certificate: x509.Certificate) -> None:
    key = certificate.public_key()
    if isinstance(key, RSAPublicKey) and key.key_size >= MIN_RSA_BITS:
        return
    _author_key(certificate)


def _check_authority(issuer: x509.Certificate, *, below: int) -> None:
    """`below`: how many certificate authorities stand between this one and the leaf."""
    constraints = _extension(issuer, x509.BasicConstraints)
    usage = _extension(issuer, x509.KeyUsage)
    if constraints is None or not constraints.ca or usage is None or not usage.key_cert_sign:
        raise _refused("a certificate in the chain is not a certificate authority")
    if constraints.path_length is not None and below > constraints.path_length:
        raise _refused("a certificate authority in the chain may not have another one below it")


def _leaf(certificate: x509.Certificate) -> Leaf:
    constraints = _extension(certificate, x509.BasicConstraints)
    usage = _extension(certificate, x509.KeyUsage)
    purposes = _extension(certificate, x509.ExtendedKeyUsage)
    if (constraints is not None and constraints.ca) or usage is None or not usage.digital_signature:
        raise _refused("the signing certificate must be for digital signatures, and no certificate authority")
    if purposes is None or ExtendedKeyUsageOID.CODE_SIGNING not in purposes:
        raise _refused("the signing certificate is not for code signing")
    names = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
    if len(names) != 1:
        raise _refused(f"the signing certificate has {len(names)} organization names, not 1")
    spki = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Leaf(str(names[0].value), _author_key(certificate), spki)


def _author_key(certificate: x509.Certificate) -> AuthorPublicKey:
    key = certificate.public_key()
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1 | SECP384R1):
        return key
    raise _refused("a certificate's key is not Ed25519 or ECDSA on P-256 or P-384, nor RSA of an authority")


def _extension(certificate: x509.Certificate, kind: type[ExtensionT]) -> ExtensionT | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """What `cryptography` raises, as ours: one table."""
    try:
        yield
    except InvalidSignature as error:
        raise _refused(f"{what} has a signature that does not verify") from error
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension) as error:
        raise _refused(f"{what} is not valid", detail=str(error)) from error


def _refused(message: str, *, detail: str | None = None) -> Unprocessable:
    return Unprocessable(message, code=ErrorCode.SIGNATURE_INVALID, detail=detail)
