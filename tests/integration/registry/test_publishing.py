"""Publishing over NATS, with the real jail: what becomes a version, what leaves nothing, and what happens once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio

from deploy.embedded import s3
from deploy.embedded.postgres import PostgresServer
from registry import app, signing
from registry.bundles import Bundles
from registry.publishers import Publishers, PublisherState
from schemas import bundle, codec, errors, ids, subjects
from schemas.errors import Conflict, ErrorCode, Forbidden, Invalid, NotFound, Unavailable, Unprocessable
from schemas.publishing import Precompiled, PrecompileReply, PrecompileRequest, Published, PublishFailed
from service.messaging import Messaging
from service.settings import StoreSettings
from tests import registry_stack
from tests.registry_stack import RegistryStack, bundle_of, manifest_of


@pytest_asyncio.fixture(scope="module")
async def stack(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RegistryStack]:
    async with registry_stack.open_stack(postgres_server, tmp_path_factory.mktemp("registry")) as running:
        yield running


async def cwasm_keys(stack: RegistryStack, published: Published) -> tuple[str, str]:
    (key,) = [key for key in await stack.store.list("cwasm/") if key.endswith(ids.hex_of(published.content_hash))]
    return key, f"{key}.json"


async def test_a_published_version_has_rows_objects_and_code_that_a_worker_accepts(stack: RegistryStack) -> None:
    """Everything a front resolves and a worker loads is there, and verifies with the public keys alone."""
    author = await stack.author()
    manifest = manifest_of(
        author,
        capabilities=["storage.kv"],
        egress=["api.acme.example"],
        events=[{"topic": "ticket.created", "handler": "/on/ticket"}],
        limits={"timeout_ms": 8000},
        api={"endpoints": [{"method": "get", "path": "notes/:id", "handler": "dist/main", "schedulable": True}]},
    )
    made = await bundle_of(author, manifest, files={"ui/index.html": b"<p>hello"})

    published = await stack.publish(author, made)

    (row,) = await stack.version_rows(manifest["name"])
    assert (published.name, published.version, row["version"]) == (manifest["name"], "1.0.0", "1.0.0")
    assert json.loads(row["capabilities"]) == ["cap:events.subscribe", "cap:storage.kv"]
    (endpoint,) = json.loads(row["api_endpoints"])
    assert endpoint == {"method": "GET", "path": "/notes/:id", "handler": "dist/main", "schedulable": True}
    assert json.loads(row["events"])[0]["topic"] == "ticket.created"
    assert json.loads(row["limits"]) == {"timeout_ms": 8000}
    assert await stack.store.get(bundle.bundle_key(published.content_hash)) == made.packed
    key, record_key = await cwasm_keys(stack, published)
    record = signing.verify_load_record(
        await stack.store.get(record_key),
        build_keys=signing.build_keys_of([_build_public(stack)]),
        content_hash=published.content_hash,
        engine_fingerprint=key.split("/")[1],
    )
    cwasm = await stack.store.get(key)
    assert (record.cwasm_bytes, f"sha256:{record.cwasm_sha256}") == (len(cwasm), ids.content_hash_of(cwasm))
    assert published.imports
    assert json.loads(row["imports"]) == list(published.imports)


async def test_finalize_again_with_the_same_key_gives_the_same_answer(stack: RegistryStack) -> None:
    """An answer that was lost on the way is asked for again; nothing is published twice."""
    author = await stack.author()
    manifest = manifest_of(author, version="2.1.*")
    made = await bundle_of(author, manifest)
    key = await stack.stage(made.packed)

    first, second = await asyncio.gather(stack.publish(author, made, key=key), stack.publish(author, made, key=key))
    third = await stack.publish(author, made, key=key)

    assert first == second == third
    assert len(await stack.version_rows(manifest["name"])) == 1
    assert not await stack.store.exists(key)


async def test_the_same_version_published_at_once_from_several_uploads_exists_once(stack: RegistryStack) -> None:
    """One of them wins, the others are told version_exists, whatever their bytes."""
    author = await stack.author()
    manifest = manifest_of(author)
    made = [await bundle_of(author, manifest, files={"ui/a.txt": str(number).encode()}) for number in range(4)]

    results = await asyncio.gather(*(stack.publish(author, one) for one in made), return_exceptions=True)

    won = [result for result in results if isinstance(result, Published)]
    lost = [result for result in results if isinstance(result, Conflict)]
    assert (len(won), len(lost)) == (1, 3)
    assert {error.code for error in lost} == {ErrorCode.VERSION_EXISTS}
    assert len(await stack.version_rows(manifest["name"])) == 1


async def test_wildcard_versions_published_at_once_get_different_patches(stack: RegistryStack) -> None:
    """X.Y.* is resolved under a lock, so that no two uploads get the same patch."""
    author = await stack.author()
    manifest = manifest_of(author, version="1.4.*")
    made = [await bundle_of(author, manifest, files={"ui/a.txt": str(number).encode()}) for number in range(4)]

    published = await asyncio.gather(*(stack.publish(author, one) for one in made))

    assert sorted(one.version for one in published) == ["1.4.0", "1.4.1", "1.4.2", "1.4.3"]


async def test_the_same_bytes_are_published_once_per_extension(stack: RegistryStack) -> None:
    """With a wildcard version the same bundle would otherwise become one version after the other."""
    author = await stack.author()
    made = await bundle_of(author, manifest_of(author, version="1.0.*"))
    await stack.publish(author, made)

    with pytest.raises(Conflict) as refused:
        await stack.publish(author, made)

    assert refused.value.code is ErrorCode.VERSION_EXISTS


async def test_a_bundle_without_component_is_published_when_nothing_would_call_it(stack: RegistryStack) -> None:
    """An extension may be UI only: it has no code, so none is compiled."""
    author = await stack.author()
    made = await bundle_of(author, manifest_of(author, api=None), guest=None, files={"ui/index.html": b"<p>"})

    published = await stack.publish(author, made)

    assert published.imports == ()
    assert not [key for key in await stack.store.list("cwasm/") if ids.hex_of(published.content_hash) in key]


@pytest.mark.parametrize("wish", ["api", "events"])
async def test_a_bundle_without_component_is_refused_when_something_would_call_it(
    stack: RegistryStack, wish: str
) -> None:
    """Endpoints and events need code."""
    author = await stack.author()
    events = [{"topic": "a.b", "handler": "/on"}] if wish == "events" else None
    manifest = manifest_of(author, **({"api": None, "events": events} if events else {}))

    await refused(stack, author, await bundle_of(author, manifest, guest=None), ErrorCode.BUNDLE_INVALID, manifest)


@pytest.mark.parametrize(
    ("guest", "word"),
    [
        ("wrong-handler", "handler"),
        ("no-handler", "handler"),
        ("core-module", "core module"),
        ("unknown-interface", ""),
    ],
)
async def test_a_component_that_is_not_of_the_world_leaves_nothing(stack: RegistryStack, guest: str, word: str) -> None:
    """Refused by name, in the jail, before anything is stored."""
    author = await stack.author()
    manifest = manifest_of(author)

    error = await refused(
        stack, author, await bundle_of(author, manifest, guest=guest), ErrorCode.BUNDLE_INVALID, manifest
    )

    assert word in error.message


@pytest.mark.parametrize(
    "fields",
    [
        {"ui": {"type": "iframe", "entry": "ui/missing.html"}},
        {"sbom": "sbom.spdx.json"},
        {"precompiled": {"x86_64-linux": "precompiled/a.cwasm"}},
        {"capabilities": ["cap:rm.rf"]},
    ],
)
async def test_a_manifest_that_names_what_is_not_there_is_refused(stack: RegistryStack, fields: Any) -> None:
    """All problems come as a list, each with its path."""
    author = await stack.author()
    manifest = manifest_of(author)
    broken = {**manifest, **fields}
    made = await registry_stack.bundle_of_anything(author, broken)

    error = await refused(stack, author, made, ErrorCode.MANIFEST_INVALID, manifest)

    assert error.extra["problems"]


async def test_what_finalize_says_of_the_archive_must_be_so(stack: RegistryStack) -> None:
    """A wrong hash, size or manifest is refused; the right ones are not, however the manifest is spelled."""
    author = await stack.author()
    manifest = manifest_of(author)
    made = await bundle_of(author, manifest)

    with pytest.raises(Invalid, match="declaredHash"):
        await stack.publish(author, made, declared_hash=ids.content_hash_of(b"other"))
    with pytest.raises(Invalid, match="size"):
        await stack.publish(author, made, size_bytes=len(made.packed) + 1)
    with pytest.raises(Unprocessable, match="manifestJson"):
        await stack.publish(author, made, manifest_json=json.dumps({**manifest, "version": "1.0.1"}))
    published = await stack.publish(
        author,
        made,
        declared_hash=ids.content_hash_of(made.packed),
        size_bytes=len(made.packed),
        manifest_json=json.dumps(manifest, indent=2, sort_keys=True),
    )
    assert published.content_hash == ids.content_hash_of(made.packed)


async def test_an_upload_that_is_not_there_is_not_found(stack: RegistryStack) -> None:
    """A key that was never staged, or whose upload was given up."""
    author = await stack.author()
    made = await bundle_of(author, manifest_of(author))

    with pytest.raises(NotFound):
        await stack.publish(author, made, key=bundle.staging_key("t-tests", ids.new_id()))


async def test_another_publishers_name_is_forbidden(stack: RegistryStack) -> None:
    """The first publisher of a name owns it; a suspended one publishes nothing."""
    owner, other = await stack.author(), await stack.author()
    manifest = manifest_of(owner)
    await stack.publish(owner, await bundle_of(owner, manifest))
    taken = {**manifest, "publisher": other.name, "version": "1.0.1"}

    with pytest.raises(Forbidden, match="another publisher"):
        await stack.publish(other, await bundle_of(other, taken))
    with pytest.raises(Forbidden, match="publisher"):
        await stack.publish(other, await bundle_of(owner, {**manifest, "version": "1.0.2"}))
    await Publishers(stack.database).set_state(registry_stack.context(), owner.id, PublisherState.SUSPENDED)
    with pytest.raises(Forbidden, match="suspended"):
        await stack.publish(owner, await bundle_of(owner, {**manifest, "version": "1.0.3"}))

    assert [row["version"] for row in await stack.version_rows(manifest["name"])] == ["1.0.0"]


async def test_an_archive_that_is_none_is_refused_and_leaves_an_audit_row(stack: RegistryStack) -> None:
    """What was refused, to whom, and why is on record."""
    author = await stack.author()
    made = await bundle_of(author, manifest_of(author))

    with pytest.raises(Unprocessable) as refusal:
        await stack.publish(author, registry_stack.Bundle(made.packed[:-5], made.signature))

    assert refusal.value.code is ErrorCode.BUNDLE_INVALID
    (row,) = await stack.audit_rows("version.publish_refused", author.id)
    assert (row["status"], row["error_message"]) == ("failure", "bundle_invalid")


async def test_code_that_is_missing_or_damaged_is_built_again_from_the_bundle(stack: RegistryStack) -> None:
    """A worker asks for the code of a published bundle, and gets the same bytes under a record that verifies."""
    author = await stack.author()
    published = await stack.publish(author, await bundle_of(author, manifest_of(author)))
    key, record_key = await cwasm_keys(stack, published)
    before = await stack.store.get(key)
    await stack.store.put(key, b"damaged", overwrite=True)
    await stack.store.delete(record_key)

    replies = await asyncio.gather(*(precompile(stack.worker, published, key.split("/")[1]) for _ in range(3)))

    assert all(isinstance(reply, Precompiled) for reply in replies)
    assert await stack.store.get(key) == before
    assert await stack.store.exists(record_key)


async def test_code_for_a_new_engine_is_made_ahead_when_a_process_starts(stack: RegistryStack) -> None:
    """After an engine upgrade the first call of an old bundle need not wait for a compiler."""
    author = await stack.author()
    published = await stack.publish(author, await bundle_of(author, manifest_of(author)))
    key, record_key = await cwasm_keys(stack, published)
    async with stack.rows.session() as session:
        await session.execute("DELETE FROM extension_cwasm WHERE content_hash = $1", published.content_hash)
    await stack.store.delete(key)
    await stack.store.delete(record_key)

    async with app.open_registry(stack.settings), asyncio.timeout(60):
        while not await _compiled_rows(stack, published):
            await asyncio.sleep(0.1)

    assert await stack.store.exists(key)
    assert await stack.store.exists(record_key)


async def test_publishing_to_s3_is_no_different(postgres_server: PostgresServer, tmp_path: Path) -> None:
    """The same objects in a real S3 server, refused and published alike."""
    async with s3.start(tmp_path / "s3") as server:
        store = StoreSettings(
            url=f"s3://{server.bucket}/fleet",
            endpoint=server.endpoint,
            access_key=server.access_key,
            secret_key=server.secret_key,
        )
        async with registry_stack.open_stack(postgres_server, tmp_path / "stack", store=store) as stack:
            author = await stack.author()
            manifest = manifest_of(author)
            await refused(
                stack,
                author,
                await bundle_of(author, manifest, guest="wrong-import"),
                ErrorCode.BUNDLE_INVALID,
                manifest,
            )
            made = await bundle_of(author, manifest)
            published = await stack.publish(author, made)
            key, record_key = await cwasm_keys(stack, published)
            await stack.store.delete(record_key)

            assert isinstance(await precompile(stack.worker, published, key.split("/")[1]), Precompiled)
            assert await stack.store.get(bundle.bundle_key(published.content_hash)) == made.packed


async def test_code_for_another_engine_is_unavailable_here(stack: RegistryStack) -> None:
    """A registry process compiles for its own engine only."""
    author = await stack.author()
    published = await stack.publish(author, await bundle_of(author, manifest_of(author)))

    reply = await precompile(stack.worker, published, "0" * 16)

    assert isinstance(reply, PublishFailed)
    assert isinstance(errors.from_code(reply.code, reply.message), Unavailable)


async def test_a_revoked_key_does_not_stop_the_rebuild_of_what_it_signed_before(stack: RegistryStack) -> None:
    """Whether a version may still run is the front's to say; an engine upgrade must not take it away."""
    author = await stack.author()
    published = await stack.publish(author, await bundle_of(author, manifest_of(author)))
    key, _ = await cwasm_keys(stack, published)
    await Publishers(stack.database).revoke_key(registry_stack.context(), author.id, author.key_id)
    await stack.store.delete(key)

    assert isinstance(await precompile(stack.worker, published, key.split("/")[1]), Precompiled)


async def test_a_version_is_withdrawn_by_its_publisher_only(stack: RegistryStack) -> None:
    """Withdrawing changes the state, leaves an audit row, and is nobody else's to do."""
    author, other = await stack.author(), await stack.author()
    published = await stack.publish(author, await bundle_of(author, manifest_of(author)))
    bundles = Bundles(stack.database)

    with pytest.raises(Forbidden):
        await bundles.set_state(_as(other), published.version_id, "withdrawn")
    with pytest.raises(Forbidden):
        await bundles.set_state(_as(author), published.version_id, "quarantined")
    await bundles.set_state(_as(author), published.version_id, "withdrawn")

    (row,) = await stack.version_rows(published.name)
    assert row["state"] == "withdrawn"
    assert len(await stack.audit_rows("version.withdrawn", published.version_id)) == 1


async def refused(
    stack: RegistryStack, author: registry_stack.Author, made: registry_stack.Bundle, code: ErrorCode, manifest: Any
) -> Unprocessable:
    """Publish, expecting this refusal, after which there is nothing of the bundle but the upload."""
    with pytest.raises(Unprocessable) as refusal:
        await stack.publish(author, made)
    assert refusal.value.code is code
    assert await stack.version_rows(manifest["name"]) == []
    digest = ids.hex_of(ids.content_hash_of(made.packed))
    assert [key for key in await stack.store.list("") if digest in key] == []
    return refusal.value


async def precompile(worker: Messaging, published: Published, fingerprint: str) -> Precompiled | PublishFailed:
    """Ask as a worker does."""
    request = PrecompileRequest(content_hash=published.content_hash, engine_fingerprint=fingerprint)
    async with worker.conversation(subjects.PRECOMPILE, codec.encode(request)) as conversation:
        while True:
            reply: PrecompileReply = codec.decode(PrecompileReply, await conversation.next(5))
            if isinstance(reply, Precompiled | PublishFailed):
                return reply


async def _compiled_rows(stack: RegistryStack, published: Published) -> int:
    async with stack.rows.session() as session:
        count: int = await session.fetchval(
            "SELECT count(*) FROM extension_cwasm WHERE content_hash = $1", published.content_hash
        )
    return count


def _as(author: registry_stack.Author) -> Any:
    ctx = registry_stack.context()
    return msgspec.structs.replace(ctx, principal=msgspec.structs.replace(ctx.principal, publisher_id=author.id))


def _build_public(stack: RegistryStack) -> bytes:
    private = signing.load_build_key(Path(stack.settings.build.private_key_file).read_bytes())
    return signing.spki_of(private.public_key())
