"""T1: keys that try to leave their namespace, by their spelling, their size or a list's prefix."""

from __future__ import annotations

import unicodedata
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from deploy.embedded.postgres import PostgresServer
from schemas import capability
from schemas.capability import Err
from schemas.host import HostAnswer, HostFailure
from schemas.install import Resolved
from tests import registry_stack
from tests.registry_stack import RegistryStack

pytestmark = pytest.mark.case("T1")

REFUSED = ["../other/x", "/", "a/b", "a\x00", "\x00", "a\nb", "\x1b[0m", "\x7f", "\x9f", "", "k" * 257, "k" * 1_000_000]
KEPT = ["..", ".", "%", "_", "a%", "a_", "ab", "a\\", "a'; DROP TABLE x--", "${a}", " ", "\u202e", "\U0001f600"]
TWINS = [unicodedata.normalize(form, "é") for form in ("NFC", "NFD")]


@pytest_asyncio.fixture(scope="module")
async def stack(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RegistryStack]:
    async with registry_stack.open_stack(postgres_server, tmp_path_factory.mktemp("t1")) as running:
        yield running


async def ask(stack: RegistryStack, install: Resolved, function: str, *arguments: Any) -> list[Any]:
    reply = await stack.ask(install, "storage-v2", function, *arguments)
    assert isinstance(reply, HostAnswer), reply
    kind, value = reply.value
    return [kind, value]


def item(key: str, value: str = "v") -> dict[str, Any]:
    return {
        "key": key,
        "value": value,
        "encoding": "text",
        "metadata": None,
        "ttl_seconds": None,
        "create_only": False,
        "if_revision": None,
    }


def query(prefix: str | None = None) -> dict[str, Any]:
    return {"prefix": prefix, "cursor": None, "limit": 100, "include_values": False}


@pytest.mark.parametrize("key", REFUSED, ids=lambda key: repr(key[:12]))
async def test_T1_a_key_that_cannot_be_one_is_an_error_to_the_guest_and_stores_nothing(
    stack: RegistryStack, key: str
) -> None:
    """As key of every function, as namespace, and inside a bulk; the frozen interface fails, which is `internal`."""
    install = await stack.installed(capability.STORAGE_KV)

    answers = [
        await ask(stack, install, "put", "n", item(key)),
        await ask(stack, install, "get", "n", key),
        await ask(stack, install, "delete", "n", key, None),
        await ask(stack, install, "get-many", "n", ["a", key]),
        await ask(stack, install, "delete-many", "n", ["a", key]),
        await ask(stack, install, "put-many", "n", [item("a"), item(key)]),
        await ask(stack, install, "put", key, item("a")),
    ]

    assert {(kind, value["code"]) for kind, value in answers} == {("err", "invalid")}
    entry = {"namespace": "n", "key": key, "value": b"v", "revision": None}
    reply = await stack.ask(install, "storage", "put", entry)
    assert isinstance(reply, HostFailure)
    assert capability.INTERFACES["storage"].function("put").failed == Err("internal")
    assert (await ask(stack, install, "get-usage"))[1]["keys"] == 0


async def test_T1_keys_that_look_dangerous_stay_inside_their_namespace(stack: RegistryStack) -> None:
    """Each is a record of its own, in this namespace and in no other, twins of Unicode too."""
    install = await stack.installed(capability.STORAGE_KV)
    keys = [*KEPT, *TWINS]
    for number, key in enumerate(keys):
        assert (await ask(stack, install, "put", "n", item(key, str(number))))[0] == "ok"

    for number, key in enumerate(keys):
        kind, entry = await ask(stack, install, "get", "n", key)
        assert (kind, entry["value"]) == ("ok", str(number))
        assert (await ask(stack, install, "get", "other", key))[1] is None
    listed = await ask(stack, install, "list-entries", "n", query())
    assert [entry["key"] for entry in listed[1]["items"]] == sorted(keys, key=lambda key: key.encode())


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [("%", ["%"]), ("_", ["_"]), ("a%", ["a%"]), ("a_", ["a_"]), ("a", ["a%", "a\\", "a_", "ab"]), ("a\\", ["a\\"])],
)
async def test_T1_characters_of_a_prefix_mean_themselves(
    stack: RegistryStack, prefix: str, expected: list[str]
) -> None:
    """No wildcard of the database gets through."""
    install = await stack.installed(capability.STORAGE_KV)
    for key in ("%", "_", "a%", "a_", "ab", "a\\", "xa"):
        await ask(stack, install, "put", "n", item(key))

    _, page = await ask(stack, install, "list-entries", "n", query(prefix))

    assert [entry["key"] for entry in page["items"]] == expected
