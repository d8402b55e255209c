"""G9: no spelling of a path is authorised as one endpoint and delivered as another."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from tests.fleet import Installed, TestFleet
from tests.guests import build

pytestmark = pytest.mark.case("G9")

ENDPOINTS = [
    {"method": "GET", "path": path, "handler": "dist/main"}
    for path in ("/open", "/open/:id", "/open/:id/part", "/admin/secret", "/café")
]

DELIVERED = {
    "/open": "/open",
    "/open/": "/open",
    "//open": "/open",
    "/open//7": "/open/7",
    "/%6fpen": "/open",
    "/open/a%2fb": "/open/a%2Fb",
    "/open/a%2Fb": "/open/a%2Fb",
    "/open/..%2fadmin%2fsecret": "/open/..%2Fadmin%2Fsecret",
    "/open/%2e%2e%2fadmin": "/open/..%2Fadmin",
    "/open/%252e%252e": "/open/%252e%252e",
    "/open/%252fadmin": "/open/%252fadmin",
    "/open/a;b=c": "/open/a;b=c",
    "/open/a%3Bb": "/open/a;b",
    "/open/...": "/open/...",
    "/open/%EF%BC%8E%EF%BC%8E": "/open/%EF%BC%8E%EF%BC%8E",
    "/open/%c0%ae%c0%ae": "/open/%C0%AE%C0%AE",
    "/caf%C3%A9": "/caf%C3%A9",
    "/caf%c3%a9": "/caf%C3%A9",
    "/open/7?x=../../admin": "/open/7?x=../../admin",
}
INVALID = [
    "/open/..",
    "/open/../admin/secret",
    "/open/./7",
    "/open/%2e%2e/admin/secret",
    "/open/%2E%2E",
    "/open/.%2e",
    "/open/%2e",
    "/open/%00",
    "/open/a%00b",
    "/open/%0d%0ax: y",
    "/open/%7f",
    "/open/%",
    "/open/%4",
    "/open/%zz",
    "/open/．．",
    "/a" * 1_000,
]
ABSENT = [
    "/Open",
    "/open%2f7",
    "/admin%2fsecret",
    "/admin;/secret",
    "/%2fopen",
    "/open/7/8",
    "/open/7/part/8",
    "/open%3f",
    "/%EF%BC%8E/open",
    "/",
]


@dataclass(frozen=True)
class Called:
    fleet: TestFleet
    install: Installed

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body for a path sent exactly as it is spelled, which no client library does."""
        address = urlsplit(self.fleet.url)
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        target = f"/api/ext/{self.install.id}{path}".replace(" ", "%20")
        lines = [
            f"GET {target} HTTP/1.1",
            "host: x",
            f"x-api-key: {self.install.tenant.key}",
            "connection: close",
            "",
            "",
        ]
        writer.write("\r\n".join(lines).encode())
        received = await asyncio.wait_for(reader.read(), 30)
        writer.close()
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body


@pytest_asyncio.fixture
async def called(fleet: TestFleet) -> Called:
    component = build.component("ask-qjs")
    extension = await fleet.publish_once("ask-paths", component, api={"endpoints": ENDPOINTS})
    return Called(fleet, await fleet.install(await fleet.tenant(), extension))


async def test_G9_the_guest_sees_the_path_that_was_authorised(called: Called) -> None:
    """Every accepted spelling arrives in the one normal form; an encoded slash stays inside its segment."""
    for path, expected in DELIVERED.items():
        status, body = await called.get(path)
        assert status == 200, (path, body)
        assert json.loads(body)["url"] == expected, path


async def test_G9_dots_controls_and_broken_escapes_are_invalid(called: Called) -> None:
    """What decodes to `.` or `..`, or to no character of a path, is 400 and never reaches the guest."""
    for path in INVALID:
        status, body = await called.get(path)
        assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_request"), path


async def test_G9_everything_else_is_not_an_endpoint(called: Called) -> None:
    """A spelling that is no declared endpoint is 404, whatever a lenient reader might make of it."""
    for path in ABSENT:
        status, body = await called.get(path)
        assert (status, json.loads(body)["error"]["code"]) == (404, "endpoint_not_found"), path


async def test_G9_ten_thousand_segments_are_refused(called: Called) -> None:
    """A path longer than a request line is refused by the parser, in our form."""
    status, body = await called.get("/a" * 10_000)
    assert (status, json.loads(body)["error"]["code"]) == (400, "invalid_request")
