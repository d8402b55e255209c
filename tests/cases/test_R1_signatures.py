"""R1: whatever is changed in a signed bundle, its signature or its load record, it is refused."""

from __future__ import annotations

import base64
import io
import json
import os

import msgspec
import pytest
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry import archive, packing, signing
from registry.signing import Bound, Verified
from schemas import bundle, manifest
from schemas.bundle import Signature
from schemas.errors import Corrupt, ErrorCode, Unprocessable
from tests.signing_fixtures import NOW, PUBLISHER, publisher_key, statement

pytestmark = pytest.mark.case("R1")

KEY, BUILD_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
FINGERPRINT = "0123456789abcdef"
MANIFEST = json.dumps(
    {"name": "com.acme.x", "publisher": PUBLISHER, "version": "1.0.0", "runtime": "wasm-component@1"}
).encode()
FILES = {
    "manifest.json": MANIFEST,
    "dist/main.wasm": b"\0asm" + os.urandom(4000),
    "ui/index.html": b"<!doctype html><p>Reports</p>",
    "sbom.spdx.json": b"{}",
}
PACKED = packing.pack(FILES)


def _bound(packed: bytes) -> Bound:
    """What publish knows of an archive before it looks at the signature."""
    read = archive.read(io.BytesIO(packed))
    parsed = manifest.parse(read.manifest)
    return Bound(
        publisher=parsed.publisher,
        name=parsed.name,
        version=parsed.version,
        manifest_sha256=parsed.sha256,
        content_hash=read.content_hash,
    )


BOUND = _bound(PACKED)
SIGNATURE = signing.encode_signature(signing.sign_bundle(statement(BOUND), KEY))


def _publish(packed: bytes, signature: bytes) -> Verified:
    """The checks of publish in their order: is it an archive, is the signature about it, does it hold."""
    document = bundle.parse_signature(signature)
    signing.check_subject(document, archive.read(io.BytesIO(packed)).content_hash)
    return signing.verify_bundle(document, bound=_bound(packed), keys=[publisher_key(KEY)], roots=(), now=NOW)


def _refused_as(packed: bytes, signature: bytes) -> ErrorCode:
    with pytest.raises(Unprocessable) as refused:
        _publish(packed, signature)
    return refused.value.code


def test_the_bundle_as_signed_is_accepted() -> None:
    """Else the refusals below would prove nothing."""
    assert _publish(PACKED, SIGNATURE).statement.content_hash == BOUND.content_hash


@pytest.mark.parametrize("path", FILES)
def test_one_changed_byte_in_a_file_is_refused(path: str) -> None:
    """Also in files that nobody executes."""
    data = bytearray(FILES[path])
    data[-2] ^= 1
    changed = packing.pack({**FILES, path: bytes(data)}) if path != "manifest.json" else _with_other_manifest()
    assert _refused_as(changed, SIGNATURE) is ErrorCode.SIGNATURE_INVALID


def _with_other_manifest() -> bytes:
    return packing.pack({**FILES, "manifest.json": MANIFEST.replace(b"1.0.0", b"1.0.1")})


def test_one_changed_byte_of_the_archive_itself_is_refused() -> None:
    """At every position: no byte of the container is outside the hash."""
    for at in range(0, len(PACKED), max(1, len(PACKED) // 400)):
        changed = bytearray(PACKED)
        changed[at] ^= 0x10
        assert _refused_as(bytes(changed), SIGNATURE) in (ErrorCode.SIGNATURE_INVALID, ErrorCode.BUNDLE_INVALID)


def test_the_same_files_packed_otherwise_are_refused() -> None:
    """The signature is over the archive's bytes, not over what somebody makes of them."""
    raw = zstandard.ZstdDecompressor().decompressobj().decompress(PACKED)
    assert _refused_as(zstandard.compress(raw, 3), SIGNATURE) is ErrorCode.SIGNATURE_INVALID


def test_another_bundles_signature_is_refused() -> None:
    """A good signature by the same key, over something else."""
    other = signing.encode_signature(signing.sign_bundle(statement(_bound(_with_other_manifest())), KEY))
    assert _refused_as(PACKED, other) is ErrorCode.SIGNATURE_INVALID


def _document(**changes: str) -> bytes:
    return signing.encode_signature(msgspec.structs.replace(bundle.parse_signature(SIGNATURE), **changes))


DOCUMENTS = {
    "empty": b"",
    "one MiB": b'{"statement":"' + b"A" * (1 << 20) + b'"}',
    "not JSON": b"signature",
    "an array": b"[]",
    "deeply nested": b'{"x":' + b"[" * 60_000,
    "not UTF-8": b'{"\xe3":1}',
    "without fields": b"{}",
    "with another field": SIGNATURE[:-1] + b',"trusted":true}',
    "empty signature": _document(signature=""),
    "short signature": _document(signature=base64.b64encode(bytes(63)).decode()),
    "long signature": _document(signature=base64.b64encode(bytes(65)).decode()),
    "zero signature": _document(signature=base64.b64encode(bytes(64)).decode()),
    "signature of nothing": _document(signature=base64.b64encode(KEY.sign(b"")).decode()),
    "signature not base64": _document(signature="!" * 88),
    "empty statement": _document(statement=""),
    "another statement": _document(statement=base64.b64encode(statement().canonical()).decode()),
    "other algorithm": _document(algorithm="x509"),
    "unknown algorithm": _document(algorithm="rsa"),
    "no algorithm": _document(algorithm=""),
    "unknown key": _document(key_id="0" * 16),
    "another key": signing.encode_signature(signing.sign_bundle(statement(BOUND), BUILD_KEY)),
    "another key under the publisher's id": signing.encode_signature(
        msgspec.structs.replace(signing.sign_bundle(statement(BOUND), BUILD_KEY), key_id=publisher_key(KEY).key_id)
    ),
}


@pytest.mark.parametrize("what", DOCUMENTS)
def test_a_signature_document_that_is_not_exactly_right_is_refused(what: str) -> None:
    """Whatever stands where the signature should be."""
    assert _refused_as(PACKED, DOCUMENTS[what]) is ErrorCode.SIGNATURE_INVALID


def test_every_flipped_bit_of_the_signature_is_refused() -> None:
    """All 512."""
    good: Signature = bundle.parse_signature(SIGNATURE)
    raw = base64.b64decode(good.signature)
    for bit in range(len(raw) * 8):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        document = _document(signature=base64.b64encode(bytes(flipped)).decode())
        assert _refused_as(PACKED, document) is ErrorCode.SIGNATURE_INVALID


def test_one_changed_byte_of_a_load_record_is_corrupt() -> None:
    """A worker answers 502 bundle_integrity and loads nothing."""
    record = signing.load_record_of(
        _publish(PACKED, SIGNATURE),
        cwasm_sha256="ab" * 32,
        cwasm_bytes=1,
        engine_fingerprint=FINGERPRINT,
        built_at=NOW,
    )
    stored = signing.sign_load_record(record, BUILD_KEY)
    build_keys = signing.build_keys_of([signing.spki_of(BUILD_KEY.public_key())])
    expected = {"build_keys": build_keys, "content_hash": BOUND.content_hash, "engine_fingerprint": FINGERPRINT}
    assert signing.verify_load_record(stored, **expected) == record  # type: ignore[arg-type]
    for at in range(len(stored)):
        changed = bytearray(stored)
        changed[at] ^= 1
        with pytest.raises(Corrupt) as refused:
            signing.verify_load_record(bytes(changed), **expected)  # type: ignore[arg-type]
        assert refused.value.code is ErrorCode.BUNDLE_INTEGRITY
