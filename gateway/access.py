"""May this principal do this? Pure, and closed: whatever is not plainly allowed is Forbidden.

Owns the rules of who may call an endpoint and who may administer. Who is asking was settled by
`gateway/authentication.py`, what exists by the registry.
"""

from __future__ import annotations

from gateway.identity import Identity
from schemas.call import Principal, PrincipalKind
from schemas.errors import ErrorCode, Forbidden
from schemas.ids import PublisherId, TenantId
from schemas.install import Resolved

EXTENSION_READ = "extension:read"
EXTENSION_WRITE = "extension:write"
OPERATOR = "operator"
READ_METHODS = frozenset({"GET", "HEAD"})


def check_call(principal: Principal, resolved: Resolved, *, method: str) -> None:
    """May this principal call an endpoint of this install with this method?

    A client-portal user needs the manifest's opt-in and a client of their own; everyone else the permission to
    read for GET and HEAD, to write for the rest.
    """
    if principal.kind is PrincipalKind.CLIENT:
        _check_client(principal, resolved)
        return
    check_permission(principal, EXTENSION_READ if method in READ_METHODS else EXTENSION_WRITE)


def check_permission(principal: Principal, permission: str) -> None:
    """A named permission, as keys and identity tokens carry them. Clients of the portal administer nothing."""
    if principal.kind is PrincipalKind.CLIENT or not principal.has(permission):
        raise Forbidden(f"this needs the permission {permission}")


def check_operator(identity: Identity) -> None:
    """Only a service credential with the operator permission makes tenants, publishers and keys."""
    check_platform(identity)
    if not identity.principal.has(OPERATOR):
        raise Forbidden("this needs an operator key")


def check_platform(identity: Identity) -> None:
    """Only a service credential, which belongs to no tenant."""
    if identity.tenant is not None or identity.principal.kind is not PrincipalKind.SERVICE:
        raise Forbidden("this needs a service credential of the platform")


def check_curator(identity: Identity) -> None:
    """An operator, or a key that publishes: whose version it is, the registry says."""
    if identity.tenant is None:
        check_operator(identity)
        return
    check_publisher(identity.principal)


def check_publisher(principal: Principal) -> PublisherId:
    """The publisher this key may publish as. No header, body or query makes one."""
    if principal.publisher_id is None:
        raise Forbidden("this needs an API key with a publisher role")
    return principal.publisher_id


def check_tenant(identity: TenantId | None, *stated: str | None) -> None:
    """Headers and fields that state a tenant never select one; each present one must equal the identity's.

    An identity without a tenant has nothing they could contradict, and gains none from them.
    """
    for text in stated:
        if identity is not None and text is not None and text != identity:
            raise Forbidden("the stated tenant is not the caller's", code=ErrorCode.TENANT_MISMATCH)


def _check_client(principal: Principal, resolved: Resolved) -> None:
    if not resolved.client_portal:
        raise Forbidden("this extension is not open to client-portal users")
    if principal.user is None or not principal.user.client_id:
        raise Forbidden("this client-portal user belongs to no client")
