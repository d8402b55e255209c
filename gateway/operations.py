"""The administrative API as data: each operation's path, who may use it, what goes in and what comes out.

One wrapper does for all of them what no handler may forget: identity, tenant, permission, the body, the answer. The
same data makes `schemas/json/openapi.json`, and the test that each route refuses who it should.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import orjson
from aiohttp import web

from gateway import access, bodies, callers, json_bodies
from gateway.errors import JSON_TYPE
from gateway.identity import Identity
from schemas.call import CallContext
from schemas.errors import Forbidden
from schemas.ids import TenantId

DEADLINE_SECONDS = 30.0
NO_TENANT = TenantId("")
"""The tenant of a context whose caller belongs to none: row security shows it nothing."""


class Access(StrEnum):
    """Who may use an operation."""

    READ = access.EXTENSION_READ
    WRITE = access.EXTENSION_WRITE
    PUBLISHER = "publisher"
    CURATOR = "publisher or operator"
    OPERATOR = "operator"
    PLATFORM = "platform"


class Call(NamedTuple):
    """One administrative call, allowed and parsed. `body` is of the operation's request model, else None."""

    request: web.Request
    identity: Identity
    context: CallContext
    body: Any


class Answer(NamedTuple):
    """A status other than the operation's own, or headers."""

    body: object
    status: int
    headers: Mapping[str, str] = {}


Handler = Callable[[Call], Awaitable[object]]


class Operation(NamedTuple):
    """One operation. `model` parses the JSON body; None: the handler reads what body there is. `query` documents
    the parameters it reads. `status` is that of success."""

    method: str
    path: str
    access: Access
    handler: Handler
    summary: str
    model: type[json_bodies.Body] | None = None
    status: int = 200
    query: tuple[str, ...] = ()
    deadline_seconds: float = DEADLINE_SECONDS


def add(app: web.Application, operations: tuple[Operation, ...]) -> None:
    """Register operations as routes."""
    for operation in operations:
        app.router.add_route(operation.method, operation.path, _route(operation), expect_handler=bodies.leave_uninvited)


def _route(operation: Operation) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def serve(request: web.Request) -> web.StreamResponse:
        identity = await callers.identify(request)
        check(operation.access, identity)
        context = callers.context(
            request, identity.tenant or NO_TENANT, identity.principal, seconds=operation.deadline_seconds
        )
        body = None if operation.model is None else await json_bodies.read(request, operation.model)
        result = await operation.handler(Call(request, identity, context, body))
        return _response(operation, result)

    return serve


def check(wanted: Access, identity: Identity) -> None:
    """Raises Forbidden unless this identity may use an operation of this access."""
    match wanted:
        case Access.READ | Access.WRITE:
            access.check_permission(identity.principal, wanted.value)
            if identity.tenant is None:
                raise Forbidden("this needs the key or session of a tenant")
        case Access.PUBLISHER:
            access.check_publisher(identity.principal)
        case Access.CURATOR:
            access.check_curator(identity)
        case Access.OPERATOR:
            access.check_operator(identity)
        case Access.PLATFORM:
            access.check_platform(identity)


def _response(operation: Operation, result: object) -> web.StreamResponse:
    if isinstance(result, web.StreamResponse):
        return result
    answer = result if isinstance(result, Answer) else Answer(result, operation.status)
    response = web.Response(status=answer.status, headers=answer.headers)
    if answer.body is not None:
        response.body = orjson.dumps(answer.body)
        response.content_type = JSON_TYPE
    response.headers["cache-control"] = "no-store"
    response.headers["x-content-type-options"] = "nosniff"
    return response
