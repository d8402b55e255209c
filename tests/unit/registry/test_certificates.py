"""X.509 chains: only an unbroken one, for code signing, from a trusted root, speaks for a publisher."""

from __future__ import annotations

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.x509.oid import ExtendedKeyUsageOID

from registry import certificates, signing
from schemas.bundle import Signature
from schemas.errors import ErrorCode, Forbidden, Unprocessable
from tests.signing_fixtures import BOUND, DAY, NOW, PUBLISHER, certificate, pem, statement

ROOT_KEY = ec.generate_private_key(ec.SECP256R1())
MIDDLE_KEY = Ed25519PrivateKey.generate()
LEAF_KEY = Ed25519PrivateKey.generate()
STRANGER = Ed25519PrivateKey.generate()
ROOT = certificate(ROOT_KEY, issuer_key=ROOT_KEY, subject="Root", authority=True)
MIDDLE = certificate(MIDDLE_KEY, issuer_key=ROOT_KEY, subject="Middle", authority=True, path_length=0)
LEAF = certificate(LEAF_KEY, issuer_key=MIDDLE_KEY, issuer="Middle")
ROOTS = certificates.load_roots(pem(ROOT).encode())


def _sign(*chain: x509.Certificate, key: signing.AuthorPrivateKey = LEAF_KEY) -> Signature:
    return signing.sign_bundle(statement(), key, chain=pem(*chain))


def _verify(signature: Signature, roots: certificates.Roots = ROOTS) -> signing.Verified:
    return signing.verify_bundle(signature, bound=BOUND, keys=(), roots=roots, now=NOW)


def _refusal(*chain: x509.Certificate, roots: certificates.Roots = ROOTS) -> str:
    with pytest.raises(Unprocessable) as refused:
        _verify(_sign(*chain), roots)
    assert refused.value.code is ErrorCode.SIGNATURE_INVALID
    return refused.value.message


@pytest.mark.parametrize("chain", [(LEAF, MIDDLE), (LEAF, MIDDLE, ROOT)])
def test_a_chain_to_a_root_verifies_with_or_without_the_root(chain: tuple[x509.Certificate, ...]) -> None:
    """Both are what tools write."""
    assert _verify(_sign(*chain)).author_key == pem(*chain)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
def test_an_ecdsa_leaf_signs_too(curve: ec.EllipticCurve) -> None:
    """Most company authorities issue no Ed25519 certificates."""
    key = ec.generate_private_key(curve)
    leaf = certificate(key, issuer_key=ROOT_KEY)
    assert _verify(_sign(leaf, key=key)).signature.algorithm == "x509"


def test_an_rsa_root_is_accepted_when_it_is_long_enough() -> None:
    """Roots are often old; 1024 bits are too old."""
    for bits, good in ((2048, True), (1024, False)):
        key = rsa.generate_private_key(65537, bits)
        root = certificate(key, issuer_key=key, subject="Root", authority=True)
        leaf = certificate(LEAF_KEY, issuer_key=key)
        if good:
            assert _verify(_sign(leaf), (root,)).author_key
        else:
            assert "not Ed25519" in _refusal(leaf, roots=(root,))


def test_a_certificate_of_another_organization_is_forbidden() -> None:
    """The publisher is the leaf's O, exactly."""
    leaf = certificate(LEAF_KEY, issuer_key=ROOT_KEY, organizations=[PUBLISHER.lower()])
    with pytest.raises(Forbidden):
        _verify(_sign(leaf))


_ANY = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE])
_NAMES = x509.NameConstraints([x509.DNSName("acme.example")], None)
_UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
BAD = {
    "no root": ((LEAF, MIDDLE), (), "does not lead to a root"),
    "missing link": ((LEAF,), ROOTS, "does not lead to a root"),
    "expired leaf": (
        (certificate(LEAF_KEY, issuer_key=ROOT_KEY, not_before=NOW - 3 * DAY, not_after=NOW - DAY),),
        ROOTS,
        "not now",
    ),
    "leaf of tomorrow": ((certificate(LEAF_KEY, issuer_key=ROOT_KEY, not_before=NOW + DAY / 2),), ROOTS, "not now"),
    "expired root": (
        (certificate(LEAF_KEY, issuer_key=ROOT_KEY),),
        (
            certificate(
                ROOT_KEY,
                issuer_key=ROOT_KEY,
                subject="Root",
                authority=True,
                not_before=NOW - 3 * DAY,
                not_after=NOW - DAY,
            ),
        ),
        "not now",
    ),
    "root's name, stranger's key": (
        (certificate(LEAF_KEY, issuer_key=STRANGER),),
        ROOTS,
        "does not lead to a root",
    ),
    "broken link": (
        (certificate(LEAF_KEY, issuer_key=STRANGER, issuer="Middle"), MIDDLE),
        ROOTS,
        "does not verify",
    ),
    "leaf as an authority": (
        (certificate(LEAF_KEY, issuer_key=MIDDLE_KEY, issuer=PUBLISHER), certificate(MIDDLE_KEY, issuer_key=ROOT_KEY)),
        ROOTS,
        "not a certificate authority",
    ),
    "path length": (
        (
            certificate(LEAF_KEY, issuer_key=STRANGER, issuer="Lower"),
            certificate(STRANGER, issuer_key=MIDDLE_KEY, subject="Lower", issuer="Middle", authority=True),
            MIDDLE,
        ),
        ROOTS,
        "may not have another one below it",
    ),
    "authority as a leaf": (
        (certificate(LEAF_KEY, issuer_key=ROOT_KEY, authority=True),),
        ROOTS,
        "no certificate authority",
    ),
    "TLS certificate": ((certificate(LEAF_KEY, issuer_key=ROOT_KEY, code_signing=False),), ROOTS, "code signing"),
    "any purpose": (
        (certificate(LEAF_KEY, issuer_key=ROOT_KEY, code_signing=False, extra=[(_ANY, False)]),),
        ROOTS,
        "code signing",
    ),
    "no signatures": (
        (certificate(LEAF_KEY, issuer_key=ROOT_KEY, digital_signature=False),),
        ROOTS,
        "digital signatures",
    ),
    "two organizations": (
        (certificate(LEAF_KEY, issuer_key=ROOT_KEY, organizations=[PUBLISHER, "B"]),),
        ROOTS,
        "2 organization names",
    ),
    "no organization": ((certificate(LEAF_KEY, issuer_key=ROOT_KEY, organizations=[]),), ROOTS, "0 organization names"),
    "name constraints": (
        (certificate(LEAF_KEY, issuer_key=ROOT_KEY, extra=[(_NAMES, False)]),),
        ROOTS,
        "not supported",
    ),
    "unknown critical extension": (
        (certificate(LEAF_KEY, issuer_key=ROOT_KEY, extra=[(_UNKNOWN, True)]),),
        ROOTS,
        "not supported",
    ),
    "six certificates": ((LEAF, *[MIDDLE] * 5), ROOTS, "over the limit of 5"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_chain_that_does_not_hold_is_refused(what: str) -> None:
    """Each rule of a path, broken alone."""
    chain, roots, says = BAD[what]
    assert says in _refusal(*chain, roots=roots)


def test_a_weak_hash_is_refused() -> None:
    """Shorter than SHA-256 is refused; SHA-1 the library will not even sign with."""
    assert "sha224" in _refusal(certificate(LEAF_KEY, issuer_key=ROOT_KEY, algorithm=hashes.SHA224()))


def test_the_signature_must_be_the_leafs() -> None:
    """A chain is public; without its key it signs nothing."""
    with pytest.raises(Unprocessable, match="does not verify"):
        _verify(msgspec.structs.replace(_sign(LEAF, MIDDLE, key=STRANGER), key_id=_sign(LEAF, MIDDLE).key_id))


@pytest.mark.parametrize(
    "chain", ["", "not pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", None]
)
def test_a_chain_that_is_none_is_refused(chain: str | None) -> None:
    """Absent, empty or unreadable."""
    signature = msgspec.structs.replace(_sign(LEAF, MIDDLE), chain=chain)
    with pytest.raises(Unprocessable) as refused:
        _verify(signature)
    assert refused.value.code is ErrorCode.SIGNATURE_INVALID
