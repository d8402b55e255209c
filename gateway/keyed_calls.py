"""Calls with an idempotency key: which requests have one, and running such a call at most once.

Owns the header and its alias; who executes and what is replayed is `registry/idempotency.py`'s. A request id is
never a key.
"""

from __future__ import annotations

from aiohttp import web
from multidict import CIMultiDictProxy

from gateway import guest_messages, keys
from registry import idempotency
from registry.admission import Call
from registry.idempotency import Answer, Scope
from schemas import headers
from schemas.call import CallContext
from schemas.errors import Invalid
from schemas.install import Resolved
from schemas.invocation import Outcome

_UNKEYED_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


def key_of(method: str, given: CIMultiDictProxy[str]) -> str | None:
    """The key of a call; None for a method that has none, or where none was given. Raises Invalid."""
    if method in _UNKEYED_METHODS:
        return None
    stated: set[str] = {*given.getall(headers.IDEMPOTENCY_KEY, ()), *given.getall(headers.IDEMPOTENCY_KEY_ALIAS, ())}
    if len(stated) > 1:
        raise Invalid(f"{headers.IDEMPOTENCY_KEY} is given {len(stated)} times with different values")
    if not stated:
        return None
    key = stated.pop()
    idempotency.check_key(key)
    return key


async def outcome_of(app: web.Application, context: CallContext, resolved: Resolved, call: Call) -> Answer:
    """The outcome of a keyed call, or that of the first call with its key."""

    async def execute() -> Outcome:
        return await app[keys.ADMISSION].invoke(context, resolved, call)

    scope = Scope(
        install=resolved.install, method=call.origin.method, path=call.origin.path, key=call.idempotency_key or ""
    )
    return await app[keys.IDEMPOTENCY].once(context, scope, call.request.body, execute)


async def run(app: web.Application, context: CallContext, resolved: Resolved, call: Call) -> web.Response:
    """The answer to a keyed call; a replay says so."""
    answer = await outcome_of(app, context, resolved, call)
    response = guest_messages.response_of(answer.outcome, request_id=context.request_id)
    if answer.is_replay:
        response.headers[headers.IDEMPOTENT_REPLAY] = "true"
    return response
