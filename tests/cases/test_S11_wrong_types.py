"""S11: a component that declares other types than the world's is refused at publish.

That a worker refuses it too, when it gets the bytes past publish, is tested with the executor.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deploy.embedded.postgres import PostgresServer
from schemas import ids
from schemas.errors import ErrorCode, Unprocessable
from tests import registry_stack
from tests.registry_stack import RegistryStack, bundle_of, manifest_of

pytestmark = pytest.mark.case("S11")


@pytest_asyncio.fixture(scope="module")
async def stack(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RegistryStack]:
    async with registry_stack.open_stack(postgres_server, tmp_path_factory.mktemp("s11")) as running:
        yield running


@pytest.mark.parametrize("guest", ["wrong-import", "wrong-import-nested", "wrong-record", "wrong-handler"])
async def test_S11_other_types_than_the_worlds_are_refused_at_publish(stack: RegistryStack, guest: str) -> None:
    """422 bundle_invalid that names the import or export, and nothing that could be installed or loaded."""
    author = await stack.author()
    manifest = manifest_of(author)
    made = await bundle_of(author, manifest, guest=guest)

    with pytest.raises(Unprocessable) as refusal:
        await stack.publish(author, made)

    assert refusal.value.code is ErrorCode.BUNDLE_INVALID
    assert "handler" in refusal.value.message or "alga:extension/" in refusal.value.message
    assert await stack.version_rows(manifest["name"]) == []
    digest = ids.hex_of(ids.content_hash_of(made.packed))
    assert [key for key in await stack.store.list("") if digest in key] == []
