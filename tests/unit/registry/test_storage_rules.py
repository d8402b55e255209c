"""The rules of storage: names, sizes, revisions, counters, cursors."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry import storage_rules
from registry.storage_rules import (
    MAX_BYTES,
    MAX_KEYS,
    MAX_NAMESPACES,
    MAX_VALUE_BYTES,
    Existing,
    PutItem,
    StorageUsage,
)
from schemas.errors import Conflict, ErrorCode, Exhausted, Invalid, TooLarge

EMPTY = StorageUsage(bytes_used=0, keys=0, namespaces=0)


def item(key: str = "k", value: bytes = b"v", **rest: object) -> PutItem:
    return PutItem(key=key, value=value, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("key", ["a", "é", "a" * 256, " ", "..", "a%b", "a_b", "日本", "a\\b", "\u2028"])
def test_keys_that_are_allowed(key: str) -> None:
    """Anything printable up to 256 characters, dots and percent signs included: a key is no path."""
    storage_rules.check_key(key)


@pytest.mark.parametrize(
    "key", ["", "a" * 257, "../other/x", "a/b", "a\x00b", "a\n", "\x7f", "\x85", "\ud800", "k" * 10**6]
)
def test_keys_that_are_refused(key: str) -> None:
    """Slashes, control characters, lone surrogates and lengths over the limit; the error says which key."""
    with pytest.raises(Invalid) as refusal:
        storage_rules.check_key(key)

    assert refusal.value.extra["key"] == key[:256]


def test_namespaces_have_their_own_limit() -> None:
    """128 characters."""
    storage_rules.check_namespace("n" * 128)
    with pytest.raises(Invalid, match="1 to 128"):
        storage_rules.check_namespace("n" * 129)


def test_a_value_counts_its_raw_bytes() -> None:
    """64 KiB exactly, not of their base64."""
    storage_rules.check_item(item(value=bytes(MAX_VALUE_BYTES)))
    with pytest.raises(TooLarge, match="65537 bytes, over the limit of 65536"):
        storage_rules.check_item(item(value=bytes(MAX_VALUE_BYTES + 1)))


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ({"metadata": {"m": "x" * 4096}}, TooLarge),
        ({"metadata": {"m": "\x00"}}, Invalid),
        ({"metadata": {"m": {1, 2}}}, Invalid),
        ({"ttl_seconds": 59}, Invalid),
        ({"ttl_seconds": 30 * 86_400 + 1}, Invalid),
        ({"create_only": True, "if_revision": 1}, Invalid),
        ({"if_revision": -1}, Invalid),
    ],
)
def test_items_that_are_refused(bad: dict[str, object], error: type[Exception]) -> None:
    """Each limit of metadata, time to live and condition."""
    with pytest.raises(error):
        storage_rules.check_item(item(**bad))


def test_a_bulk_is_bounded_in_items_bytes_and_repeats() -> None:
    """20 items, 512 KiB, each key once."""
    storage_rules.check_items([item(str(n), bytes(26_214)) for n in range(20)])
    with pytest.raises(Invalid, match="over the limit of 20"):
        storage_rules.check_items([item(str(n)) for n in range(21)])
    with pytest.raises(TooLarge, match="524288"):
        storage_rules.check_items([item(str(n), bytes(60_000)) for n in range(9)])
    with pytest.raises(Invalid, match="twice") as refusal:
        storage_rules.check_items([item("a"), item("b"), item("a")])
    assert refusal.value.extra["key"] == "a"


@pytest.mark.parametrize(
    ("condition", "existing", "revision"),
    [
        ({}, None, 1),
        ({}, Existing(revision=4, size_bytes=1), 5),
        ({}, Existing(revision=4, size_bytes=1, is_expired=True), 1),
        ({"if_revision": 4}, Existing(revision=4, size_bytes=1), 5),
        ({"if_revision": 0}, None, 1),
        ({"create_only": True}, Existing(revision=4, size_bytes=1, is_expired=True), 1),
    ],
)
def test_a_write_that_may_happen_has_the_next_revision(
    condition: dict[str, object], existing: Existing | None, revision: int
) -> None:
    """From 1, one more each time; an expired record is absent, so it starts again."""
    assert storage_rules.decide_put(item(**condition), existing).revision == revision


@pytest.mark.parametrize(
    ("condition", "existing", "stored"),
    [
        ({"if_revision": 3}, Existing(revision=4, size_bytes=1), 4),
        ({"if_revision": 3}, None, None),
        ({"if_revision": 4}, Existing(revision=4, size_bytes=1, is_expired=True), None),
        ({"if_revision": 0}, Existing(revision=4, size_bytes=1), 4),
        ({"create_only": True}, Existing(revision=4, size_bytes=1), 4),
    ],
)
def test_a_lost_race_names_the_stored_revision(
    condition: dict[str, object], existing: Existing | None, stored: int | None
) -> None:
    """So that the guest can read again and decide."""
    with pytest.raises(Conflict) as refusal:
        storage_rules.decide_put(item(**condition), existing)

    assert refusal.value.extra == {"key": "k", "revision": stored}


def test_counters_are_refused_exactly_beyond_each_limit() -> None:
    """The last one fits, the next one does not."""
    new = storage_rules.decide_put(item(value=b"x"), None)
    at_bytes = StorageUsage(bytes_used=MAX_BYTES - 1, keys=1, namespaces=1)
    at_namespaces = StorageUsage(bytes_used=1, keys=1, namespaces=MAX_NAMESPACES - 1)

    assert storage_rules.counters_after(at_bytes, [new], namespace_keys=1).bytes_used == MAX_BYTES
    assert storage_rules.counters_after(EMPTY, [new], namespace_keys=MAX_KEYS - 1).keys == 1
    assert storage_rules.counters_after(at_namespaces, [new], namespace_keys=0).namespaces == MAX_NAMESPACES
    for usage, keys in (
        (StorageUsage(bytes_used=MAX_BYTES, keys=1, namespaces=1), 1),
        (EMPTY, MAX_KEYS),
        (StorageUsage(bytes_used=1, keys=1, namespaces=MAX_NAMESPACES), 0),
    ):
        with pytest.raises(Exhausted) as refusal:
            storage_rules.counters_after(usage, [new], namespace_keys=keys)
        assert refusal.value.code is ErrorCode.QUOTA_EXCEEDED


def test_a_smaller_value_is_taken_even_at_the_limit() -> None:
    """Whoever is over the limit can get below it again."""
    shrink = storage_rules.decide_put(item(value=b""), Existing(revision=1, size_bytes=10))
    full = StorageUsage(bytes_used=MAX_BYTES + 5, keys=MAX_KEYS, namespaces=MAX_NAMESPACES)

    assert storage_rules.counters_after(full, [shrink], namespace_keys=MAX_KEYS).bytes_used == MAX_BYTES - 5


@given(
    key=st.text(
        alphabet=st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="/"), min_size=1, max_size=256
    )
)
def test_a_cursor_means_its_key(key: str) -> None:
    """Any key survives being a cursor."""
    assert storage_rules.parse_cursor(storage_rules.format_cursor(key)) == key


@given(text=st.text(max_size=40))
def test_a_cursor_that_is_not_ours_is_refused_or_means_a_key(text: str) -> None:
    """Whatever a guest makes up: Invalid, never another error."""
    try:
        key = storage_rules.parse_cursor(text)
    except Invalid:
        return
    storage_rules.check_key(key)


@pytest.mark.parametrize(
    "cursor", ["", "e30", "eyJrZXkiOjF9", "W10", "eyJrZXkiOiJhIiwieCI6MX0", "!!!!", "eyJrZXkiOiIifQ"]
)
def test_malformed_cursors_are_refused(cursor: str) -> None:
    """Empty, no key, another type, more than a key, no base64, an empty key."""
    with pytest.raises(Invalid, match=r"cursor|key must"):
        storage_rules.parse_cursor(cursor)


def test_pages_have_their_bounds() -> None:
    """25 unless said otherwise, at most 100; the frozen interface has no limit to say."""
    assert storage_rules.page_query().limit == 25
    assert storage_rules.whole_query(None).limit == 1_000
    for limit in (0, 101, -1):
        with pytest.raises(Invalid, match="1 to 100"):
            storage_rules.page_query(limit=limit)


@pytest.mark.parametrize("text", ["[]", "1", "{", "null", '"x"', "{" * 5000])
def test_metadata_is_the_text_of_an_object(text: str) -> None:
    """Nothing else, and not too much of it."""
    with pytest.raises(Invalid):
        storage_rules.parse_metadata(text, key="k")
    assert storage_rules.parse_metadata('{"a":1}', key="k") == {"a": 1}
