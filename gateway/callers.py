"""From a request to who is calling: the identity, the tenant it is bound to, the context everything below takes.

Owns the order: identity first, then that no header states another tenant.
"""

from __future__ import annotations

from aiohttp import web

from gateway import access, keys
from gateway.identity import Identity
from schemas import headers
from schemas.call import CallContext, Deadline, Principal
from schemas.errors import Forbidden
from schemas.ids import TenantId


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
        traceparent=request.headers.get(headers.TRACEPARENT),
    )
