"""The demo tenant of `alga dev`: its tenant, publisher, keys and the examples, made once and kept.

Everything goes through the gateway's API, as an operator, an author and a tenant admin would do it.
"""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import orjson

from cli import build, pack, publish, publisher, sign
from cli.client import Client
from cli.connection import DEFAULT_TIMEOUT_SECONDS, DEV_FILE, Connection, DevKeys, find_dev
from cli.output import say
from deploy.embedded.directory import write_private
from deploy.embedded.processes import Fleet
from registry import key_pairs
from schemas.errors import Conflict

TENANT = "demo"
PUBLISHER = "Alga Examples"
EXAMPLES = build.ROOT / "examples"
PUBLISHED_FILE = "published.json"
_PERMISSIONS = ["extension:read", "extension:write"]


async def ensure(fleet: Fleet) -> DevKeys:
    """The keys of the demo tenant, with the address of this start."""
    data = fleet.stack.data_directory
    known = find_dev(data)
    if known is None:
        known = await _make(fleet)
    current = msgspec.structs.replace(known, base_url=fleet.gateway_url)
    write_private(data / DEV_FILE, msgspec.json.encode(current))
    return current


def connection_of(dev: DevKeys) -> Connection:
    return Connection(
        base_url=dev.base_url, api_key="", tenant=dev.tenant, timeout_seconds=DEFAULT_TIMEOUT_SECONDS, dev=dev
    )


async def publish_examples(fleet: Fleet, connection: Connection) -> dict[str, Any]:
    """Build, publish and install each example whose sources are not the ones published last; all that are installed."""
    ledger = fleet.stack.data_directory / PUBLISHED_FILE
    published: dict[str, Any] = orjson.loads(ledger.read_bytes()) if ledger.exists() else {}
    for project in sorted(path.parent for path in EXAMPLES.glob("*/manifest.json")):
        fingerprint = _fingerprint(project)
        if published.get(project.name, {}).get("sources") == fingerprint:
            continue
        answer = await publish_project(connection, project, settings=_settings(project))
        published[project.name] = {
            "sources": fingerprint,
            "extension": answer["extension"],
            "version": answer["version"],
        }
        write_private(ledger, orjson.dumps(published))
    return published


async def publish_project(connection: Connection, project: Path, *, settings: dict[str, Any]) -> Any:
    """Build, pack under the next patch version, sign, upload, install or update with all grants."""
    await asyncio.to_thread(build.perform, project)
    bundle = await asyncio.to_thread(_pack_next, project, connection)
    answer = await publish.upload(connection, bundle)
    body: dict[str, Any] = {
        "registryId": answer["extension"]["id"],
        "version": answer["version"]["version"],
        "grants": "manifest",
        **{name: settings[name] for name in ("egress", "config") if name in settings},
    }
    await publish.install_or_update(connection, body, settings.get("secrets", {}), update=True)
    return answer


def _pack_next(project: Path, connection: Connection) -> Path:
    """A signed bundle whose manifest says `X.Y.*`: a version is immutable, so each publication takes the next patch."""
    assert connection.dev is not None
    bundle = project / pack.DEFAULT_OUT
    pack.perform(project, bundle, force=True, next_patch=True)
    sign.perform(bundle, Path(connection.dev.signing_key))
    return bundle


def _settings(project: Path) -> dict[str, Any]:
    """What the demo tenant's admin chooses for this example: `demo.json` beside its manifest."""
    path = project / "demo.json"
    settings: dict[str, Any] = orjson.loads(path.read_bytes()) if path.exists() else {}
    return settings


async def _make(fleet: Fleet) -> DevKeys:
    say("making the demo tenant, its publisher and keys")
    signing_key = fleet.stack.data_directory / "keys" / "publisher.key"
    pair = key_pairs.generate()
    operator = Connection(
        base_url=fleet.gateway_url,
        api_key=fleet.operator_key,
        tenant=None,
        timeout_seconds=DEFAULT_TIMEOUT_SECONDS,
    )
    made = await publisher.perform(operator, PUBLISHER, pair.public_pem.decode())
    write_private(signing_key, pair.private_pem)
    async with Client.open(operator, key="operator_key") as session:
        await _create_tenant(session)
        key = await session.post(
            "/api/v1/keys",
            {"tenant": TENANT, "permissions": _PERMISSIONS, "publisher_id": made["id"], "name": "alga dev"},
        )
    return DevKeys(
        base_url=fleet.gateway_url,
        tenant=TENANT,
        publisher=PUBLISHER,
        operator_key=fleet.operator_key,
        publisher_key=key["data"]["key"],
        tenant_key=key["data"]["key"],
        signing_key=str(signing_key),
    )


async def _create_tenant(session: Client) -> None:
    try:
        await session.post("/api/v1/tenants", {"id": TENANT, "name": "Demo Company"})
    except Conflict:
        say(f"tenant {TENANT} exists already")


def _fingerprint(project: Path) -> str:
    """Of the sources; what a build makes does not count."""
    digest = hashlib.sha256()
    for path in sorted(project.rglob("*")):
        relative = path.relative_to(project)
        if path.is_file() and not {"dist", "node_modules", "__pycache__"} & set(relative.parts):
            digest.update(f"{relative}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
