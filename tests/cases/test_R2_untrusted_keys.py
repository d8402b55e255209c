"""R2: a signature that verifies, by a key that does not count for this publisher, publishes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.embedded.postgres import PostgresServer
from registry import signing
from registry.publishers import Publishers
from schemas import ids
from schemas.errors import ErrorCode, FleetError, Forbidden, Unprocessable
from tests import registry_stack
from tests.registry_stack import Author, RegistryStack, bundle_of, manifest_of

pytestmark = pytest.mark.case("R2")
DAY = timedelta(days=1)


@pytest_asyncio.fixture(scope="module")
async def stack(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RegistryStack]:
    async with registry_stack.open_stack(postgres_server, tmp_path_factory.mktemp("r2")) as running:
        yield running


async def add_key(stack: RegistryStack, author: Author, **bounds: datetime) -> Ed25519PrivateKey:
    key = Ed25519PrivateKey.generate()
    spki = signing.spki_of(key.public_key())
    await Publishers(stack.database).add_key(registry_stack.context(), author.id, spki, **bounds)
    return key


async def check_refused(stack: RegistryStack, author: Author, key: Ed25519PrivateKey, expected: ErrorCode) -> None:
    """Refused with this code, recorded, and nothing is there afterwards."""
    manifest = manifest_of(author)
    made = await bundle_of(author, manifest, signed_by=key)
    with pytest.raises(FleetError) as refusal:
        await stack.publish(author, made)

    assert refusal.value.code is expected
    assert isinstance(refusal.value, Forbidden if expected is ErrorCode.FORBIDDEN else Unprocessable)
    assert await stack.version_rows(manifest["name"]) == []
    digest = ids.hex_of(ids.content_hash_of(made.packed))
    assert [stored for stored in await stack.store.list("") if digest in stored] == []
    (row,) = await stack.audit_rows("version.publish_refused", author.id)
    assert (row["status"], row["error_message"]) == ("failure", expected.value)


async def test_R2_a_key_nobody_registered(stack: RegistryStack) -> None:
    """Whoever can make a key pair can sign; that gives no right to publish."""
    author = await stack.author()
    await check_refused(stack, author, Ed25519PrivateKey.generate(), ErrorCode.SIGNATURE_INVALID)


async def test_R2_an_expired_key(stack: RegistryStack) -> None:
    """A key counts until its end, whatever the statement says of when it was issued."""
    author, now = await stack.author(), datetime.now(UTC)
    key = await add_key(stack, author, not_before=now - 2 * DAY, not_after=now - DAY)
    await check_refused(stack, author, key, ErrorCode.SIGNATURE_INVALID)


async def test_R2_a_key_that_is_not_valid_yet(stack: RegistryStack) -> None:
    """A key that was registered for later does not count before."""
    author = await stack.author()
    key = await add_key(stack, author, not_before=datetime.now(UTC) + DAY)
    await check_refused(stack, author, key, ErrorCode.SIGNATURE_INVALID)


async def test_R2_a_revoked_key(stack: RegistryStack) -> None:
    """Revoking counts at once."""
    author = await stack.author()
    await Publishers(stack.database).revoke_key(registry_stack.context(), author.id, author.key_id)
    await check_refused(stack, author, author.key, ErrorCode.SIGNATURE_INVALID)


async def test_R2_another_publishers_key_on_this_publishers_extension(stack: RegistryStack) -> None:
    """Publisher B's own good key signs a bundle in A's name, sent with A's credentials: forbidden."""
    author, other = await stack.author(), await stack.author()
    await check_refused(stack, author, other.key, ErrorCode.FORBIDDEN)


async def test_R2_another_publisher_takes_an_extension_over(stack: RegistryStack) -> None:
    """Publisher B signs and sends a further version of A's extension under B's own name: forbidden."""
    author, other = await stack.author(), await stack.author()
    manifest = manifest_of(author)
    await stack.publish(author, await bundle_of(author, manifest))
    taken = {**manifest, "publisher": other.name, "version": "9.9.9"}

    with pytest.raises(Forbidden):
        await stack.publish(other, await bundle_of(other, taken))

    assert [row["version"] for row in await stack.version_rows(manifest["name"])] == ["1.0.0"]
    (row,) = await stack.audit_rows("version.publish_refused", other.id)
    assert row["error_message"] == "forbidden"
