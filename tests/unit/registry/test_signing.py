"""Signatures: only the right key, at the right time, over exactly this bundle; load records hold or are corrupt."""

from __future__ import annotations

import base64
from datetime import datetime

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry import key_pairs, signing
from registry.signing import Bound, PublisherKey
from schemas import bundle
from schemas.bundle import LoadRecord, Signature
from schemas.errors import Corrupt, ErrorCode, Forbidden, Invalid, Unprocessable
from schemas.ids import ContentHash
from tests.signing_fixtures import BOUND, DAY, NOW, PUBLISHER, publisher_key, statement

KEY = Ed25519PrivateKey.generate()
BUILD_KEY = Ed25519PrivateKey.generate()
FINGERPRINT = "0123456789abcdef"


def _verify(signature: Signature, *keys: PublisherKey, bound: Bound = BOUND, now: datetime = NOW) -> signing.Verified:
    return signing.verify_bundle(signature, bound=bound, keys=keys or (publisher_key(KEY),), roots=(), now=now)


def _refusal(signature: Signature, *keys: PublisherKey, bound: Bound = BOUND) -> str:
    with pytest.raises(Unprocessable) as refused:
        _verify(signature, *keys, bound=bound)
    assert refused.value.code is ErrorCode.SIGNATURE_INVALID
    return refused.value.message


def test_a_signature_by_a_publishers_key_verifies_over_its_document() -> None:
    """What `alga sign` writes is what publish accepts."""
    document = signing.encode_signature(signing.sign_bundle(statement(), KEY))
    verified = _verify(bundle.parse_signature(document))
    assert verified.statement == statement()
    assert base64.b64decode(verified.author_key) == signing.spki_of(KEY.public_key())


@pytest.mark.parametrize("field", Bound.__struct_fields__)
def test_a_statement_about_anything_else_is_refused(field: str) -> None:
    """Each field binds: another archive, manifest, name, version or publisher has no signature."""
    other = msgspec.structs.replace(BOUND, **{field: "other"})
    keys = (publisher_key(KEY, publisher="other"),) if field == "publisher" else ()
    message = _refusal(signing.sign_bundle(statement(), KEY), *keys, bound=other)
    assert f"has {field} " in message


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (publisher_key(KEY, revoked_at=NOW), "was revoked"),
        (publisher_key(KEY, not_after=NOW), "expired"),
        (publisher_key(KEY, not_before=NOW + DAY), "not valid before"),
        (publisher_key(Ed25519PrivateKey.generate()), "not registered"),
    ],
)
def test_a_key_that_does_not_count_now_is_refused(key: PublisherKey, says: str) -> None:
    """Revoked, expired, not yet valid, unknown."""
    assert says in _refusal(signing.sign_bundle(statement(), KEY), key)


def test_a_key_counts_within_its_bounds() -> None:
    """A later revocation and bounds around now refuse nothing."""
    bounds = publisher_key(KEY, not_before=NOW, not_after=NOW + DAY, revoked_at=NOW + DAY)
    assert _verify(signing.sign_bundle(statement(), KEY), bounds).statement.publisher == PUBLISHER


def test_another_publishers_key_is_forbidden() -> None:
    """A good signature of B means nothing on A's extension."""
    with pytest.raises(Forbidden):
        _verify(signing.sign_bundle(statement(), KEY), publisher_key(KEY, publisher="Mallory"))


def test_a_key_row_whose_id_is_not_its_keys_is_refused() -> None:
    """The key id is a digest, not a label."""
    other = publisher_key(Ed25519PrivateKey.generate())
    forged = msgspec.structs.replace(other, key_id=publisher_key(KEY).key_id)
    assert "key id" in _refusal(signing.sign_bundle(statement(), KEY), forged)


@pytest.mark.parametrize("algorithm", ["cosign", "pgp", "ED25519", "none", "", "ed25519ph"])
def test_other_algorithms_are_refused(algorithm: str) -> None:
    """Also those upstream had names for."""
    signature = msgspec.structs.replace(signing.sign_bundle(statement(), KEY), algorithm=algorithm)
    assert "is not supported" in _refusal(signature)


def test_a_statement_of_the_future_is_refused() -> None:
    """A clock five minutes off is tolerated, an hour is not."""
    assert _verify(signing.sign_bundle(statement(issued="2026-11-22T12:05:00Z"), KEY))
    assert "future" in _refusal(signing.sign_bundle(statement(issued="2026-11-22T13:00:00Z"), KEY))
    assert "not valid" in _refusal(signing.sign_bundle(statement(issued="2026-02-30T00:00:00Z"), KEY))


def test_a_statement_that_is_not_canonical_is_refused_though_signed() -> None:
    """One statement has one spelling: what is displayed is what was signed."""
    spaced = statement().canonical().replace(b'":"', b'": "')
    signature = msgspec.structs.replace(
        signing.sign_bundle(statement(), KEY),
        statement=base64.b64encode(spaced).decode(),
        signature=base64.b64encode(KEY.sign(spaced)).decode(),
    )
    assert "canonical" in _refusal(signature)


def _load_record() -> LoadRecord:
    return signing.load_record_of(
        _verify(signing.sign_bundle(statement(), KEY)),
        cwasm_sha256="ef" * 32,
        cwasm_bytes=37_000_000,
        engine_fingerprint=FINGERPRINT,
        built_at=NOW,
    )


def _load(data: bytes, *, content_hash: str = BOUND.content_hash, fingerprint: str = FINGERPRINT) -> LoadRecord:
    return signing.verify_load_record(
        data,
        build_keys=signing.build_keys_of([signing.spki_of(BUILD_KEY.public_key())]),
        content_hash=ContentHash(content_hash),
        engine_fingerprint=fingerprint,
    )


def test_a_signed_load_record_verifies() -> None:
    """What the registry stores is what a worker loads."""
    record = _load_record()
    assert _load(signing.sign_load_record(record, BUILD_KEY)) == record
    assert record.built_at == "2026-11-22T12:00:00Z"


def test_a_load_record_of_another_bundle_engine_or_build_key_is_corrupt() -> None:
    """A worker never loads what it was not asked for, or what another key vouches for."""
    stored = signing.sign_load_record(_load_record(), BUILD_KEY)
    with pytest.raises(Corrupt, match="another bundle's"):
        _load(stored, content_hash=f"sha256:{'00' * 32}")
    with pytest.raises(Corrupt, match="another engine's"):
        _load(stored, fingerprint="other")
    with pytest.raises(Corrupt, match="build key"):
        _load(signing.sign_load_record(_load_record(), KEY))


@pytest.mark.parametrize(
    "changes",
    [
        {"author_signature": base64.b64encode(bytes(64)).decode()},
        {"author_key": base64.b64encode(signing.spki_of(BUILD_KEY.public_key())).decode()},
        {"author_algorithm": "x509"},
        {"statement": base64.b64encode(statement(msgspec.structs.replace(BOUND, name="x.y")).canonical()).decode()},
        {"type": bundle.STATEMENT_TYPE},
    ],
)
def test_a_load_record_whose_author_does_not_hold_is_corrupt(changes: dict[str, str]) -> None:
    """The build key alone is not enough: the author's own signature is checked at every load."""
    record = msgspec.structs.replace(_load_record(), **changes)
    with pytest.raises(Corrupt):
        _load(signing.sign_load_record(record, BUILD_KEY))


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"null", b"\xff" * 40, b'{"x":' + b"[" * 100_000, b'{"\xe3":1}', b" " * 300_000]
)
def test_bytes_that_are_no_load_record_are_corrupt(data: bytes) -> None:
    """Whatever the store hands out."""
    with pytest.raises(Corrupt):
        _load(data)


def test_keys_are_read_in_each_form_people_have_them() -> None:
    """PEM, DER and base64 of the SPKI are one key; anything else is refused in words."""
    pair = key_pairs.generate()
    key = signing.load_build_key(pair.private_pem)
    spki = signing.spki_of(key.public_key())
    for form in (pair.public_pem, pair.public_pem.decode(), spki, base64.b64encode(spki).decode()):
        assert signing.spki_of(signing.load_public_key(form)) == spki
    for bad in ("", "not a key", pair.private_pem, b"\x30\x01", "AAAA"):
        with pytest.raises(Invalid):
            signing.load_public_key(bad)
    with pytest.raises(Invalid):
        signing.load_private_key(pair.public_pem)
