"""From a request to who is calling: the identity, the tenant it is bound to, the context everything below takes.

Owns the order: identity first, then that no header states another tenant.
"""

from __future__ import annotations

import re

from aiohttp import web

from gateway import access, keys
from gateway.identity import Identity
from schemas import headers
from schemas.call import CallContext, Deadline, Principal
from schemas.errors import Forbidden
from schemas.ids import TenantId

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", re.ASCII)


async def identify(request: web.Request) -> Identity:
    """The caller, or Unauthenticated. Headers that state another tenant than the identity's are tenant_mismatch."""
    identity = await request.app[keys.AUTHENTICATOR].identify(request.method, request.headers)
    given = request.headers
    access.check_tenant(identity.tenant, *given.getall(headers.TENANT, ()), *given.getall(headers.LEGACY_TENANT, ()))
    return identity


def tenant_of(identity: Identity) -> TenantId:
    """The caller's tenant; Forbidden for a credential that belongs to none."""
    if identity.tenant is None:
        raise Forbidden("this needs the key or session of a tenant")
    return identity.tenant


def context(request: web.Request, tenant: TenantId, principal: Principal, *, seconds: float) -> CallContext:
    """The context of a call that must be answered within `seconds` from now."""
    return CallContext(
        tenant=tenant,
        principal=principal,
        request_id=request[keys.REQUEST_ID],
        deadline=Deadline.after(seconds, now=request.app[keys.CLOCK].monotonic()),
        traceparent=_traceparent(request.headers.get(headers.TRACEPARENT)),
    )


def _traceparent(text: str | None) -> str | None:
    """The caller's trace, if it is one (W3C trace context); anything else is not carried on."""
    return text if text is not None and _TRACEPARENT.fullmatch(text) else None
