"""Strict JSON: one document means one value, or is refused."""

from __future__ import annotations

import pytest

from schemas import strict_json
from schemas.errors import Invalid

REFUSED = {
    "byte order mark": (b"\xef\xbb\xbf{}", "byte order mark"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "byte order mark"),
    "not UTF-8": (b'"\xff"', "not UTF-8 at byte 1"),
    "encoded surrogate": (b'"\xed\xa0\x80"', "not UTF-8"),
    "duplicate key": (b'{"a":1,"b":[{"c":1,"c":1}]}', "the key 'c' twice"),
    "duplicate key by escape": (b'{"a":1,"\\u0061":2}', "the key 'a' twice"),
    "NaN": (b'{"a":NaN}', "NaN"),
    "Infinity": (b"-Infinity", "-Infinity"),
    "1e400": (b"1e400", "beyond a double"),
    "integer of 30 digits": (b"1" * 30, "beyond"),
    "integer of 5000 digits": (b"1" * 5000, "beyond"),
    "2^53": (b"9007199254740992", "beyond"),
    "lone surrogate": (b'["\\ud800"]', "surrogate"),
    "lone surrogate in a key": (b'{"\\udc00":1}', "surrogate"),
    "NUL": (b'["\\u0000"]', "U+0000"),
    "bare control character": (b'"\x01"', "not JSON"),
    "bytes behind": (b"{} {}", "not JSON"),
    "nothing": (b"", "not JSON"),
    "comment": (b"{}//", "not JSON"),
    "trailing comma": (b"[1,]", "not JSON"),
    "leading zero": (b"01", "not JSON"),
    "other digits": ("[١]".encode(), "not JSON"),
    "single quotes": (b"{'a':1}", "not JSON"),
    "33 levels": (b"[" * 33 + b"]" * 33, "deeper than 32"),
    "100,000 levels": (b"[" * 100_000 + b"]" * 100_000, "deeper than 32"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_parsers_disagree_about_is_refused(what: str) -> None:
    """The reason is named."""
    data, says = REFUSED[what]
    with pytest.raises(Invalid) as refused:
        strict_json.read(data, max_bytes=300_000, what="manifest.json")
    assert refused.value.message.startswith("manifest.json ")
    assert says in refused.value.message


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b'\r\n{ "a" : [ 1 , 2.5 , true , null ] }\t', {"a": [1, 2.5, True, None]}),
        (b'"\\ud83d\\ude00"', "😀"),
        (b"9007199254740991", 2**53 - 1),
        (b"[" * 32 + b"]" * 32, None),
    ],
)
def test_what_all_parsers_agree_about_is_read(data: bytes, value: object) -> None:
    """CRLF, escapes, the last safe integer, the last allowed level."""
    read = strict_json.read(data, max_bytes=100)
    assert value is None or read == value


def test_a_document_over_its_limit_is_refused_unread() -> None:
    """The limit and the size are named."""
    with pytest.raises(Invalid, match="document is 11 bytes, over the limit of 10"):
        strict_json.read(b" " * 11, max_bytes=10)


def test_many_duplicates_cost_no_more_than_a_look() -> None:
    """A document of the largest size made of one key twice and others once is refused at once."""
    keys = b",".join(b'"%d":1' % number for number in range(25_000))
    with pytest.raises(Invalid, match="twice"):
        strict_json.read(b"{" + keys + b',"24999":1}', max_bytes=300_000)
