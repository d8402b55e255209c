"""The fleet as tests use it: tenants, publishing, installing and calling through the gateway's own API."""

from __future__ import annotations

import itertools
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp

from cli.sign import statement_of
from deploy.embedded import processes
from deploy.embedded.processes import Fleet, Options
from registry import key_pairs, packing, signing
from schemas import errors, ids

PUBLISHER = "Test Publisher"
PERMISSIONS = ["extension:read", "extension:write"]
UNMETERED = {"ALGA_PLATFORM_RATE_PER_SECOND": "100000", "ALGA_PLATFORM_RATE_BURST": "100000"}
"""Settings of a gateway for tests that call one install faster than a tenant may."""
TIMEOUT = aiohttp.ClientTimeout(total=150)
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Answer:
    """What came back over HTTP."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The error code of an answer of ours."""
        return str(self.json()["error"]["code"])


@dataclass(frozen=True)
class TestTenant:
    """A tenant and a key that reads, writes and publishes for it."""

    __test__ = False

    id: str
    key: str


@dataclass(frozen=True)
class Published:
    """One version of an extension."""

    registry_id: str
    name: str
    version: str
    content_hash: str


@dataclass(frozen=True)
class Installed:
    """One install of a tenant."""

    tenant: TestTenant
    extension: Published
    id: str


@dataclass
class TestFleet:
    """A running fleet with one publisher."""

    __test__ = False

    fleet: Fleet
    session: aiohttp.ClientSession
    signing_pem: bytes = b""
    publisher_id: str = ""
    _published: dict[str, Published] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.fleet.gateway_url

    async def operator(self, method: str, path: str, body: Any = None) -> Any:
        return await self.admin(self.fleet.operator_key, method, path, body)

    async def admin(self, key: str, method: str, path: str, body: Any = None) -> Any:
        """The decoded answer of an administrative call; raises the FleetError of its code."""
        answer = await self.request(method, path, key=key, body=None if body is None else json.dumps(body).encode())
        if answer.status >= 400:
            error = answer.json()["error"]
            extra = {name: value for name, value in error.items() if name not in ("code", "message")}
            raise errors.from_code(error["code"], error["message"], extra=extra)
        return answer.json() if answer.body else None

    async def request(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = {**({"x-api-key": key} if key else {}), **(headers or {})}
        async with self.session.request(method, self.url + path, data=body, headers=sent, params=params) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, await answer.read())

    async def tenant(self, name: str = "t", *, shard: int | None = None) -> TestTenant:
        """A new tenant with its key. `shard` pins its calls, else its hash decides."""
        tenant_id = f"{name}-{next(_numbers)}-{ids.new_id()[:8]}"
        pinned = {} if shard is None else {"shard": shard}
        await self.operator("POST", "/api/v1/tenants", {"id": tenant_id, "name": f"Company of {tenant_id}", **pinned})
        body = {"tenant": tenant_id, "permissions": PERMISSIONS, "publisher_id": self.publisher_id, "name": "tests"}
        made = await self.operator("POST", "/api/v1/keys", body)
        return TestTenant(tenant_id, made["data"]["key"])

    async def publish(
        self,
        component: Path | bytes | None,
        *,
        manifest: Mapping[str, Any] | None = None,
        files: Mapping[str, bytes] | None = None,
        key: str | None = None,
        signing_pem: bytes | None = None,
    ) -> Published:
        """Pack, sign, upload and finalize; by default with any-method endpoints `/` to `/:a/:b/:c`."""
        document = manifest_of(manifest)
        packed = packing.pack(
            {
                "manifest.json": json.dumps(document).encode(),
                **({} if component is None else {"dist/main.wasm": component}),
                **(files or {}),
            }
        )
        return await self.publish_bundle(packed, key=key, signing_pem=signing_pem)

    async def publish_bundle(
        self, packed: bytes, *, key: str | None = None, signing_pem: bytes | None = None, signature: str | None = None
    ) -> Published:
        key = key or await self._publisher_key()
        declared = ids.hex_of(ids.content_hash_of(packed))
        staged = await self.request(
            "POST",
            "/api/ext-bundles/upload-proxy",
            key=key,
            body=packed,
            params={"size": str(len(packed)), "declaredHash": declared},
        )
        if staged.status != 200:
            error = staged.json()["error"]
            raise errors.from_code(error["code"], error["message"], extra=error)
        text = signature or self.sign(packed, signing_pem or self.signing_pem)
        body = {"key": staged.json()["upload"]["key"], "signature": {"text": text, "algorithm": "ed25519"}}
        made = await self.admin(key, "POST", "/api/ext-bundles/finalize", body)
        return Published(
            made["extension"]["id"],
            made["extension"]["name"],
            made["version"]["version"],
            "sha256:" + made["contentHash"],
        )

    def sign(self, packed: bytes, pem: bytes) -> str:
        statement = statement_of(packed, issued=datetime.now(UTC))
        return signing.encode_signature(signing.sign_bundle(statement, signing.load_private_key(pem))).decode()

    async def publish_once(self, label: str, component: Path, **manifest: Any) -> Published:
        """Publish a guest the first time a test asks for it under `label`; later tests share the version."""
        if label not in self._published:
            self._published[label] = await self.publish(component, manifest=manifest)
        return self._published[label]

    async def install(self, tenant: TestTenant, extension: Published, **body: Any) -> Installed:
        sent = {"registryId": extension.registry_id, "version": extension.version, "grants": "manifest", **body}
        made = await self.admin(tenant.key, "POST", "/api/v1/extensions/install", sent)
        return Installed(tenant, extension, made["data"]["installId"])

    async def call(
        self,
        install: Installed,
        path: str = "/",
        *,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        return await self.request(
            method, f"/api/ext/{install.id}{path}", key=install.tenant.key, body=body, headers=headers
        )

    async def _publisher_key(self) -> str:
        if not hasattr(self, "_key"):
            self._key = (await self.tenant("publisher")).key
        return self._key


def manifest_of(given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A valid manifest of a name nobody else has; `given` replaces fields."""
    paths = ["/", "/:a", "/:a/:b", "/:a/:b/:c"]
    endpoints = [
        {"method": method, "path": path, "handler": "dist/main"}
        for method in ("GET", "POST", "PUT", "DELETE")
        for path in paths
    ]
    return {
        "name": f"com.example.t{ids.new_id().replace('-', '')[:12]}",
        "publisher": PUBLISHER,
        "version": "1.0.0",
        "runtime": "wasm-component@1",
        "api": {"endpoints": endpoints},
        **(given or {}),
    }


@asynccontextmanager
async def open_fleet(directory: Path, options: Options | None = None) -> AsyncIterator[TestFleet]:
    """Start a fleet and make its publisher."""
    async with (
        processes.start(directory, options or Options()) as running,
        aiohttp.ClientSession(timeout=TIMEOUT, auto_decompress=False) as session,
    ):
        made = TestFleet(running, session)
        pair = key_pairs.generate()
        publisher = (await made.operator("POST", "/api/v1/publishers", {"name": PUBLISHER}))["data"]
        key = {"publicKey": pair.public_pem.decode()}
        await made.operator("POST", f"/api/v1/publishers/{publisher['id']}/keys", key)
        made.signing_pem, made.publisher_id = pair.private_pem, publisher["id"]
        yield made
