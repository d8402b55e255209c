"""Host services over NATS: who is answered, what is refused, and that nothing but the ticket says whose data it is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from deploy.embedded.postgres import PostgresServer
from schemas import capability, codec, ids, subjects
from schemas.errors import ErrorCode
from schemas.host import HostAnswer, HostFailure, HostReply
from schemas.install import Resolved
from schemas.invocation import SecretEnvelope
from schemas.secrets import SecretsRefused, SecretsReply, SecretsUpdate, SecretsUpdated
from service.messaging import NoResponders
from service.tickets import Minter
from tests import registry_stack
from tests.registry_stack import RegistryStack

ENTRY = {"namespace": "n", "key": "k", "value": b"v", "revision": None}


@pytest_asyncio.fixture(scope="module")
async def stack(
    postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[RegistryStack]:
    async with registry_stack.open_stack(postgres_server, tmp_path_factory.mktemp("serving")) as running:
        yield running


def code_of(reply: HostReply) -> ErrorCode:
    assert isinstance(reply, HostFailure), reply
    return reply.code


def value_of(reply: HostReply) -> Any:
    assert isinstance(reply, HostAnswer), reply
    return reply.value


async def update(stack: RegistryStack, resolved: Resolved, **fields: Any) -> SecretsReply:
    """Write secrets as the gateway does."""
    message = SecretsUpdate(
        tenant=resolved.tenant, install=resolved.install, request_id="r", principal="key-1", **fields
    )
    data = await stack.gateway.request(subjects.SECRETS, codec.encode(message), timeout_seconds=10)
    reply: SecretsReply = codec.decode(SecretsReply, data)
    return reply


@pytest.mark.parametrize(
    ("interface", "function", "arguments"),
    [
        ("storage", "put", [ENTRY]),
        ("storage-v2", "get-usage", []),
        ("secrets", "get", ["api_key"]),
        ("secrets", "list-keys", []),
    ],
)
async def test_a_capability_that_is_not_granted_is_denied_without_effect(
    stack: RegistryStack, interface: str, function: str, arguments: list[Any]
) -> None:
    """A worker that asks anyway, or was taken over, gets what the ticket grants and no more."""
    resolved = await stack.installed()

    reply = await stack.ask(resolved, interface, function, *arguments)

    assert code_of(reply) is ErrorCode.CAPABILITY_DENIED
    granted = msgspec.structs.replace(resolved, grants=frozenset({capability.STORAGE_KV}))
    assert value_of(await stack.ask(granted, "storage", "get", "n", "k")) == ["err", "missing"]


@pytest.mark.parametrize("ticket", ["none", "forged", "changed", "expired"])
async def test_a_ticket_that_does_not_verify_gets_nothing(stack: RegistryStack, ticket: str) -> None:
    """Forged, changed and expired tickets are told apart from nobody's."""
    resolved = await stack.installed(capability.STORAGE_KV)
    real = stack.ticket(resolved)
    wrong = {
        "none": b"",
        "forged": Minter(Ed25519PrivateKey.generate(), stack.clock).mint(
            resolved, longest_seconds=60, needed_seconds=1
        ),
        "changed": real.replace(b"cap:log.emit", b"cap:storage.k"),
        "expired": stack.expired_ticket(resolved),
    }[ticket]

    reply = await stack.ask(resolved, "storage", "get", "n", "k", ticket=wrong)

    assert code_of(reply) is ErrorCode.UNAUTHENTICATED


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("get", ["n"]),
        ("get", ["n", "k", "more"]),
        ("get", ["n", 1]),
        ("get", ["n", None]),
        ("put", [{**ENTRY, "value": "text"}]),
        ("put", [{**ENTRY, "revision": -1.5}]),
        ("put", [{**ENTRY, "tenant": "other"}]),
        ("put", [[]]),
        ("drop-table", []),
    ],
)
async def test_arguments_of_other_types_are_refused(stack: RegistryStack, function: str, arguments: list[Any]) -> None:
    """Types are checked here again: the asker is a process that runs strangers' code."""
    resolved = await stack.installed(capability.STORAGE_KV)

    assert code_of(await stack.ask(resolved, "storage", function, *arguments)) is ErrorCode.INVALID_REQUEST


async def test_a_call_whose_time_is_over_is_not_made(stack: RegistryStack) -> None:
    """No effect of a call that nobody waits for."""
    resolved = await stack.installed(capability.STORAGE_KV)

    assert code_of(await stack.ask(resolved, "storage", "put", ENTRY, left_ms=0)) is ErrorCode.DEADLINE_EXCEEDED
    assert value_of(await stack.ask(resolved, "storage", "get", "n", "k")) == ["err", "missing"]


async def test_garbage_is_answered_and_the_service_lives_on(stack: RegistryStack) -> None:
    """Bytes that are no message of ours get a failure, not silence."""
    resolved = await stack.installed(capability.STORAGE_KV)
    for garbage in (b"", b"\xa1\x01", b"{}", b"\xa1\x02\x80", bytes(1000)):
        data = await stack.worker.request(subjects.host("storage", "get"), garbage, timeout_seconds=5)
        assert code_of(codec.decode(HostReply, data)) is ErrorCode.INVALID_REQUEST

    assert value_of(await stack.ask(resolved, "storage", "get", "n", "k")) == ["err", "missing"]


async def test_installs_of_two_tenants_never_see_each_others_records(stack: RegistryStack) -> None:
    """The same names under two tickets are two records."""
    one, other = [await stack.installed(capability.STORAGE_KV) for _ in range(2)]
    await asyncio.gather(
        *(
            stack.ask(resolved, "storage", "put", {**ENTRY, "value": resolved.tenant.encode()})
            for resolved in (one, other)
        )
    )

    for resolved in (one, other):
        kind, entry = value_of(await stack.ask(resolved, "storage", "get", "n", "k"))
        assert (kind, entry["value"], entry["revision"]) == ("ok", resolved.tenant.encode(), 1)


@pytest.mark.parametrize("interface", ["scheduler", "events"])
async def test_what_is_not_served_yet_has_no_subscriber(stack: RegistryStack, interface: str) -> None:
    """The worker learns at once that nobody answers, and gives the guest the typed failure."""
    resolved = await stack.installed(capability.SCHEDULER_MANAGE)
    function = capability.INTERFACES[interface].functions[0].name

    with pytest.raises(NoResponders):
        await stack.ask(resolved, interface, function)


async def test_secrets_are_written_by_the_gateway_and_read_by_guests(stack: RegistryStack) -> None:
    """Key by key, sorted; nothing of them in the audit row or in the tables."""
    resolved = await stack.installed(capability.SECRETS_GET)
    assert value_of(await stack.ask(resolved, "secrets", "get", "api_key")) == ["err", "missing"]
    assert value_of(await stack.ask(resolved, "secrets", "list-keys")) == []

    written = await update(stack, resolved, put={"z_key": "hidden-zeta", "api_key": "hidden-alpha"})
    deleted = await update(stack, resolved, put={"m_key": "hidden-mu"}, delete=frozenset({"z_key"}))

    assert isinstance(written, SecretsUpdated)
    assert isinstance(deleted, SecretsUpdated)
    assert (written.names, deleted.names) == (("api_key", "z_key"), ("api_key", "m_key"))
    assert value_of(await stack.ask(resolved, "secrets", "list-keys")) == ["api_key", "m_key"]
    assert value_of(await stack.ask(resolved, "secrets", "get", "api_key")) == ["ok", "hidden-alpha"]
    assert value_of(await stack.ask(resolved, "secrets", "get", "z_key")) == ["err", "missing"]
    rows = await stack.audit_rows("install.secrets_changed", resolved.install)
    assert len(rows) == 2
    assert "hidden" not in repr(rows)
    assert "api_key" not in repr(rows)


async def test_secrets_past_their_end_are_not_served(stack: RegistryStack) -> None:
    """Every key is `expired`, whether it exists or not, and none is listed."""
    resolved = await stack.installed(capability.SECRETS_GET)
    await update(stack, resolved, put={"api_key": "v"}, expires_at="2020-01-01T00:00:00Z")

    assert value_of(await stack.ask(resolved, "secrets", "get", "api_key")) == ["err", "expired"]
    assert value_of(await stack.ask(resolved, "secrets", "list-keys")) == []


async def test_secrets_that_cannot_be_decrypted_are_a_failure(stack: RegistryStack) -> None:
    """An envelope nobody here can open, and a plaintext one outside of development, are never served."""
    resolved = await stack.installed(capability.SECRETS_GET)
    for algorithm in ("inline/base64", "vault-transit:v1", "aes-256-gcm:v1"):
        envelope = SecretEnvelope(ciphertext_b64="eyJhIjoiYiJ9", algorithm=algorithm, version=ids.new_id())
        reply = await stack.ask(resolved, "secrets", "get", "a", secret_envelope=envelope)
        assert code_of(reply) is ErrorCode.DEPENDENCY_UNAVAILABLE


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"put": {"k": "x" * (16 * 1024 + 1)}}, ErrorCode.PAYLOAD_TOO_LARGE),
        ({"put": {f"k{number}": "v" for number in range(65)}}, ErrorCode.INVALID_REQUEST),
        ({"put": {"": "v"}}, ErrorCode.INVALID_REQUEST),
        ({"put": {"k": "v"}, "expires_at": "tomorrow"}, ErrorCode.INVALID_REQUEST),
        ({"put": {"k": "v"}, "expires_at": "2030-01-01T00:00:00"}, ErrorCode.INVALID_REQUEST),
    ],
)
async def test_a_refused_write_of_secrets_changes_nothing(
    stack: RegistryStack, fields: dict[str, Any], code: ErrorCode
) -> None:
    """All or nothing, and the refusal names the limit, not the secret."""
    resolved = await stack.installed(capability.SECRETS_GET)
    await update(stack, resolved, put={"kept": "v"})

    reply = await update(stack, resolved, **fields)

    assert isinstance(reply, SecretsRefused)
    assert reply.code is code
    assert "xxx" not in reply.message
    assert value_of(await stack.ask(resolved, "secrets", "list-keys")) == ["kept"]


async def test_secrets_of_another_tenants_install_cannot_be_written(stack: RegistryStack) -> None:
    """The install is looked for inside the caller's tenant."""
    one, other = [await stack.installed(capability.SECRETS_GET) for _ in range(2)]

    reply = await update(stack, msgspec.structs.replace(one, install=other.install), put={"k": "v"})

    assert isinstance(reply, SecretsRefused)
    assert reply.code is ErrorCode.EXTENSION_NOT_INSTALLED
    assert value_of(await stack.ask(other, "secrets", "list-keys")) == []
