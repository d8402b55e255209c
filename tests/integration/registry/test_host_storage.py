"""The `storage` and `storage-v2` interfaces over NATS: their words for what the storage does, and its refusals."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from deploy.embedded.postgres import PostgresServer
from registry import storage_rules
from schemas import capability
from schemas.errors import ErrorCode
from schemas.host import HostAnswer, HostFailure
from schemas.install import Resolved
from tests import registry_stack
from tests.registry_stack import RegistryStack

NOT_TEXT = bytes(range(256))


class Guest:
    """One install, asking as its guest would."""

    def __init__(self, stack: RegistryStack, resolved: Resolved) -> None:
        self._stack, self._resolved = stack, resolved

    async def v1(self, function: str, *arguments: Any) -> Any:
        reply = await self._stack.ask(self._resolved, "storage", function, *arguments)
        return reply.value if isinstance(reply, HostAnswer) else reply

    async def v2(self, function: str, *arguments: Any) -> Any:
        reply = await self._stack.ask(self._resolved, "storage-v2", function, *arguments)
        assert isinstance(reply, HostAnswer), reply
        return reply.value

    async def failure(self, function: str, *arguments: Any) -> tuple[str, str | None, int | None]:
        """The code, key and revision of a refusal of storage-v2."""
        kind, failure = await self.v2(function, *arguments)
        assert kind == "err"
        assert failure["message"]
        return failure["code"], failure["key"], failure["revision"]


def entry(key: str = "k", value: bytes = b"v", revision: int | None = None) -> dict[str, Any]:
    return {"namespace": "n", "key": key, "value": value, "revision": revision}


def item(key: str = "k", value: str = "v", **fields: Any) -> dict[str, Any]:
    given = {
        "key": key,
        "value": value,
        "encoding": "text",
        "metadata": None,
        "ttl_seconds": None,
        "create_only": False,
        "if_revision": None,
    }
    return {**given, **fields}


def query(**fields: Any) -> dict[str, Any]:
    return {"prefix": None, "cursor": None, "limit": None, "include_values": True, **fields}


@pytest_asyncio.fixture(scope="module")
async def stack(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RegistryStack]:
    async with registry_stack.open_stack(postgres_server, tmp_path_factory.mktemp("storage")) as running:
        yield running


@pytest_asyncio.fixture
async def guest(stack: RegistryStack) -> Guest:
    return Guest(stack, await stack.installed(capability.STORAGE_KV))


async def test_v1_keeps_bytes_and_counts_revisions(guest: Guest) -> None:
    """Any bytes come back as they were; every write adds one, and answers the entry."""
    assert await guest.v1("put", entry(value=NOT_TEXT)) == ["ok", entry(value=NOT_TEXT, revision=1)]
    assert await guest.v1("put", entry(value=b"")) == ["ok", entry(value=b"", revision=2)]
    assert await guest.v1("get", "n", "k") == ["ok", entry(value=b"", revision=2)]


async def test_v1_revisions_guard_a_write(guest: Guest) -> None:
    """n: only over n; 0: only where nothing is; a lost race is `conflict` and changes nothing."""
    assert await guest.v1("put", entry(revision=1)) == ["err", "conflict"]
    assert await guest.v1("put", entry(revision=0)) == ["ok", entry(revision=1)]
    assert await guest.v1("put", entry(revision=0)) == ["err", "conflict"]
    assert await guest.v1("put", entry(value=b"w", revision=1)) == ["ok", entry(value=b"w", revision=2)]
    assert await guest.v1("put", entry(value=b"x", revision=1)) == ["err", "conflict"]
    assert await guest.v1("get", "n", "k") == ["ok", entry(value=b"w", revision=2)]


async def test_v1_deletes_what_is_there_and_what_is_not(guest: Guest) -> None:
    """Deleting an absent key is a success."""
    await guest.v1("put", entry())

    assert await guest.v1("delete", "n", "k") == ["ok", None]
    assert await guest.v1("delete", "n", "k") == ["ok", None]
    assert await guest.v1("get", "n", "k") == ["err", "missing"]


async def test_v1_lists_by_key_bytes_and_goes_on_after_a_cursor(guest: Guest) -> None:
    """More than 25 come at once; the cursor form of a key continues after it."""
    keys = sorted((f"k{number:02}" for number in range(30)), key=str.encode)
    for key in keys:
        await guest.v1("put", entry(key))

    kind, entries = await guest.v1("list-entries", "n", None)
    assert (kind, [one["key"] for one in entries]) == ("ok", keys)
    kind, rest = await guest.v1("list-entries", "n", storage_rules.format_cursor(keys[27]))
    assert (kind, [one["key"] for one in rest]) == ("ok", keys[28:])


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("get", ["", "k"]),
        ("get", ["n", "a/b"]),
        ("put", [entry(key="a\0b")]),
        ("put", [entry(value=bytes(64 * 1024 + 1))]),
        ("list-entries", ["n", "not a cursor"]),
    ],
)
async def test_v1_says_in_the_log_what_its_enum_cannot(guest: Guest, function: str, arguments: list[Any]) -> None:
    """A failure with a sentence, which the worker logs; the guest gets `internal`."""
    failure = await guest.v1(function, *arguments)

    assert isinstance(failure, HostFailure)
    assert failure.code in (ErrorCode.INVALID_REQUEST, ErrorCode.PAYLOAD_TOO_LARGE)
    assert capability.INTERFACES["storage"].function(function).failed.value == "internal"


async def test_both_interfaces_see_the_same_records(guest: Guest) -> None:
    """v2 answers text for valid UTF-8, else base64, whoever wrote it."""
    await guest.v1("put", entry("text", "grüße".encode()))
    await guest.v1("put", entry("bytes", NOT_TEXT))
    await guest.v2("put", "n", item("other", base64.b64encode(NOT_TEXT).decode(), encoding="base64"))

    kind, entries = await guest.v2("get-many", "n", ["text", "absent", "bytes"])
    assert (kind, [(one["key"], one["encoding"]) for one in entries]) == (
        "ok",
        [("text", "text"), ("bytes", "base64")],
    )
    assert entries[0]["value"] == "grüße"
    assert base64.b64decode(entries[1]["value"]) == NOT_TEXT
    assert await guest.v1("get", "n", "other") == ["ok", entry("other", NOT_TEXT, 1)]


async def test_v2_answers_all_that_is_known_of_an_entry(guest: Guest) -> None:
    """Metadata as JSON text, times in RFC 3339, none where there is none."""
    kind, result = await guest.v2("put", "n", item(metadata='{"a": [1, "ü"]}', ttl_seconds=60))
    assert (kind, result["key"], result["revision"]) == ("ok", "k", 1)
    assert result["expires_at"].endswith("Z")

    kind, found = await guest.v2("get", "n", "k")
    assert (kind, found["metadata"], found["expires_at"]) == ("ok", '{"a":[1,"ü"]}', result["expires_at"])
    assert found["updated_at"].endswith("Z")
    await guest.v2("put", "n", item())
    assert (await guest.v2("get", "n", "k"))[1] | {"updated_at": ""} == {
        "key": "k",
        "value": "v",
        "encoding": "text",
        "revision": 2,
        "metadata": None,
        "expires_at": None,
        "updated_at": "",
    }
    assert await guest.v2("get", "n", "absent") == ["ok", None]


async def test_v2_names_the_key_and_the_stored_revision_of_a_conflict(guest: Guest) -> None:
    """So that a guest can read again and retry exactly that item; nothing of a bulk write stays."""
    await guest.v2("put", "n", item("a"))
    await guest.v2("put", "n", item("a"))

    assert await guest.failure("put", "n", item("a", if_revision=1)) == ("conflict", "a", 2)
    assert await guest.failure("put", "n", item("b", if_revision=1)) == ("conflict", "b", None)
    assert await guest.failure("put-many", "n", [item("c"), item("a", create_only=True)]) == ("conflict", "a", 2)
    assert await guest.failure("delete", "n", "a", 1) == ("conflict", "a", 2)
    assert await guest.v2("get", "n", "c") == ["ok", None]


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        ("put", [item(encoding="base64", value="***")], ("invalid", "k")),
        ("put", [item(metadata="[1]")], ("invalid", "k")),
        ("put", [item(ttl_seconds=59)], ("invalid", "k")),
        ("put", [item(create_only=True, if_revision=0)], ("invalid", "k")),
        ("put", [item(value="x" * (64 * 1024 + 1))], ("too-large", "k")),
        ("put-many", [[item("a"), item("a")]], ("invalid", "a")),
        ("put-many", [[item(f"k{number}") for number in range(21)]], ("invalid", None)),
        ("put-many", [[item(f"k{number}", "x" * 60_000) for number in range(10)]], ("too-large", None)),
        ("delete-many", [["a", "a"]], ("invalid", "a")),
        ("list-entries", [query(cursor="!")], ("invalid", None)),
        ("list-entries", [query(limit=101)], ("invalid", None)),
        ("get-many", [["a/b"]], ("invalid", "a/b")),
    ],
)
async def test_v2_refusals_name_their_kind_and_key(
    guest: Guest, function: str, arguments: list[Any], expected: tuple[str, str | None]
) -> None:
    """A failing item is named; nothing is stored."""
    code, key, _ = await guest.failure(function, "n", *arguments)

    assert (code, key) == expected
    assert (await guest.v2("get-usage"))[1]["keys"] == 0


async def test_v2_pages_and_counts(guest: Guest) -> None:
    """Pages follow each other without a gap; the counters are exact."""
    for start in range(0, 40, 20):
        await guest.v2("put-many", "n", [item(f"k{number:02}", "12345") for number in range(start, start + 20)])

    seen, cursor = [], None
    while True:
        kind, page = await guest.v2("list-entries", "n", query(prefix="k", cursor=cursor, limit=15))
        assert kind == "ok"
        seen += [one["key"] for one in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [f"k{number:02}" for number in range(40)]
    _, bare = await guest.v2("list-entries", "n", query(include_values=False, limit=1))
    assert (bare["items"][0]["value"], bare["items"][0]["revision"]) == ("", 1)
    assert await guest.v2("delete-many", "n", ["k00", "k01", "absent"]) == ["ok", 2]
    assert await guest.v2("delete", "n", "k02", None) == ["ok", True]
    assert await guest.v2("delete", "n", "k02", None) == ["ok", False]
    _, usage = await guest.v2("get-usage")
    assert usage == {"bytes_used": 37 * 5, "bytes_limit": 256 * 1024 * 1024, "keys": 37, "namespaces": 1}


async def test_a_flood_of_writes_is_refused_in_the_words_of_each_interface(guest: Guest) -> None:
    """Over the rate v1 says `denied`, v2 `rate-limited`; the install's reads go on."""
    flood = storage_rules.WRITES_PER_SECOND * 3
    v2 = await asyncio.gather(*(guest.v2("delete-many", "n", []) for _ in range(flood)))
    v1 = await asyncio.gather(*(guest.v1("delete", "n", "k") for _ in range(flood)))

    assert {value["code"] for kind, value in v2 if kind == "err"} == {"rate-limited"}
    assert ["err", "denied"] in v1
    assert await guest.v1("get", "n", "k") == ["err", "missing"]
