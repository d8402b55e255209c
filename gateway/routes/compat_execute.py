"""`POST /v1/execute`: the door of host applications that spoke to the former HTTP runner.

Authentication and parsing fail on the transport; everything after them answers 200 with an envelope that carries the
status. Owns that split; the format is `execute_bodies.py`'s, the corridor the same as every call's.
"""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from gateway import bodies, callers, errors, execute_bodies, keyed_calls, keys
from gateway.errors import JSON_TYPE
from gateway.execute_bodies import ExecuteBody
from registry.admission import Call
from schemas import headers, ids
from schemas.call import CallContext, Principal, PrincipalKind
from schemas.errors import ErrorCode, FleetError
from schemas.install import Resolved
from schemas.invocation import MAX_HTTP_TIMEOUT_MS, Origin, Outcome, Trigger

PATH = "/v1/execute"
MAX_BODY_BYTES = 4 * 1024 * 1024
"""2 MiB of guest body in base64, configuration and secrets."""
_SERVICE = Principal(kind=PrincipalKind.SERVICE, key_id="runner-service-token")
_KINDS = {Trigger.EVENT: PrincipalKind.EVENT, Trigger.SCHEDULE: PrincipalKind.SCHEDULE}


def add(app: web.Application) -> None:
    app.router.add_post(PATH, serve, expect_handler=bodies.leave_uninvited)


async def serve(request: web.Request) -> web.StreamResponse:
    given = request.headers
    request.app[keys.RUNNER_TOKENS].verify(
        *given.getall(headers.RUNNER_SERVICE_TOKEN, ()), *given.getall(headers.RUNNER_AUTH, ())
    )
    bodies.check_length(request, limit=MAX_BODY_BYTES)
    body = execute_bodies.parse(await bodies.read(request, limit=MAX_BODY_BYTES) or b"")
    try:
        envelope = await _execute(request, body)
    except FleetError as problem:
        envelope = _failed(problem.code, problem.message, problem.retry_after_seconds)
    return web.Response(body=orjson.dumps(envelope), headers={"content-type": JSON_TYPE, "cache-control": "no-store"})


async def _execute(request: web.Request, body: ExecuteBody) -> dict[str, Any]:
    tenant = execute_bodies.check_routing(body.context, request.headers)
    context = callers.context(request, tenant, _SERVICE, seconds=MAX_HTTP_TIMEOUT_MS / 1000)
    resolved = await request.app[keys.ADMISSION].resolve(
        context, execute_bodies.reference_of(body.context, request.headers)
    )
    execute_bodies.check_resolved(body.context, request.headers, resolved)
    call = _call(request, context, resolved, body)
    if call.idempotency_key is None:
        return _envelope(await request.app[keys.ADMISSION].invoke(context, resolved, call))
    return _envelope((await keyed_calls.outcome_of(request.app, context, resolved, call)).outcome)


def _call(request: web.Request, context: CallContext, resolved: Resolved, body: ExecuteBody) -> Call:
    wanted = execute_bodies.guest_request(body.http)
    key = keyed_calls.key_of(wanted.method, request.headers)
    trigger = execute_bodies.trigger_of(body.context.trigger)
    user = execute_bodies.user_of(body.user)
    origin = Origin(
        request_id=context.request_id,
        trigger=trigger,
        method=wanted.method,
        path=body.http.path,
        endpoint_template=body.http.path,
        principal_kind=_KINDS.get(trigger, PrincipalKind.SERVICE),
        user_id=None if user is None else user.user_id,
    )
    return Call(
        origin=origin,
        request=wanted,
        repeatable=wanted.method in ("GET", "HEAD") or key is not None,
        idempotency_key=key,
        user=user,
        providers=execute_bodies.providers_of(body.providers),
        limits=execute_bodies.limits_of(body.limits, resolved),
        config=execute_bodies.config_of(body.context.config),
        secret_envelope=execute_bodies.envelope_of(body.secret_envelope),
        invocation=ids.new_invocation_id(),
    )


def _envelope(outcome: Outcome) -> dict[str, Any]:
    if outcome.response is not None:
        return execute_bodies.answer_of(outcome.response)
    return _failed(outcome.code or ErrorCode.INTERNAL, outcome.message, None)


def _failed(code: ErrorCode, message: str, seconds: float | None) -> dict[str, Any]:
    """A failure in the envelope: the string hosts know, and our code beside it."""
    envelope: dict[str, Any] = {
        "status": errors.status_of(code),
        "headers": {},
        "error": execute_bodies.error_text(code, message),
        "code": code.value,
    }
    wait = errors.retry_after(code, seconds)
    return envelope if wait is None else {**envelope, "retry_after": str(wait)}
