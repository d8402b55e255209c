"""`/api/ext/{extensionId}/{path*}` and its alias `/api/ext-proxy`: a caller's request to a declared endpoint.

Owns the order of the steps, each of which fails closed: identity, install, endpoint, principal, and only then the
body, the key, the call. Decides nothing itself: rules are `endpoints.py`'s, `access.py`'s, `method_override.py`'s.
A bridged POST is the exception: its body may name the method, so it is read once the install is known.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple
from urllib.parse import unquote

import msgspec
from aiohttp import web

from gateway import access, bodies, callers, endpoints, guest_messages, keyed_calls, keys, method_override, sanity
from gateway.endpoints import EndpointTable, Match
from gateway.method_override import Bridged
from registry.admission import Call, ChangedMeanwhile
from registry.install_cache import not_installed
from schemas import ids
from schemas.call import CallContext, Deadline
from schemas.guest_http import MAX_BODY_BYTES
from schemas.install import Resolved
from schemas.invocation import Origin, Trigger

DIRECT = "/api/ext/"
ALIAS = "/api/ext-proxy/"
ADMISSION_SECONDS = 10.0
"""For all that comes before the call; the call itself then has the install's own timeout."""
MAX_REFERENCE_CHARACTERS = 400
_ANYTHING = r"(?:/[\s\S]*)?"
"""The router matches the decoded path, line breaks and all; what counts is the raw one, which is read below."""
_BODILESS_METHODS = frozenset({"GET", "HEAD"})


class _Admitted(NamedTuple):
    """A caller and an install of theirs, and what was asked of it, still spelled as it came."""

    context: CallContext
    resolved: Resolved
    table: EndpointTable
    path: str
    query: str


class _Wanted(NamedTuple):
    """The endpoint to call, allowed: with which method, query and body."""

    match: Match
    method: str
    query: str
    body: bytes | None


def add(app: web.Application) -> None:
    for prefix, handler in ((DIRECT, serve), (ALIAS, serve_alias)):
        pattern = prefix + "{extension}{path:" + _ANYTHING + "}"
        app.router.add_route("*", pattern, handler, expect_handler=bodies.leave_uninvited)


async def serve(request: web.Request) -> web.StreamResponse:
    return await _serve(request, DIRECT, _plain)


async def serve_alias(request: web.Request) -> web.StreamResponse:
    return await _serve(request, ALIAS, _bridged if request.method == "POST" else _plain)


async def _serve(
    request: web.Request, prefix: str, want: Callable[[web.Request, _Admitted], Awaitable[_Wanted]]
) -> web.StreamResponse:
    admitted = await _admit(request, prefix)
    wanted = await want(request, admitted)
    try:
        return await _call(request, admitted, wanted)
    except ChangedMeanwhile:
        # Resolved and authorised anew, once: what was read of the body is still right.
        again = await _admit(request, prefix)
        match = _authorise(again, wanted.method)
        return await _call(request, again, wanted._replace(match=match))


async def _admit(request: web.Request, prefix: str) -> _Admitted:
    """Identity, then the install: nothing of the body, nothing of the endpoints of others."""
    app = request.app
    bodies.check_length(request, limit=MAX_BODY_BYTES)
    identity = await callers.identify(request)
    context = callers.context(request, callers.tenant_of(identity), identity.principal, seconds=ADMISSION_SECONDS)
    target, query = sanity.raw_target(request)
    reference, _, path = target.removeprefix(prefix).partition("/")
    resolved = await app[keys.ADMISSION].resolve(context, _reference(reference))
    return _Admitted(context, resolved, app[keys.ENDPOINTS].table(resolved), f"/{path}", query)


async def _plain(request: web.Request, admitted: _Admitted) -> _Wanted:
    """The request as its own method says."""
    match = _authorise(admitted, request.method)
    query = endpoints.canonical_query(admitted.query)
    body = None if request.method in _BODILESS_METHODS else await _body(request, admitted)
    return _Wanted(match, request.method, query, body)


async def _bridged(request: web.Request, admitted: _Admitted) -> _Wanted:
    """A POST of a bridge as the method it stands for."""
    bridged = method_override.apply(admitted.query, await _body(request, admitted))
    method = _method_of(bridged, admitted)
    match = _authorise(admitted, method)
    body = None if method in _BODILESS_METHODS else bridged.body
    return _Wanted(match, method, endpoints.canonical_query(bridged.query), body)


async def _call(request: web.Request, admitted: _Admitted, wanted: _Wanted) -> web.StreamResponse:
    """Admission, and the outcome as an answer. The deadline of the call begins here, with the body in hand."""
    context, resolved = admitted.context, admitted.resolved
    now = request.app[keys.CLOCK].monotonic()
    context = msgspec.structs.replace(context, deadline=Deadline.after(resolved.limits.timeout_ms / 1000, now=now))
    key = keyed_calls.key_of(wanted.method, request.headers)
    call = _call_of(request, context, admitted, wanted, key)
    if key is None:
        outcome = await request.app[keys.ADMISSION].invoke(context, resolved, call)
        return guest_messages.response_of(outcome, request_id=context.request_id)
    return await keyed_calls.run(request.app, context, resolved, call)


def _call_of(request: web.Request, context: CallContext, admitted: _Admitted, wanted: _Wanted, key: str | None) -> Call:
    invocation = ids.new_invocation_id()
    user = context.principal.user
    url = f"{wanted.match.path}?{wanted.query}" if wanted.query else wanted.match.path
    guest_request = guest_messages.request_of(
        admitted.resolved,
        method=wanted.method,
        url=url,
        given=request.headers,
        body=wanted.body,
        request_id=context.request_id,
        idempotency_key=None if wanted.method in _BODILESS_METHODS else key or invocation,
    )
    origin = Origin(
        request_id=context.request_id,
        trigger=Trigger.HTTP,
        method=wanted.method,
        path=wanted.match.path,
        endpoint_template=wanted.match.endpoint.path,
        principal_kind=context.principal.kind,
        user_id=None if user is None else user.user_id,
    )
    return Call(
        origin=origin,
        request=guest_request,
        repeatable=wanted.method in _BODILESS_METHODS or wanted.match.endpoint.idempotent or key is not None,
        idempotency_key=key,
        user=user,
        invocation=invocation,
    )


def _authorise(admitted: _Admitted, method: str) -> Match:
    """The declared endpoint behind the path, if this principal may call it with this method."""
    match = admitted.table.get(method, endpoints.canonical_path(admitted.path))
    access.check_call(admitted.context.principal, admitted.resolved, method=method)
    return match


def _method_of(bridged: Bridged, admitted: _Admitted) -> str:
    """Older bridges send no method: an empty POST where only GET is declared runs as that GET."""
    if bridged.stated or bridged.body is not None:
        return bridged.method
    path = endpoints.canonical_path(admitted.path)
    if admitted.table.find("POST", path) is None and admitted.table.find("GET", path) is not None:
        return "GET"
    return bridged.method


async def _body(request: web.Request, admitted: _Admitted) -> bytes | None:
    return await bodies.read(request, limit=admitted.resolved.limits.max_body_bytes)


def _reference(raw: str) -> str:
    """The extension as the URL names it; what cannot name one is answered like one that is not installed."""
    reference = unquote(raw, errors="replace")
    if not 0 < len(reference) <= MAX_REFERENCE_CHARACTERS or not reference.isprintable():
        raise not_installed()
    return reference
