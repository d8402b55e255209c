"""The envelope around secrets and the file of KEKs: what opens, what must not."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from registry import kek
from registry.kek import Binding, KeyRing
from schemas.errors import Invalid, Unavailable

BINDING = Binding(tenant="t", install="i", version="v")
OLD, NEW = bytes(32), bytes([1] * 32)


def ring(**keys: bytes) -> KeyRing:
    return KeyRing(keys, active=next(iter(keys)))


def read(keys: KeyRing, envelope: str, key_id: str, binding: Binding = BINDING) -> bytes:
    return kek.open_envelope(envelope, keys.unwrap(envelope, key_id, binding), binding)


def test_an_envelope_opens_with_its_key_and_binding() -> None:
    """The plaintext comes back, and is not in the envelope."""
    keys = ring(a=OLD)

    envelope, key_id = keys.seal(b"a secret", BINDING)

    assert read(keys, envelope, key_id) == b"a secret"
    assert b"a secret" not in base64.b64decode(envelope)


@pytest.mark.parametrize(
    "other",
    [
        Binding(tenant="t2", install="i", version="v"),
        Binding(tenant="t", install="i2", version="v"),
        Binding(tenant="t", install="i", version="v2"),
        Binding(tenant="ti", install="", version="v"),
    ],
)
def test_an_envelope_moved_to_another_row_does_not_open(other: Binding) -> None:
    """Whoever can write the table cannot hand one tenant another's secrets."""
    keys = ring(a=OLD)
    envelope, key_id = keys.seal(b"x", BINDING)

    with pytest.raises(Unavailable):
        read(keys, envelope, key_id, other)


def test_every_changed_byte_is_noticed() -> None:
    """Salt, wrapped key, nonce, ciphertext, version: all are authenticated."""
    keys = ring(a=OLD)
    envelope, key_id = keys.seal(b"x", BINDING)
    raw = base64.b64decode(envelope)

    for place in range(len(raw)):
        changed = bytearray(raw)
        changed[place] ^= 1
        with pytest.raises(Unavailable):
            read(keys, base64.b64encode(bytes(changed)).decode(), key_id)
    for length in range(0, len(raw), 7):
        with pytest.raises(Unavailable):
            read(keys, base64.b64encode(raw[:length]).decode(), key_id)


def test_no_two_envelopes_share_a_salt_or_a_nonce() -> None:
    """The same text sealed again is other bytes throughout."""
    keys = ring(a=OLD)
    heads = {base64.b64decode(keys.seal(b"x", BINDING)[0])[:93] for _ in range(200)}

    assert len(heads) == 200


def test_a_rotated_key_still_opens_what_names_it_until_it_is_removed() -> None:
    """New envelopes use the active key; a removed one closes what it wrapped, without a fallback."""
    envelope, key_id = ring(old=OLD).seal(b"x", BINDING)
    rotated = KeyRing({"new": NEW, "old": OLD}, active="new")

    assert read(rotated, envelope, key_id) == b"x"
    assert rotated.seal(b"y", BINDING)[1] == "new"
    with pytest.raises(Unavailable, match="cannot be decrypted"):
        read(ring(new=NEW), envelope, key_id)


def test_a_file_of_keys_is_written_private_and_read_back(tmp_path: Path) -> None:
    """0600, never overwritten."""
    file = tmp_path / "kek.json"
    envelope, key_id = kek.generate(file, key_id="k1").seal(b"x", BINDING)

    assert file.stat().st_mode & 0o777 == 0o600
    assert read(kek.load(file), envelope, key_id) == b"x"
    with pytest.raises(Invalid, match="exists"):
        kek.generate(file, key_id="k2")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o666])
def test_a_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """A KEK that was readable is a KEK to replace."""
    file = tmp_path / "kek.json"
    kek.generate(file, key_id="k1")
    file.chmod(mode)

    with pytest.raises(Invalid, match="0600"):
        kek.load(file)


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        json.dumps({"format": "other", "active": "a", "keys": {"a": base64.b64encode(OLD).decode()}}),
        json.dumps({"format": kek.FILE_FORMAT, "active": "b", "keys": {"a": base64.b64encode(OLD).decode()}}),
        json.dumps({"format": kek.FILE_FORMAT, "active": "a", "keys": {"a": base64.b64encode(b"short").decode()}}),
        json.dumps({"format": kek.FILE_FORMAT, "active": "a", "keys": {"a": "not base64!"}}),
    ],
)
def test_a_file_that_is_not_of_the_format_is_refused(tmp_path: Path, document: str) -> None:
    """With a sentence that names the file."""
    file = tmp_path / "kek.json"
    file.write_text(document)
    file.chmod(0o600)

    with pytest.raises(Invalid, match="KEK file"):
        kek.load(file)


def test_a_missing_file_is_one_clear_line(tmp_path: Path) -> None:
    """A process without its KEK does not start, and says why."""
    with pytest.raises(Invalid, match="cannot be read"):
        kek.load(tmp_path / "none.json")


def test_keys_are_not_shown() -> None:
    """Neither by repr nor in the message of an error."""
    assert base64.b64encode(NEW).decode() not in repr(ring(a=NEW))
    assert repr(ring(a=NEW)) == "KeyRing(['a'], active='a')"
