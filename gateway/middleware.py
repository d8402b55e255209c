"""The order of things round every request: its id, its sanity, the handler, errors as answers, CORS, metrics.

Owns that order and nothing of what happens inside. Identity is asked for by the handlers, since each door has its
own; no byte of a body is read here.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import structlog
from aiohttp import web
from aiohttp.typedefs import Middleware

from gateway import errors, keys, sanity
from gateway.cors import Cors
from schemas import headers
from schemas.errors import FleetError, Invalid, NotFound
from service.metrics import Metrics

log = structlog.get_logger()

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def edge(cors: Cors, metrics: Metrics) -> Middleware:
    """The one middleware of the gateway."""

    @web.middleware
    async def around(request: web.Request, handler: Handler) -> web.StreamResponse:
        started = time.perf_counter()
        request_id = request[keys.REQUEST_ID] = sanity.request_id_of(request.headers.get(headers.REQUEST_ID))
        try:
            response = await _answer(request, handler, cors)
        except web.HTTPException as problem:
            response = errors.response_of(_of_framework(problem), request_id=request_id)
        except FleetError as problem:
            response = _failed(request, problem)
        except Exception as problem:
            log.exception("a request failed", request_id=request_id, path=request.path)
            response = _failed(request, errors.error_of(problem))
        if not response.prepared:
            response.headers[headers.REQUEST_ID] = request_id
            response.headers["server"] = errors.SERVER
            cors.mark(response.headers, request.headers.get("origin"))
        _count(metrics, request, response, time.perf_counter() - started)
        return response

    return around


async def _answer(request: web.Request, handler: Handler, cors: Cors) -> web.StreamResponse:
    try:
        sanity.check(request)
    except Invalid as problem:
        response = errors.response_of(problem, request_id=request[keys.REQUEST_ID])
        response.force_close()
        return response
    if request.method == "OPTIONS":
        return cors.preflight(request.headers.get("origin"))
    return await handler(request)


def _failed(request: web.Request, problem: FleetError) -> web.Response:
    """An error as an answer. A body that was not read to its end closes the connection."""
    request_id = request[keys.REQUEST_ID]
    if errors.status_of(problem.code) >= 500:
        log.warning(
            "a request was not served",
            request_id=request_id,
            code=problem.code,
            message=problem.message,
            detail=problem.detail,
        )
    response = errors.response_of(problem, request_id=request_id)
    if not request.content.is_eof():
        response.force_close()
    return response


def _of_framework(problem: web.HTTPException) -> FleetError:
    """What the framework's router raises: no such path, or not with this method."""
    if problem.status in (404, 405):
        return NotFound("there is nothing at this path for this method")
    return Invalid(f"request was refused with status {problem.status}")


def _count(metrics: Metrics, request: web.Request, response: web.StreamResponse, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = "none" if resource is None else resource.canonical
    method = request.method if request.method in _METHODS else "other"
    metrics.http_requests.labels(route, method, str(response.status)).inc()
    metrics.http_seconds.labels(route).observe(seconds)


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
