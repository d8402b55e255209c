"""Calls of endpoints over HTTP: answers, the bridge's alias, idempotency, limits, callers who leave."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from urllib.parse import quote

import pytest

from schemas.ids import new_id
from tests.fleet import Answer, Installed
from tests.guests import build
from tests.integration.gateway.conftest import Door

ENDPOINTS = [
    {"method": "GET", "path": "/both", "handler": "h"},
    {"method": "POST", "path": "/both", "handler": "h"},
    {"method": "GET", "path": "/get-only", "handler": "h"},
    {"method": "PUT", "path": "/put-only", "handler": "h"},
    {"method": "POST", "path": "/script", "handler": "h"},
    {"method": "GET", "path": "/ask/:i/:f", "handler": "h"},
]

NOBODYS_ID = "00000000-0000-4000-8000-000000000000"


async def script(
    door: Door, install: Installed, *steps: dict[str, Any], method: str = "POST", **headers: str
) -> Answer:
    """The guest does the steps and answers as they say."""
    body = json.dumps(list(steps)).encode()
    return await door.fleet.call(install, "/script", method=method, body=body, headers=headers)


async def asking(door: Door) -> Installed:
    return await door.asking(api={"endpoints": ENDPOINTS})


async def test_an_extension_is_called_by_any_of_its_names(door: Door) -> None:
    """Install id, registry id, `publisher.name` and the bare name mean the same install of the caller's tenant."""
    install = await asking(door)
    extension = install.extension
    full = f"test publisher.{extension.name}"
    for reference in (install.id, extension.registry_id, install.id.upper(), quote(full), extension.name):
        answer = await door.fleet.request("GET", f"/api/ext/{reference}/both", key=install.tenant.key)
        assert answer.status == 200, reference
        context = answer.json()["context"]
        assert (context["installId"], context["tenantId"]) == (install.id, install.tenant.id)


@pytest.mark.parametrize("reference", ["", "%00", "x" * 500, "..", "%ff", "no.such.extension", NOBODYS_ID])
async def test_what_is_not_installed_is_one_answer(door: Door, reference: str) -> None:
    """Unknown, malformed, absent: extension_not_installed, and nothing more to learn."""
    tenant = await door.fleet.tenant()
    answer = await door.fleet.request("GET", f"/api/ext/{reference}/x", key=tenant.key)
    assert answer.status == 404
    assert answer.code in ("extension_not_installed", "not_found")


async def test_only_allowlisted_headers_of_the_guest_reach_the_caller(door: Door) -> None:
    """Cookies, locations and hop-by-hop headers stay behind; the sandboxing policy is always ours."""
    install = await asking(door)
    sent = {
        "content-type": "text/html",
        "cache-control": "private, max-age=5",
        "etag": '"1"',
        "x-ext-anything": "yes",
        "set-cookie": "a=b",
        "location": "https://evil.example",
        "access-control-allow-origin": "*",
        "content-security-policy": "default-src *",
        "x-content-type-options": "sniff",
        "x-request-id": "forged",
        "x-powered-by": "guest",
        "server": "guest",
    }
    answer = await script(door, install, {"status": 201, "headers": sent, "body": "<p>hi"})
    assert (answer.status, answer.body) == (201, b"<p>hi")
    kept = {"content-type": "text/html", "cache-control": "private, max-age=5", "etag": '"1"', "x-ext-anything": "yes"}
    assert {name: answer.headers[name] for name in kept} == kept
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == "sandbox; default-src 'none'"
    assert answer.headers["x-request-id"] != "forged"
    assert {"set-cookie", "location", "x-powered-by", "access-control-allow-origin"}.isdisjoint(answer.headers)


async def test_without_a_word_about_caching_nothing_is_stored(door: Door) -> None:
    """A dynamic answer is no-store unless the guest says otherwise."""
    assert (await door.fleet.call(await asking(door), "/both")).headers["cache-control"] == "no-store"


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_a_body_have_none(door: Door, status: int) -> None:
    """A guest's body beside 204 or 304 is dropped, so that nothing stands between two answers on a connection."""
    answer = await script(door, await asking(door), {"status": status, "body": "surplus"})
    assert (answer.status, answer.body) == (status, b"")


async def test_head_is_get_without_the_body(door: Door) -> None:
    """HEAD runs as HEAD and answers headers only; where only POST or PUT is declared there is nothing."""
    install = await asking(door)
    answer = await door.fleet.call(install, "/both", method="HEAD")
    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-type"] == "application/json"
    assert (await door.fleet.call(install, "/put-only", method="HEAD")).status == 404


@pytest.mark.parametrize(
    ("method", "status"), [("DELETE", 404), ("PROPFIND", 404), ("BREW", 400), ("TRACE", 400), ("CONNECT", 400)]
)
async def test_methods_without_an_endpoint_run_nothing(door: Door, method: str, status: int) -> None:
    """A method nobody declared is no endpoint; what is no method of HTTP, or not served at all, is refused."""
    answer = await door.fleet.call(await asking(door), "/both", method=method)
    assert (answer.status, answer.code) == (status, "endpoint_not_found" if status == 404 else "invalid_request")


async def test_a_body_may_have_two_mebibytes_and_not_a_byte_more(door: Door) -> None:
    """The cap is exact, with a length and without one."""
    install = await door.echoing()
    full = await door.fleet.call(install, "/", method="POST", body=b"x" * (2 << 20))
    assert full.status == 200
    assert full.body == b"x" * (2 << 20)
    over = await door.fleet.call(install, "/", method="POST", body=b"x" * ((2 << 20) + 1))
    assert (over.status, over.code) == (413, "payload_too_large")

    async def chunks() -> Any:
        for _ in range(33):
            yield b"x" * 65536

    url = f"{door.fleet.url}/api/ext/{install.id}/"
    async with door.fleet.session.post(url, data=chunks(), headers={"x-api-key": install.tenant.key}) as answer:
        assert answer.status == 413


class TestBridge:
    """`/api/ext-proxy`: what a POST of an iframe's bridge stands for."""

    @staticmethod
    async def post(door: Door, install: Installed, path: str, body: bytes | None = None) -> Answer:
        return await door.fleet.request("POST", f"/api/ext-proxy/{install.id}{path}", key=install.tenant.key, body=body)

    async def test_the_stated_method_is_delivered_and_its_statement_removed(self, door: Door) -> None:
        """In the query or in the JSON body; the guest sees neither."""
        install = await asking(door)
        for path, body, seen in (
            ("/put-only?__method=PUT&a=1", b'{"b":2}', ("PUT", "/put-only?a=1", '{"b":2}')),
            ("/put-only?a=1", b'{"__method":"put","b":2}', ("PUT", "/put-only?a=1", '{"b":2}')),
            ("/put-only", b'{"__method":"PUT"}', ("PUT", "/put-only", None)),
            ("/both?__method=GET", b'{"b":2}', ("GET", "/both", None)),
            ("/both", b"raw", ("POST", "/both", "raw")),
            ("/both", None, ("POST", "/both", None)),
            ("/get-only", None, ("GET", "/get-only", None)),
        ):
            answer = await self.post(door, install, path, body)
            assert answer.status == 200, (path, answer.body)
            request = answer.json()
            assert (request["method"], request["url"], request["body"]) == seen

    async def test_the_stated_method_is_the_one_that_is_authorised(self, door: Door) -> None:
        """A bridge cannot reach by a statement what its method could not; nor by an empty body what needs one."""
        install = await asking(door)
        for path, body, status in (
            ("/put-only", b"x", 404),
            ("/both?__method=DELETE", None, 404),
            ("/get-only", b"x", 404),
            ("/both?__method=TRACE", None, 400),
            ("/both?__method=PUT&__method=GET", None, 400),
        ):
            assert (await self.post(door, install, path, body)).status == status, path

    async def test_permissions_go_by_the_stated_method(self, door: Door) -> None:
        """A reader may bridge a GET through a POST, and nothing that writes."""
        install = await asking(door)
        token = door.token(install.tenant.id, permissions=["extension:read"])
        for path, status in (("/both?__method=GET", 200), ("/get-only", 200), ("/both", 403)):
            sent = {"authorization": f"Bearer {token}"}
            answer = await door.fleet.request("POST", f"/api/ext-proxy/{install.id}{path}", headers=sent)
            assert answer.status == status, path

    async def test_the_direct_path_knows_no_stated_method(self, door: Door) -> None:
        """`__method` is a rule of the alias alone."""
        install = await asking(door)
        answer = await door.fleet.call(install, "/both?__method=GET", method="POST", body=b"x")
        assert (answer.json()["method"], answer.json()["url"]) == ("POST", "/both?__method=GET")


class TestIdempotency:
    """`x-idempotency-key`: once, whoever asks again."""

    async def test_a_second_call_with_the_key_is_a_replay(self, door: Door) -> None:
        """Same key and body: the first answer, marked; another body: conflict; another tenant: unaffected."""
        install, other = await asking(door), await asking(door)
        key = {"x-idempotency-key": new_id()}
        post = door.fleet.call
        first = await post(install, "/both", method="POST", body=b"1", headers=key)
        again = await post(install, "/both", method="POST", body=b"1", headers={**key, "x-request-id": "second"})
        assert (first.status, again.status) == (200, 200)
        assert again.body == first.body
        assert "x-ext-idempotent-replay" not in first.headers
        assert again.headers["x-ext-idempotent-replay"] == "true"
        assert again.headers["x-request-id"] == "second"
        changed = await post(install, "/both", method="POST", body=b"2", headers=key)
        assert (changed.status, changed.code) == (409, "conflict")
        foreign = await post(other, "/both", method="POST", body=b"2", headers=key)
        assert "x-ext-idempotent-replay" not in foreign.headers

    async def test_twins_run_once(self, door: Door) -> None:
        """Two at the same time: one runs, both get its answer."""
        install = await asking(door)
        key = {"idempotency-key": new_id()}
        calls = [door.fleet.call(install, "/both", method="POST", body=b"1", headers=key) for _ in range(4)]
        answers = await asyncio.gather(*calls)
        assert [answer.status for answer in answers] == [200] * 4
        assert len({answer.body for answer in answers}) == 1
        assert sum("x-ext-idempotent-replay" in answer.headers for answer in answers) == 3

    @pytest.mark.parametrize("key", ["", "a b", "é", "x" * 256])
    async def test_a_malformed_key_is_refused(self, door: Door, key: str) -> None:
        """1 to 255 visible ASCII characters."""
        headers = {"x-idempotency-key": key}
        answer = await door.fleet.call(await asking(door), "/both", method="POST", body=b"1", headers=headers)
        assert (answer.status, answer.code) == (400, "invalid_request")


async def test_a_failing_guest_is_the_guests_failure(door: Door) -> None:
    """A trap is 502 with a code of its own and no text of the guest's."""
    answer = await script(door, await asking(door), {"throw": "the secret of the guest"})
    assert (answer.status, answer.code) == (502, "guest_trap")
    assert b"secret" not in answer.body


async def test_a_guest_over_its_time_is_stopped(door: Door) -> None:
    """504 at the install's own deadline, and the next call runs."""
    extension = await door.fleet.publish_once(
        "short", build.component("ask-qjs"), api={"endpoints": ENDPOINTS}, limits={"timeout_ms": 300}
    )
    install = await door.fleet.install(await door.fleet.tenant(), extension)
    answer = await script(door, install, {"loop": True})
    assert (answer.status, answer.code) == (504, "deadline_exceeded")
    assert (await door.fleet.call(install, "/both")).status == 200


async def test_a_caller_who_leaves_cancels_the_call(door: Door) -> None:
    """The guest is stopped long before its own deadline, and the log says how the call ended."""
    install = await asking(door)
    leaving = asyncio.create_task(script(door, install, {"loop": True}, **{"x-request-id": "leaver"}))
    await asyncio.sleep(1.0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    for _ in range(40):
        rows = (await door.fleet.admin(install.tenant.key, "GET", "/api/v1/invocations"))["items"]
        finished = [row for row in rows if row["request_id"] == "leaver" and row["status"] != "started"]
        if finished:
            break
        await asyncio.sleep(0.1)
    assert finished[0]["metrics"]["duration_ms"] < 3_000
    assert (await door.fleet.call(install, "/both")).status == 200


async def test_a_flood_of_one_extension_is_limited_by_rate(door: Door) -> None:
    """Beyond the burst: 429 with a time to come back, and another tenant is served meanwhile."""
    install, other = await door.echoing(), await door.echoing()
    answers = await asyncio.gather(*[door.fleet.call(install) for _ in range(160)])
    limited = [answer for answer in answers if answer.status == 429 and answer.code == "rate_limited"]
    assert limited
    assert int(limited[0].headers["retry-after"]) >= 1
    assert (await door.fleet.call(other)).status == 200
