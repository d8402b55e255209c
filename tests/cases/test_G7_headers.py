"""G7: only allowlisted headers reach a guest, and the tenant comes from the credential alone."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import pytest_asyncio

from schemas import headers
from tests.fleet import Installed, TestFleet
from tests.guests import build

pytestmark = pytest.mark.case("G7")

ALLOWED = {
    "accept": "text/plain",
    "accept-encoding": "br",
    "accept-language": "de",
    "content-type": "text/plain",
    "user-agent": "tests",
    "if-none-match": '"x"',
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
}
REFUSED = {
    "connection": "keep-alive, x-tenant-id",
    "x-forwarded-for": "10.0.0.1",
    "x-forwarded-host": "other.example",
    "forwarded": "for=10.0.0.1",
    "x-tenant": "other",
    "x-real-ip": "10.0.0.1",
    "cookie": "session=1",
    "origin": "https://evil.example",
    "referer": "https://evil.example/x",
    "x-alga-extension": "00000000-0000-0000-0000-000000000000",
    "x-alga-depth": "9",
    "x-ext-install-id": "00000000-0000-0000-0000-000000000000",
    "x-runner-auth": "token",
    "proxy-authorization": "Basic eDp5",
}


@dataclass(frozen=True)
class Called:
    fleet: TestFleet
    install: Installed

    async def seen(self, sent: dict[str, str]) -> dict[str, str]:
        """The headers the guest saw of a POST with these."""
        answer = await self.fleet.call(self.install, "/seen", method="POST", body=b"text", headers=sent)
        assert answer.status == 200, answer.body
        return {header["name"]: header["value"] for header in answer.json()["headers"]}


@pytest_asyncio.fixture
async def called(fleet: TestFleet) -> Called:
    extension = await fleet.publish_once("ask", build.component("ask-qjs"))
    return Called(fleet, await fleet.install(await fleet.tenant(), extension))


async def test_G7_only_allowlisted_headers_reach_the_guest(called: Called) -> None:
    """What the caller sends is dropped unless it is on the list; what we add is ours, whatever was sent."""
    seen = await called.seen({**ALLOWED, **REFUSED, "x-idempotency-key": "key-1", "x-request-id": "request-1"})
    assert seen == {
        **ALLOWED,
        headers.REQUEST_ID: "request-1",
        headers.TENANT: called.install.tenant.id,
        headers.EXTENSION: called.install.extension.registry_id,
        headers.IDEMPOTENCY_KEY: "key-1",
    }


async def test_G7_a_malformed_request_id_is_replaced(called: Called) -> None:
    """An id that is not well-formed is not passed on, nor reflected."""
    seen = await called.seen({"x-request-id": "a b<script>"})
    assert seen[headers.REQUEST_ID] != "a b<script>"
    assert len(seen[headers.REQUEST_ID]) == 36


@pytest.mark.parametrize("name", [headers.TENANT, headers.LEGACY_TENANT, "X-Alga-Tenant", "X-TENANT-ID"])
async def test_G7_a_header_naming_another_tenant_is_a_mismatch(called: Called, name: str) -> None:
    """A contradiction is refused; it is never a selection."""
    other = await called.fleet.tenant()
    answer = await called.fleet.call(called.install, "/seen", headers={name: other.id})
    assert (answer.status, answer.code) == (403, "tenant_mismatch")


async def test_G7_a_header_naming_the_own_tenant_changes_nothing(called: Called) -> None:
    """Agreeing is allowed."""
    seen = await called.seen({headers.TENANT: called.install.tenant.id})
    assert seen[headers.TENANT] == called.install.tenant.id


@pytest.mark.parametrize(
    "credential", [{"authorization": "Bearer x.y.z"}, {"cookie": "alga_session=x.y.z"}, {"authorization": "Basic eDp5"}]
)
async def test_G7_two_credentials_are_none(called: Called, credential: dict[str, str]) -> None:
    """A second kind of credential beside the key makes the request unauthenticated; nothing falls through."""
    answer = await called.fleet.call(called.install, "/seen", headers=credential)
    assert (answer.status, answer.code) == (401, "unauthenticated")


async def test_G7_another_tenants_install_does_not_exist(called: Called) -> None:
    """An install of somebody else is answered exactly like one that is not there."""
    other = await called.fleet.tenant()
    path = "/api/ext/{}/seen"
    foreign = await called.fleet.request("GET", path.format(called.install.id), key=other.key)
    absent = await called.fleet.request("GET", path.format("7b0e5c1e-0000-4000-8000-000000000000"), key=other.key)
    assert foreign.status == absent.status == 404
    assert foreign.code == absent.code == "extension_not_installed"
    assert foreign.json()["error"]["message"] == absent.json()["error"]["message"]
