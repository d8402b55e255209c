"""R11: the bundle in the store is not what was published; nothing is built from it, and it is moved out of the way.

The UI's side of this case is the gateway's, that of the compiled code is S19.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deploy.embedded.postgres import PostgresServer
from registry.rebuilding import quarantine_key
from schemas import bundle, codec, subjects
from schemas.errors import ErrorCode
from schemas.publishing import Precompiled, PrecompileReply, PrecompileRequest, Published, PublishFailed
from tests import registry_stack
from tests.registry_stack import RegistryStack, bundle_of, manifest_of

pytestmark = pytest.mark.case("R11")


@pytest_asyncio.fixture(scope="module")
async def stack(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RegistryStack]:
    async with registry_stack.open_stack(postgres_server, tmp_path_factory.mktemp("r11")) as running:
        yield running


async def publish(stack: RegistryStack) -> tuple[Published, bytes, str]:
    """A published bundle, its bytes, and the fingerprint of the engine it was compiled for."""
    author = await stack.author()
    made = await bundle_of(author, manifest_of(author))
    published = await stack.publish(author, made)
    (record_key,) = [
        key for key in await stack.store.list("cwasm/") if key.endswith(f"{published.content_hash[7:]}.json")
    ]
    return published, made.packed, record_key.split("/")[1]


async def rebuild(stack: RegistryStack, published: Published, fingerprint: str) -> Precompiled | PublishFailed:
    request = PrecompileRequest(content_hash=published.content_hash, engine_fingerprint=fingerprint)
    async with stack.worker.conversation(subjects.PRECOMPILE, codec.encode(request)) as conversation:
        while True:
            reply: PrecompileReply = codec.decode(PrecompileReply, await conversation.next(5))
            if isinstance(reply, Precompiled | PublishFailed):
                return reply


@pytest.mark.parametrize("damage", ["replaced", "truncated", "another bundle's bytes"])
async def test_R11_a_damaged_bundle_is_not_rebuilt_and_is_moved_aside(stack: RegistryStack, damage: str) -> None:
    """502 bundle_integrity, no code is made of it, and the bad object is kept as evidence."""
    published, packed, fingerprint = await publish(stack)
    _, other, _ = await publish(stack)
    bad = {"replaced": b"not a bundle", "truncated": packed[:-100], "another bundle's bytes": other}[damage]
    key = bundle.bundle_key(published.content_hash)
    await stack.store.put(key, bad, overwrite=True)
    record_key = bundle.load_record_key(fingerprint, published.content_hash)
    await stack.store.delete(record_key)

    reply = await rebuild(stack, published, fingerprint)

    assert isinstance(reply, PublishFailed)
    assert reply.code is ErrorCode.BUNDLE_INTEGRITY
    assert not await stack.store.exists(key)
    assert await stack.store.get(quarantine_key(published.content_hash)) == bad
    assert not await stack.store.exists(record_key)


async def test_R11_code_that_is_intact_is_served_although_its_bundle_is_not(stack: RegistryStack) -> None:
    """Workers load by the load record alone: a damaged bundle takes nothing from them."""
    published, _, fingerprint = await publish(stack)
    await stack.store.put(bundle.bundle_key(published.content_hash), b"damaged", overwrite=True)

    assert isinstance(await rebuild(stack, published, fingerprint), Precompiled)


async def test_R11_what_is_put_back_is_rebuilt_again(stack: RegistryStack) -> None:
    """An operator restores the object; nothing else is needed."""
    published, packed, fingerprint = await publish(stack)
    key = bundle.bundle_key(published.content_hash)
    await stack.store.put(key, b"damaged", overwrite=True)
    await stack.store.delete(bundle.load_record_key(fingerprint, published.content_hash))
    assert isinstance(await rebuild(stack, published, fingerprint), PublishFailed)

    await stack.store.put(key, packed)

    assert isinstance(await rebuild(stack, published, fingerprint), Precompiled)
