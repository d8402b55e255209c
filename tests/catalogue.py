"""Tenants and published versions as rows, for tests of what reads them: no bundle is packed, signed or compiled.

Owns no rule: publishing itself has its own tests, and acceptance tests go through it.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from registry import signing
from registry.signing import Bound
from schemas import bundle, ids
from schemas.bundle import Statement
from schemas.call import CallContext, Deadline, Principal, PrincipalKind, User
from schemas.ids import ContentHash, InstallId, RegistryId, TenantId, VersionId
from service.clock import SystemClock
from tests.fixtures_postgres import TestDatabase

ENDPOINTS = [
    {"method": "GET", "path": "/hello", "handler": "dist/main"},
    {"method": "POST", "path": "/notes/:id", "handler": "dist/main", "idempotent": True},
]


@dataclass(frozen=True)
class Published:
    """A published version."""

    registry: RegistryId
    version_id: VersionId
    version: str
    publisher: str
    name: str
    content_hash: ContentHash
    key_id: str
    key: Ed25519PrivateKey


def context(tenant: TenantId, *, seconds: float = 30.0, user: User | None = None) -> CallContext:
    """A call of an admin of `tenant`."""
    return CallContext(
        tenant=tenant,
        principal=Principal(kind=PrincipalKind.SERVICE, key_id="key-1", user=user, permissions=frozenset({"*"})),
        request_id=f"test-{ids.new_id()}",
        deadline=Deadline.after(seconds, now=SystemClock().monotonic()),
    )


async def tenant(database: TestDatabase, *, shard: int | None = None) -> TenantId:
    """A new tenant."""
    name = f"t-{secrets.token_hex(6)}"
    async with database.session() as session:
        await session.execute("INSERT INTO tenant (tenant_id, name, shard) VALUES ($1, $1, $2)", name, shard)
    return TenantId(name)


async def publish(
    database: TestDatabase, *, of: Published | None = None, version: str = "1.0.0", **wishes: Any
) -> Published:
    """A version, really signed: of a new extension of a new publisher, or a further one `of` an extension.

    `wishes`: capabilities, egress, events, limits, endpoints, ui; `publisher` and `name` for a new extension.
    """
    async with database.session() as session:
        extension = of or await _extension(session, **wishes)
        bound = Bound(
            publisher=extension.publisher,
            name=extension.name,
            version=version,
            manifest_sha256=secrets.token_hex(32),
            content_hash=ContentHash(f"sha256:{secrets.token_hex(32)}"),
        )
        version_id = await session.fetchval(
            """INSERT INTO extension_version (registry_id, version, runtime, main_entry, capabilities, api_endpoints,
                events, egress, limits, ui, manifest, manifest_sha256)
            VALUES ($1::uuid, $2, 'wasm-component@1', 'dist/main.wasm', $3, $4, $5, $6, $7, $8, $9, $10)
            RETURNING id::text""",
            extension.registry,
            version,
            json.dumps(wishes.get("capabilities", [])),
            json.dumps(wishes.get("endpoints", ENDPOINTS)),
            json.dumps(wishes.get("events", [])),
            json.dumps(wishes.get("egress", [])),
            json.dumps(wishes.get("limits", {})),
            json.dumps(wishes.get("ui")),
            json.dumps({"version": version}),
            bound.manifest_sha256,
        )
        await session.execute(
            """INSERT INTO extension_bundle (version_id, content_hash, storage_url, size_bytes, signature_algorithm,
                key_id, signature, file_index)
            VALUES ($1::uuid, $2, 'file:///x', 1, 'ed25519', $3, $4, '{"dist/main.wasm": {}}')""",
            version_id,
            bound.content_hash,
            extension.key_id,
            _signature(bound, extension.key),
        )
        for endpoint in wishes.get("endpoints", ENDPOINTS):
            await session.execute(
                "INSERT INTO extension_api_endpoint (version_id, method, path, handler) VALUES ($1::uuid, $2, $3, $4)",
                version_id,
                endpoint["method"],
                endpoint["path"],
                endpoint["handler"],
            )
    return Published(
        registry=extension.registry,
        version_id=VersionId(version_id),
        version=version,
        publisher=extension.publisher,
        name=extension.name,
        content_hash=bound.content_hash,
        key_id=extension.key_id,
        key=extension.key,
    )


async def install_row(database: TestDatabase, owner: TenantId, published: Published) -> InstallId:
    """An enabled install without any grant."""
    async with database.session() as session:
        return InstallId(
            await session.fetchval(
                """INSERT INTO tenant_extension_install (tenant_id, registry_id, version_id)
                VALUES ($1, $2::uuid, $3::uuid) RETURNING id::text""",
                owner,
                published.registry,
                published.version_id,
            )
        )


async def _extension(session: Any, **wishes: Any) -> Published:
    publisher = wishes.get("publisher", f"Acme {secrets.token_hex(4)}")
    name = wishes.get("name", f"com.example.e{secrets.token_hex(4)}")
    publisher_id = await session.fetchval(
        "INSERT INTO extension_publisher (name) VALUES ($1) RETURNING id::text", publisher
    )
    key = Ed25519PrivateKey.generate()
    spki = signing.spki_of(key.public_key())
    await session.execute(
        """INSERT INTO extension_publisher_key (publisher_id, key_id, algorithm, public_key)
        VALUES ($1::uuid, $2, 'ed25519', $3)""",
        publisher_id,
        bundle.key_id_of(spki),
        spki,
    )
    registry = await session.fetchval(
        "INSERT INTO extension_registry (publisher, name, publisher_id) VALUES ($1, $2, $3::uuid) RETURNING id::text",
        publisher,
        name,
        publisher_id,
    )
    return Published(
        registry=RegistryId(registry),
        version_id=VersionId(""),
        version="",
        publisher=publisher,
        name=name,
        content_hash=ContentHash(""),
        key_id=bundle.key_id_of(spki),
        key=key,
    )


def _signature(bound: Bound, key: Ed25519PrivateKey) -> str:
    statement = Statement(
        type=bundle.STATEMENT_TYPE,
        issued=datetime.now(UTC).strftime(bundle.ISSUED_FORMAT),
        publisher=bound.publisher,
        name=bound.name,
        version=bound.version,
        manifest_sha256=bound.manifest_sha256,
        content_hash=bound.content_hash,
    )
    return signing.encode_signature(signing.sign_bundle(statement, key)).decode()
