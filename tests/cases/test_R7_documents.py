"""R7: a document that gets hashed or signed means one thing to every parser, or is refused."""

from __future__ import annotations

import io
import json
import random
import unicodedata
from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import pytest

from registry import archive, packing
from schemas import bundle, strict_json
from schemas.errors import Invalid, Unprocessable
from tests.signing_fixtures import statement

pytestmark = pytest.mark.case("R7")

SEED = 20261122
MAX_BYTES = 4096
Mutation = Callable[[random.Random, bytes], bytes]
_NUMBERS = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e400",
    "-1e400",
    "1" * 30,
    "9007199254740993",
    "-0",
    "1.0",
    "1E2",
    "0x10",
    "01",
]
_NAMES = ["name", "größe", "nä\u0308me", "a", "\u212b", "😀", "a.b", ""]


def _value(random_: random.Random, depth: int = 0) -> Any:
    kind = random_.randrange(8 if depth < 4 else 5)
    if kind < 5:
        return [
            None,
            random_.random() < 0.5,
            random_.randrange(-(2**54), 2**54),
            random_.choice(_NAMES),
            random_.random() * 1e6,
        ][kind]
    if kind == 5:
        return [_value(random_, depth + 1) for _ in range(random_.randrange(4))]
    return {random_.choice(_NAMES): _value(random_, depth + 1) for _ in range(random_.randrange(4))}


def _splice(random_: random.Random, data: bytes, piece: bytes) -> bytes:
    at = random_.randrange(len(data) + 1)
    return data[:at] + piece + data[at:]


def _duplicate_member(random_: random.Random, data: bytes) -> bytes:
    name = json.dumps(random_.choice(_NAMES), ensure_ascii=random_.random() < 0.5)
    return data.replace(b"{", f"{{{name}:1,{name}:2,".encode(), 1) if b"{}" not in data else b'{"a":1,"\\u0061":2}'


def _number(random_: random.Random, data: bytes) -> bytes:
    return b"[" + data + b"," + random_.choice(_NUMBERS).encode() + b"]"


def _recompose(random_: random.Random, data: bytes) -> bytes:
    form = random_.choice(("NFC", "NFD"))
    return unicodedata.normalize(form, data.decode(errors="replace")).encode()  # type: ignore[arg-type]


def _flip(random_: random.Random, data: bytes) -> bytes:
    changed = bytearray(data or b" ")
    changed[random_.randrange(len(changed))] ^= 1 << random_.randrange(8)
    return bytes(changed)


MUTATIONS: list[Mutation] = [
    lambda _, data: data,
    lambda _, data: b"\xef\xbb\xbf" + data,
    lambda _, data: data.decode(errors="replace").encode("utf-16"),
    lambda _, data: data.replace(b",", b",\r\n").replace(b":", b" :\t"),
    lambda _, data: data + b"\r\n",
    lambda random_, data: data + random_.choice([b"x", b"\0", b"{}", b",", b"//"]),
    lambda random_, data: _splice(
        random_, data, random_.choice([b" ", b"\n", b"\0", b"\x0b", b"\\u0000", b"\\ud800", b'"', b"/**/"])
    ),
    _duplicate_member,
    _number,
    _recompose,
    _flip,
]


def _document(random_: random.Random) -> bytes:
    data = json.dumps(_value(random_), ensure_ascii=random_.random() < 0.5).encode()
    for _ in range(random_.randrange(3)):
        data = random_.choice(MUTATIONS)(random_, data)
    return data


def test_an_accepted_document_is_the_same_value_to_three_parsers(count: Callable[[int], int]) -> None:
    """Ours, orjson and msgspec, which share no code, over generated and damaged documents."""
    random_ = random.Random(SEED)
    accepted = 0
    tries = count(100_000)
    for _ in range(tries):
        data = _document(random_)
        try:
            ours = strict_json.canonical(strict_json.read(data, max_bytes=MAX_BYTES))
        except Invalid:
            continue
        accepted += 1
        assert strict_json.canonical(orjson.loads(data)) == ours, data
        assert strict_json.canonical(msgspec.json.decode(data)) == ours, data
    assert tries // 10 < accepted < tries * 9 // 10, "the generator makes hardly anything but good or bad documents"


def test_an_accepted_statement_has_exactly_the_signed_bytes(count: Callable[[int], int]) -> None:
    """No other spelling of a statement is taken for it, whoever signed that."""
    random_ = random.Random(SEED)
    good = statement().canonical()
    for _ in range(count(100_000)):
        data = good
        for _ in range(random_.randrange(1, 3)):
            data = random_.choice(MUTATIONS)(random_, data)
        try:
            parsed = bundle.parse_statement(data)
        except Unprocessable:
            continue
        assert parsed.canonical() == data


def test_the_keys_of_a_statement_in_another_order_are_refused() -> None:
    """Sorted is the one order."""
    fields = json.loads(statement().canonical())
    random_ = random.Random(SEED)
    for _ in range(20):
        names = random_.sample(sorted(fields), len(fields))
        shuffled = json.dumps({name: fields[name] for name in names}, separators=(",", ":")).encode()
        assert names != sorted(fields)
        with pytest.raises(Unprocessable, match="canonical"):
            bundle.parse_statement(shuffled)


def test_bytes_after_the_first_frame_are_refused(count: Callable[[int], int]) -> None:
    """Whatever they are: garbage, another frame, a skippable one."""
    random_ = random.Random(SEED)
    good = packing.pack({"manifest.json": b"{}"})
    behind = [good, b"\x50\x2a\x4d\x18\0\0\0\0", b"\0", b"\0" * 512]
    for number in range(count(1_000)):
        tail = behind[number] if number < len(behind) else random_.randbytes(random_.randrange(1, 600))
        with pytest.raises(Unprocessable, match="after its zstd frame"):
            archive.read(io.BytesIO(good + tail))
