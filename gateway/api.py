"""The whole HTTP surface of the gateway, in one list."""

from __future__ import annotations

from aiohttp import web

from gateway import operations
from gateway.operations import Operation
from gateway.routes import (
    compat_execute,
    extensions,
    health,
    installs,
    invocations,
    keys,
    publishers,
    secrets,
    storage,
    tenants,
    versions,
)

OPERATIONS: tuple[Operation, ...] = (
    *tenants.OPERATIONS,
    *publishers.OPERATIONS,
    *keys.OPERATIONS,
    *versions.OPERATIONS,
    *installs.OPERATIONS,
    *secrets.OPERATIONS,
    *storage.OPERATIONS,
    *invocations.OPERATIONS,
)


def add(app: web.Application) -> None:
    """Register every route. What an extension is called by comes first: it is what is called most."""
    extensions.add(app)
    compat_execute.add(app)
    operations.add(app, OPERATIONS)
    health.add(app)
