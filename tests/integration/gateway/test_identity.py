"""Who may call: identity tokens, sessions, client-portal users."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.fleet import Answer, Installed
from tests.guests import build
from tests.integration.gateway.conftest import ORIGIN, Door

PORTAL = {"ui": {"type": "iframe", "entry": "ui/index.html", "hooks": {"clientPortalMenu": {"label": "Reports"}}}}
PAGE = {"ui/index.html": b"<!doctype html><title>x</title>"}


async def call(door: Door, install: Installed, token: str, *, method: str = "GET") -> Answer:
    sent = {"authorization": f"Bearer {token}"}
    return await door.fleet.request(
        method, f"/api/ext/{install.id}/x", headers=sent, body=b"{}" if method != "GET" else None
    )


async def test_a_token_of_the_host_opens_its_tenants_installs(door: Door) -> None:
    """Tenant, user and permissions come from the token, and the guest may know the user."""
    install = await door.asking(capabilities=["cap:user.read"])
    answer = await call(door, install, door.token(install.tenant.id))
    assert answer.status == 200
    sent = {"authorization": f"Bearer {door.token(install.tenant.id)}"}
    user = (await door.fleet.request("GET", f"/api/ext/{install.id}/ask/user/get-user", headers=sent)).json()["ok"]
    assert (user["userId"], user["userEmail"], user["userType"]) == ("user-1", "ann@example.com", "internal")


@pytest.mark.parametrize(
    "claims",
    [
        {"tenant": None},
        {"tenant": ""},
        {"tenant": ["t"]},
        {"tenant": "../x"},
        {"sub": None},
        {"sub": ""},
        {"exp": None},
        {"exp": 1},
        {"nbf": 4102444800},
        {"iss": "https://other.example"},
        {"iss": None},
        {"aud": "somebody-else"},
        {"aud": None},
        {"user_type": None},
        {"user_type": "admin"},
        {"kid": "host-2"},
    ],
    ids=str,
)
async def test_an_incomplete_or_foreign_token_is_no_identity(door: Door, claims: dict[str, Any]) -> None:
    """Issuer, audience, expiry, subject, tenant and kind of user are all required; there is no partial identity."""
    install = await door.echoing()
    answer = await call(door, install, door.token(install.tenant.id, **claims))
    assert (answer.status, answer.code) == (401, "unauthenticated")


async def test_a_token_signed_by_anything_else_is_no_identity(door: Door) -> None:
    """Another key, no signature at all, a shared secret, even one that stands in the key set: refused."""
    install = await door.asking()
    claims = jwt.decode(door.token(install.tenant.id), options={"verify_signature": False})
    secret = "secret-secret-secret-secret-secret"
    for token in (
        jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers={"kid": "host-1"}),
        jwt.encode(claims, "", algorithm="none", headers={"kid": "host-1"}),
        jwt.encode(claims, secret, algorithm="HS256", headers={"kid": "host-1"}),
        jwt.encode(claims, secret, algorithm="HS256", headers={"kid": "shared"}),
        door.token(install.tenant.id)[:-4],
        "x" * 9_000,
        "",
    ):
        answer = await call(door, install, token)
        assert answer.status in (400, 401), token[:40]


@pytest.mark.parametrize(
    ("permissions", "read", "write"),
    [
        (["extension:read"], 200, 403),
        (["extension:write"], 403, 200),
        ([], 403, 403),
        (None, 403, 403),
        (["*"], 403, 403),
        (["operator"], 403, 403),
        ("extension:read", 403, 403),
    ],
)
async def test_a_token_may_what_its_permissions_say(door: Door, permissions: object, read: int, write: int) -> None:
    """GET needs read, the rest write; a token makes nobody an operator or a master of all."""
    install = await door.echoing()
    token = door.token(install.tenant.id, permissions=permissions)
    assert (await call(door, install, token)).status == read
    assert (await call(door, install, token, method="POST")).status == write
    operator = await door.fleet.request("GET", "/api/v1/tenants", headers={"authorization": f"Bearer {token}"})
    assert operator.status == 403


async def test_portal_users_need_the_opt_in_and_a_client(door: Door) -> None:
    """A client of the portal is let into extensions that ask for it, as its own client, and nowhere else."""
    closed = await door.echoing()
    extension = await door.fleet.publish(build.component("echo"), manifest=PORTAL, files=PAGE)
    tenant = closed.tenant
    open_ = await door.fleet.install(tenant, extension)
    client = door.token(tenant.id, user_type="client", client_id="client-7", permissions=None)
    nobody = door.token(tenant.id, user_type="client", permissions=["extension:read"])
    assert (await call(door, open_, client)).status == 200
    assert (await call(door, open_, client, method="POST")).status == 200
    for install, token in ((closed, client), (open_, nobody)):
        answer = await call(door, install, token)
        assert (answer.status, answer.code) == (403, "forbidden")


async def test_a_session_changes_state_only_from_the_hosts_pages(door: Door) -> None:
    """Reading needs the cookie; writing also an allowed Origin, which a form of another site cannot send."""
    install = await door.echoing()
    cookie = {"cookie": f"theme=dark; alga_session={door.token(install.tenant.id)}"}
    path = f"/api/ext/{install.id}/x"
    assert (await door.fleet.request("GET", path, headers=cookie)).status == 200
    for origin, status in ((None, 403), ("https://evil.example", 403), ("null", 403), (ORIGIN, 200)):
        sent = {**cookie, **({"origin": origin} if origin else {})}
        assert (await door.fleet.request("POST", path, headers=sent, body=b"{}")).status == status, origin


async def test_several_credentials_are_none(door: Door) -> None:
    """Two sessions, or a session and a key, or a key twice: nothing is chosen."""
    install = await door.echoing()
    token, path = door.token(install.tenant.id), f"/api/ext/{install.id}/x"
    for sent in (
        {"cookie": f"alga_session={token}; alga_session={token}"},
        {"cookie": f"alga_session={token}", "x-api-key": install.tenant.key},
        {"authorization": f"Bearer {token}", "cookie": f"alga_session={token}"},
        {"authorization": f"Bearer {install.tenant.key}"},
        {"x-api-key": ""},
    ):
        answer = await door.fleet.request("GET", path, headers=sent)
        assert (answer.status, answer.code) == (401, "unauthenticated"), sent
