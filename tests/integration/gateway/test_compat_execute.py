"""`POST /v1/execute`: a host application that spoke to the former runner speaks to the fleet."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from schemas.ids import new_id
from tests.fleet import Answer, Installed
from tests.integration.gateway.conftest import RUNNER_TOKEN, Door


def body_of(install: Installed, **changes: Any) -> dict[str, Any]:
    """A body as hosts send it; `changes` by section replace fields, None removes them."""
    sections: dict[str, Any] = {
        "context": {
            "request_id": "host-1",
            "tenant_id": install.tenant.id,
            "extension_id": install.extension.registry_id,
            "install_id": install.id,
            "content_hash": install.extension.content_hash,
            "trigger": "http",
        },
        "http": {
            "method": "POST",
            "path": "/api/x",
            "query": {"a": "1", "b": "x y"},
            "headers": {"x-any": "kept"},
            "body_b64": base64.b64encode(b"hello").decode(),
            "url": "ignored",
        },
        "endpoint": "ignored",
        "limits": {"timeout_ms": 30000, "memory_mb": 256, "fuel": None},
    }
    for name, fields in changes.items():
        if isinstance(fields, dict) and name in sections:
            merged = {**sections[name], **fields}
            sections[name] = {field: value for field, value in merged.items() if value is not None}
        else:
            sections[name] = fields
    return sections


async def execute(
    door: Door, install: Installed, body: Any, *, token: str | None = RUNNER_TOKEN, **headers: str | None
) -> Answer:
    sent = {
        "x-runner-service-token": token,
        "x-alga-tenant": install.tenant.id,
        "x-alga-extension": install.extension.registry_id,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    kept = {name: value for name, value in sent.items() if value is not None}
    return await door.fleet.request("POST", "/v1/execute", body=data, headers=kept)


async def test_a_host_executes_as_it_always_did(door: Door) -> None:
    """The envelope carries status, headers and body; the guest sees path, query, headers and body as given."""
    install = await door.asking()
    answer = await execute(door, install, body_of(install))
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    envelope = answer.json()
    assert envelope["status"] == 200
    assert envelope["headers"]["content-type"] == "application/json"
    seen = json.loads(base64.b64decode(envelope["body_b64"]))
    assert (seen["method"], seen["url"], seen["body"]) == ("POST", "/api/x?a=1&b=x+y", "hello")
    assert seen["headers"] == [{"name": "x-any", "value": "kept"}]


@pytest.mark.parametrize("token", [None, "", "wrong", RUNNER_TOKEN[:-1], RUNNER_TOKEN.upper()])
async def test_without_the_service_token_nothing_is_read(door: Door, token: str | None) -> None:
    """Missing or wrong: 401 on the transport, whatever the body is."""
    install = await door.echoing()
    answer = await execute(door, install, b"not json", token=token)
    assert (answer.status, answer.code) == (401, "unauthenticated")


async def test_each_valid_token_is_heard_under_both_names(door: Door) -> None:
    """Several tokens are valid at once, so that one can be replaced; two that differ are none."""
    install = await door.echoing()
    for token in (RUNNER_TOKEN, "another-valid-token-here"):
        assert (await execute(door, install, body_of(install), token=token)).status == 200
        answer = await execute(door, install, body_of(install), token=None, x_runner_auth=token)
        assert answer.status == 200
    assert (await execute(door, install, body_of(install), x_runner_auth="another-valid-token-here")).status == 401


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"context":{},"http":{}}', b"\xff"])
async def test_a_body_that_is_not_of_this_shape_is_400(door: Door, body: bytes) -> None:
    """Before there is a call there is no envelope."""
    answer = await execute(door, await door.echoing(), body)
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_a_body_over_its_cap_is_413(door: Door) -> None:
    """The transport is bounded too."""
    answer = await execute(door, await door.echoing(), b" " * ((4 << 20) + 1))
    assert (answer.status, answer.code) == (413, "payload_too_large")


async def test_headers_and_body_must_name_one_tenant_and_one_install(door: Door) -> None:
    """Nothing is chosen part by header and part by body; what does not fit is refused by its own code."""
    install, other = await door.echoing(), await door.echoing()
    cases: list[tuple[dict[str, Any], dict[str, str | None], int, str]] = [
        ({}, {"x_alga_tenant": None}, 400, "invalid_request"),
        ({}, {"x_alga_extension": None}, 400, "invalid_request"),
        ({}, {"x_alga_tenant": other.tenant.id}, 403, "tenant_mismatch"),
        ({}, {"x_tenant_id": other.tenant.id}, 403, "tenant_mismatch"),
        ({"context": {"tenant_id": other.tenant.id}}, {}, 403, "tenant_mismatch"),
        ({"context": {"extension_id": new_id()}}, {}, 403, "tenant_mismatch"),
        ({"context": {"install_id": other.id}}, {}, 404, "extension_not_installed"),
        ({"context": {"install_id": new_id()}}, {}, 404, "extension_not_installed"),
        ({}, {"x_ext_install_id": other.id}, 404, "extension_not_installed"),
        ({"context": {"version_id": new_id()}}, {}, 409, "conflict"),
        ({"context": {"content_hash": "sha256:" + "0" * 64}}, {}, 409, "conflict"),
    ]
    for changes, headers, status, code in cases:
        answer = await execute(door, install, body_of(install, **changes), **headers)
        assert answer.status == 200
        assert (answer.json()["status"], answer.json()["code"]) == (status, code), (changes, headers)
    assert (await execute(door, install, body_of(install), x_alga_tenant=None)).json()[
        "error"
    ] == "missing_routing_headers"


async def test_a_bare_hash_and_a_missing_install_id_are_fine(door: Door) -> None:
    """`content_hash` with or without its prefix; the extension's id is enough."""
    install = await door.echoing()
    bare = install.extension.content_hash.removeprefix("sha256:")
    answer = await execute(door, install, body_of(install, context={"content_hash": bare, "install_id": None}))
    assert answer.json()["status"] == 200


async def test_providers_only_narrow(door: Door) -> None:
    """A capability left out is denied for this call; an unknown one is named in the string hosts know."""
    install = await door.asking(capabilities=["cap:storage.kv"])
    ask = {"path": "/ask/storage-v2/get-usage", "method": "GET", "body_b64": None}
    allowed = (await execute(door, install, body_of(install, http=ask))).json()
    narrowed = (await execute(door, install, body_of(install, http=ask, providers=["cap:http.fetch"]))).json()
    assert "ok" in json.loads(base64.b64decode(allowed["body_b64"]))
    assert json.loads(base64.b64decode(narrowed["body_b64"]))["error"]["code"] == "denied"
    unknown = (await execute(door, install, body_of(install, providers=["cap:storage.kv", "cap:x", "y"]))).json()
    assert (unknown["status"], unknown["error"]) == (400, "unknown_capabilities: cap:x, y")


async def test_limits_are_clamped_never_refused(door: Door) -> None:
    """More than is granted is granted; less counts; nonsense is the default."""
    install = await door.asking()
    for limits in ({"timeout_ms": 10**9}, {"timeout_ms": 0}, {"timeout_ms": -1}, {"memory_mb": 0.5}, {"fuel": 1e30}):
        assert (await execute(door, install, body_of(install, limits=limits))).json()["status"] == 200, limits
    loop = {"path": "/script", "body_b64": base64.b64encode(b'[{"loop":true}]').decode()}
    stopped = (await execute(door, install, body_of(install, http=loop, limits={"timeout_ms": 200}))).json()
    assert (stopped["status"], stopped["code"]) == (504, "deadline_exceeded")
    assert stopped["error"] == "execute_failed: deadline_exceeded"


async def test_the_hosts_user_is_the_user(door: Door) -> None:
    """Trusted as the host's statement; `company_name` is another name of `client_name`; without one there is none."""
    install = await door.asking()
    ask = {"path": "/ask/user/get-user", "method": "GET", "body_b64": None}
    user = {
        "user_id": "u-9",
        "user_email": "z@example.com",
        "user_type": "client",
        "company_name": "Zed",
        "client_id": "c",
    }
    answer = (await execute(door, install, body_of(install, http=ask, user=user))).json()
    seen = json.loads(base64.b64decode(answer["body_b64"]))["ok"]
    assert (seen["userId"], seen["clientName"], seen["userType"]) == ("u-9", "Zed", "client")
    nobody = (await execute(door, install, body_of(install, http=ask))).json()
    assert json.loads(base64.b64decode(nobody["body_b64"]))["error"] == "not-available"


async def test_a_key_makes_it_once(door: Door) -> None:
    """The idempotency key counts here as it does on the other door."""
    install, key = await door.asking(), new_id()
    first = await execute(door, install, body_of(install), x_idempotency_key=key)
    again = await execute(door, install, body_of(install), x_idempotency_key=key)
    assert first.json() == again.json()
    changed = body_of(install, http={"body_b64": ""})
    assert (await execute(door, install, changed, x_idempotency_key=key)).json()["code"] == "conflict"
