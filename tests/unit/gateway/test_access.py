"""Who may call and who may administer: the whole matrix."""

from __future__ import annotations

import pytest

from gateway import access
from gateway.identity import Identity
from schemas.call import Principal, PrincipalKind, User
from schemas.errors import ErrorCode, Forbidden
from schemas.ids import ContentHash, InstallId, PublisherId, RegistryId, TenantId, VersionId
from schemas.install import Resolved
from schemas.invocation import Limits

READ, WRITE = frozenset({"extension:read"}), frozenset({"extension:write"})
BOTH, NOTHING, ALL = READ | WRITE, frozenset[str](), frozenset({"*"})


def install(*, client_portal: bool) -> Resolved:
    return Resolved(
        tenant=TenantId("t"),
        install=InstallId("i"),
        registry=RegistryId("r"),
        version_id=VersionId("v"),
        name="com.acme.x",
        publisher="Acme",
        version="1.0.0",
        content_hash=ContentHash("sha256:" + "0" * 64),
        has_component=True,
        grants=frozenset(),
        egress=(),
        limits=Limits(),
        endpoints=(),
        client_portal=client_portal,
        config={},
        shard=0,
    )


def user(user_type: str, client_id: str | None = None) -> User:
    return User(user_id="u", user_type=user_type, client_id=client_id)


def client(client_id: str | None, permissions: frozenset[str]) -> Principal:
    return Principal(kind=PrincipalKind.CLIENT, user=user("client", client_id), permissions=permissions)


@pytest.mark.parametrize("kind", [PrincipalKind.MSP, PrincipalKind.SERVICE])
@pytest.mark.parametrize("portal", [True, False])
@pytest.mark.parametrize(
    ("method", "permissions", "allowed"),
    [
        *[(method, permissions, "extension:read" in permissions or "*" in permissions)
          for method in ("GET", "HEAD") for permissions in (READ, WRITE, BOTH, NOTHING, ALL)],
        *[(method, permissions, "extension:write" in permissions or "*" in permissions)
          for method in ("POST", "PUT", "PATCH", "DELETE") for permissions in (READ, WRITE, BOTH, NOTHING, ALL)],
    ],
)  # fmt: skip
def test_people_and_keys_need_read_or_write(
    kind: PrincipalKind, portal: bool, method: str, permissions: frozenset[str], allowed: bool
) -> None:
    """GET and HEAD need extension:read, the rest extension:write, whatever the manifest says of the portal."""
    principal = Principal(kind=kind, permissions=permissions)
    if allowed:
        access.check_call(principal, install(client_portal=portal), method=method)
        return
    with pytest.raises(Forbidden) as caught:
        access.check_call(principal, install(client_portal=portal), method=method)
    assert caught.value.code is ErrorCode.FORBIDDEN


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("permissions", [NOTHING, BOTH, ALL])
@pytest.mark.parametrize(
    ("portal", "client_id", "allowed"),
    [(True, "c-1", True), (True, None, False), (True, "", False), (False, "c-1", False), (False, None, False)],
)
def test_portal_users_need_the_opt_in_and_a_client(
    method: str, permissions: frozenset[str], portal: bool, client_id: str | None, allowed: bool
) -> None:
    """A client-portal user is let in by the manifest's opt-in and a client, and by no permission."""
    principal = client(client_id, permissions)
    if allowed:
        access.check_call(principal, install(client_portal=portal), method=method)
        return
    with pytest.raises(Forbidden):
        access.check_call(principal, install(client_portal=portal), method=method)


def test_a_portal_user_without_a_person_is_refused() -> None:
    """A client principal that names nobody has no client."""
    with pytest.raises(Forbidden):
        access.check_call(Principal(kind=PrincipalKind.CLIENT), install(client_portal=True), method="GET")


def test_portal_users_administer_nothing() -> None:
    """No permission in a portal user's token opens the administrative API."""
    with pytest.raises(Forbidden):
        access.check_permission(client("c", ALL), access.EXTENSION_READ)


@pytest.mark.parametrize(
    ("tenant", "kind", "permissions", "platform", "operator"),
    [
        (None, PrincipalKind.SERVICE, {"operator"}, True, True),
        (None, PrincipalKind.SERVICE, {"*"}, True, True),
        (None, PrincipalKind.SERVICE, {"events:publish"}, True, False),
        ("t", PrincipalKind.SERVICE, {"operator", "*"}, False, False),
        ("t", PrincipalKind.MSP, {"operator"}, False, False),
        (None, PrincipalKind.MSP, {"operator"}, False, False),
    ],
)
def test_only_tenantless_service_credentials_operate(
    tenant: str | None, kind: PrincipalKind, permissions: set[str], platform: bool, operator: bool
) -> None:
    """A tenant's key is no operator's, whatever permissions stand in it."""
    identity = Identity(tenant and TenantId(tenant), Principal(kind=kind, permissions=frozenset(permissions)))  # type: ignore[arg-type]
    for check, allowed in ((access.check_platform, platform), (access.check_operator, operator)):
        if allowed:
            check(identity)
            continue
        with pytest.raises(Forbidden):
            check(identity)


def test_publishing_needs_a_publisher_on_the_key() -> None:
    """The publisher is the key's, and permissions do not replace it."""
    with pytest.raises(Forbidden):
        access.check_publisher(Principal(kind=PrincipalKind.SERVICE, permissions=ALL))
    principal = Principal(kind=PrincipalKind.SERVICE, publisher_id=PublisherId("p"))
    assert access.check_publisher(principal) == "p"


@pytest.mark.parametrize(
    ("identity", "stated", "allowed"),
    [
        ("acme", (), True),
        ("acme", (None,), True),
        ("acme", ("acme", "acme"), True),
        ("acme", ("other",), False),
        ("acme", ("acme", "other"), False),
        ("acme", ("Acme",), False),
        ("acme", ("",), False),
        (None, ("acme",), True),
    ],
)
def test_a_stated_tenant_must_be_the_identitys(
    identity: str | None, stated: tuple[str | None, ...], allowed: bool
) -> None:
    """Headers can only agree; a contradiction is tenant_mismatch."""
    tenant = None if identity is None else TenantId(identity)
    if allowed:
        access.check_tenant(tenant, *stated)
        return
    with pytest.raises(Forbidden) as caught:
        access.check_tenant(tenant, *stated)
    assert caught.value.code is ErrorCode.TENANT_MISMATCH
