"""K1: names of another tenant's or another extension's secrets, and guessing, tell nothing."""

from __future__ import annotations

import statistics
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from deploy.embedded.postgres import PostgresServer
from schemas import capability, codec, subjects
from schemas.host import HostAnswer
from schemas.install import Resolved
from schemas.secrets import SecretsReply, SecretsUpdate, SecretsUpdated
from tests import catalogue, registry_stack
from tests.registry_stack import RegistryStack

pytestmark = pytest.mark.case("K1")

NAME = "stripe_api_key"
GUESSES = ["stripe_api_ke", "stripe_api_key ", "STRIPE_API_KEY", "stripe%", "*", "", "..", "x" * 100_000, "other"]


@pytest_asyncio.fixture(scope="module")
async def stack(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RegistryStack]:
    async with registry_stack.open_stack(postgres_server, tmp_path_factory.mktemp("k1")) as running:
        yield running


async def store(stack: RegistryStack, install: Resolved, **values: str) -> None:
    update = SecretsUpdate(
        tenant=install.tenant, install=install.install, request_id="r", principal="key-1", put=values
    )
    data = await stack.gateway.request(subjects.SECRETS, codec.encode(update), timeout_seconds=10)
    reply: SecretsReply = codec.decode(SecretsReply, data)
    assert isinstance(reply, SecretsUpdated), reply


async def get(stack: RegistryStack, install: Resolved, name: str) -> Any:
    reply = await stack.ask(install, "secrets", "get", name)
    assert isinstance(reply, HostAnswer), reply
    return reply.value


async def neighbours(stack: RegistryStack) -> tuple[Resolved, list[Resolved]]:
    """An install with a secret; one of another tenant, one of another extension of the same tenant."""
    owner = await stack.installed(capability.SECRETS_GET)
    await store(stack, owner, **{NAME: "the value"})
    stranger = await stack.installed(capability.SECRETS_GET)
    published = await catalogue.publish(stack.rows)
    sibling = registry_stack.resolved_of(
        owner.tenant,
        await catalogue.install_row(stack.rows, owner.tenant, published),
        published,
        grants=frozenset({capability.SECRETS_GET}),
    )
    for other in (stranger, sibling):
        await store(stack, other, own="x")
    return owner, [stranger, sibling]


async def test_K1_names_of_others_are_missing_like_any_other_name(stack: RegistryStack) -> None:
    """The owner reads it, nobody else; every guess gets the same answer, and lists show one's own names only."""
    owner, others = await neighbours(stack)

    assert await get(stack, owner, NAME) == ["ok", "the value"]
    for other in others:
        assert await get(stack, other, NAME) == ["err", "missing"]
        listed = await stack.ask(other, "secrets", "list-keys")
        assert isinstance(listed, HostAnswer)
        assert listed.value == ["own"]
    for guess in GUESSES:
        assert await get(stack, owner, guess) == ["err", "missing"]


async def test_K1_a_ticket_of_one_tenant_with_anothers_install_opens_nothing(stack: RegistryStack) -> None:
    """Even a ticket that should never have been minted: the envelope and the row are bound to the tenant."""
    owner, (stranger, _) = await neighbours(stack)

    mixed = msgspec.structs.replace(stranger, install=owner.install)

    assert await get(stack, mixed, NAME) == ["err", "missing"]


async def test_K1_a_name_of_others_takes_as_long_as_a_missing_one(
    stack: RegistryStack, count: Callable[[int], int]
) -> None:
    """The medians of both, taken in turns, are of one class."""
    _, (stranger, _) = await neighbours(stack)
    await get(stack, stranger, "warm")
    taken: dict[str, list[float]] = {NAME: [], "stripe_api_kez": []}
    for _ in range(count(1_000)):
        for name, times in taken.items():
            began = time.perf_counter()
            assert await get(stack, stranger, name) == ["err", "missing"]
            times.append(time.perf_counter() - began)

    theirs, nobodys = (statistics.median(times) for times in taken.values())

    assert theirs == pytest.approx(nobodys, rel=0.25)
