"""Publishing through faults: a registry process that dies in the middle, one publisher that wants all of it."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from deploy.embedded.postgres import PostgresServer
from gateway import publish_client
from registry.settings import RegistrySettings
from schemas import codec, subjects
from schemas.errors import DeadlineExceeded, ErrorCode, Exhausted, Unavailable
from schemas.publishing import PublishAlive, Published, PublishReply, PublishRequest
from service import environ
from service.messaging import NoResponders
from tests import registry_stack
from tests.registry_stack import Author, Bundle, RegistryStack, bundle_of, manifest_of

ROOT = Path(__file__).resolve().parents[3]
START_SECONDS = 30.0


@pytest_asyncio.fixture(scope="module")
async def stack(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RegistryStack]:
    root = tmp_path_factory.mktemp("faults")
    async with registry_stack.open_stack(postgres_server, root, serve=False) as running:
        yield running


@asynccontextmanager
async def registry_process(stack: RegistryStack) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m registry` with the stack's settings, serving; killed at the end if it still runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "registry", env=environ.child(_environment(stack.settings)), cwd=ROOT
    )
    try:
        async with asyncio.timeout(START_SECONDS):
            while not await _answers(stack):
                assert process.returncode is None
                await asyncio.sleep(0.1)
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def request_of(stack: RegistryStack, author: Author, made: Bundle) -> PublishRequest:
    return PublishRequest(
        staging_key=await stack.stage(made.packed),
        publisher_id=author.id,
        request_id="r",
        principal="key-1",
        signature_text=made.signature,
    )


async def until_step(stack: RegistryStack, request: PublishRequest, step: str) -> None:
    """Ask, and return when the pipeline says that it is there."""
    async with stack.gateway.conversation(subjects.PUBLISH, codec.encode(request)) as conversation:
        while True:
            reply: PublishReply = codec.decode(PublishReply, await conversation.next(20))
            assert isinstance(reply, PublishAlive), reply
            if reply.step == step:
                return


async def test_a_registry_process_that_dies_while_compiling_leaves_nothing_to_install(stack: RegistryStack) -> None:
    """SIGKILL in the middle: no row; the next process publishes the same upload as if nothing had been."""
    author = await stack.author()
    manifest = manifest_of(author)
    request = await request_of(stack, author, await bundle_of(author, manifest, guest="ask-qjs"))
    async with registry_process(stack) as process:
        await until_step(stack, request, "compiling")
        process.send_signal(signal.SIGKILL)
        await process.wait()
    assert await stack.version_rows(manifest["name"]) == []

    async with registry_process(stack):
        published = await publish_client.publish(stack.gateway, request, clock=stack.clock)
        again = await publish_client.publish(stack.gateway, request, clock=stack.clock)

    assert isinstance(published, Published)
    assert again == published
    assert len(await stack.version_rows(manifest["name"])) == 1


async def test_a_registry_process_that_is_stopped_finishes_what_it_began(stack: RegistryStack) -> None:
    """SIGTERM drains: the publication under way is answered, then the process ends well."""
    author = await stack.author()
    request = await request_of(stack, author, await bundle_of(author, manifest_of(author), guest="ask-qjs"))
    async with registry_process(stack) as process:
        publishing = asyncio.create_task(publish_client.publish(stack.gateway, request, clock=stack.clock))
        await until_step(stack, request, "compiling")
        process.send_signal(signal.SIGTERM)

        assert (await publishing).content_hash
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_nobody_there_is_unavailable_at_once(stack: RegistryStack) -> None:
    """Without a registry process finalize does not wait."""
    author = await stack.author()
    request = await request_of(stack, author, await bundle_of(author, manifest_of(author)))

    with pytest.raises(Unavailable):
        await asyncio.wait_for(publish_client.publish(stack.gateway, request, clock=stack.clock), 2)


async def test_one_publisher_cannot_take_all_of_the_room(stack: RegistryStack) -> None:
    """More than its share at once is refused with a hint when to come again; another publisher is served."""
    greedy, other = await stack.author(), await stack.author()
    made = await bundle_of(greedy, manifest_of(greedy), guest="ask-qjs")
    requests = [await request_of(stack, greedy, made) for _ in range(12)]
    modest = await request_of(stack, other, await bundle_of(other, manifest_of(other)))

    async with registry_process(stack):
        flood = [
            asyncio.create_task(publish_client.publish(stack.gateway, request, clock=stack.clock))
            for request in requests
        ]
        served = await publish_client.publish(stack.gateway, modest, clock=stack.clock)
        results = await asyncio.gather(*flood, return_exceptions=True)

    assert served.content_hash
    refused = [error for error in results if isinstance(error, Exhausted)]
    assert len(refused) >= 8
    assert {(error.code, error.retry_after_seconds is not None) for error in refused} == {
        (ErrorCode.CONCURRENCY_EXCEEDED, True)
    }
    assert sum(isinstance(result, Published) for result in results) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALGA_SECRETS_KEK_FILE", "/nowhere/kek.json"),
        ("ALGA_SECRETS_KEK_FILE", ""),
        ("ALGA_BUILD_PRIVATE_KEY_FILE", "/etc/hostname"),
        ("ALGA_TICKET_PUBLIC_KEYS_FILE", "/nowhere"),
        ("ALGA_POSTGRES_SYSTEM_DSN", ""),
        ("ALGA_SIGNING_ROOTS_FILE", "/nowhere"),
        ("ALGA_SURPRISE", "1"),
    ],
)
async def test_a_setting_that_is_missing_or_wrong_stops_the_process_and_is_named(
    stack: RegistryStack, name: str, value: str
) -> None:
    """Exit 2, and one line that says which."""
    environment = {**_environment(stack.settings), name: value}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "registry",
        env=environ.child(environment),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await asyncio.wait_for(process.communicate(), START_SECONDS)

    assert process.returncode == 2
    assert name in said.decode()
    assert "Traceback" not in said.decode()


async def _answers(stack: RegistryStack) -> bool:
    """Whether somebody serves the subject. What is asked is no message of ours, so it is passed over in silence."""
    try:
        async with stack.gateway.conversation(subjects.PUBLISH, b"") as conversation:
            await conversation.next(0.2)
    except NoResponders:
        return False
    except DeadlineExceeded:
        return True
    raise AssertionError("garbage was answered")


def _environment(settings: RegistrySettings) -> dict[str, str]:
    assert settings.postgres.system_dsn is not None
    return {
        "ALGA_NATS_URL": settings.nats.url,
        "ALGA_STORE_URL": settings.store.url,
        "ALGA_POSTGRES_DSN": settings.postgres.dsn,
        "ALGA_POSTGRES_SYSTEM_DSN": settings.postgres.system_dsn,
        "ALGA_TICKET_PUBLIC_KEYS_FILE": settings.ticket.public_keys_file,
        "ALGA_BUILD_PRIVATE_KEY_FILE": settings.build.private_key_file,
        "ALGA_SECRETS_KEK_FILE": settings.secrets.kek_file,
        "ALGA_PROBE_PORT": "0",
    }
