"""The REST mirror of extension storage: what guests write is seen here, and the other way round."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.fleet import Answer, Installed
from tests.integration.gateway.conftest import Door


async def storing(door: Door) -> Installed:
    return await door.asking(capabilities=["cap:storage.kv"])


async def rest(door: Door, install: Installed, method: str, path: str, body: Any = None, **headers: str) -> Answer:
    data = None if body is None else json.dumps(body).encode()
    url = f"/api/ext-storage/install/{install.id}/notes/records{path}"
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await door.fleet.request(method, url, key=install.tenant.key, body=data, headers=sent)


async def ask(door: Door, install: Installed, function: str, *arguments: Any) -> Any:
    body = json.dumps(["notes", *arguments]).encode()
    answer = await door.fleet.call(install, f"/ask/storage-v2/{function}", method="POST", body=body)
    return answer.json()


async def test_a_json_record_reads_in_the_guest_as_its_text(door: Door) -> None:
    """A value is one JSON value, arrays and big numbers too; revisions count up."""
    install = await storing(door)
    for revision, value in enumerate(([1, 2, {"a": None}], 12345678901234567890123, "Zoë", False), 1):
        put = await rest(door, install, "PUT", "/k", {"value": value, "metadata": {"by": "admin"}})
        assert (put.status, put.json()["revision"]) == (200, revision)
        got = await rest(door, install, "GET", "/k")
        assert (got.json()["value"], got.json()["metadata"]) == (value, {"by": "admin"})
        seen = (await ask(door, install, "get", "k"))["ok"]
        assert (seen["encoding"], json.loads(seen["value"])) == ("text", value)


async def test_bytes_of_a_guest_appear_as_base64(door: Door) -> None:
    """And can be written that way."""
    install = await storing(door)
    item = {"key": "b", "value": base64.b64encode(b"\xff\0").decode(), "encoding": "base64", "createOnly": False}
    assert "ok" in await ask(door, install, "put", item)
    got = (await rest(door, install, "GET", "/b")).json()
    assert (base64.b64decode(got["value"]), got["metadata"]) == (b"\xff\0", {"encoding": "base64-bytes"})
    written = {"value": base64.b64encode(b"\1\2").decode(), "metadata": {"encoding": "base64-bytes"}}
    assert (await rest(door, install, "PUT", "/b", written)).status == 200
    seen = (await ask(door, install, "get", "b"))["ok"]
    assert (seen["encoding"], seen["value"]) == ("text", "\1\2")


async def test_a_list_goes_page_by_page(door: Door) -> None:
    """Nothing is lost or repeated, values and metadata can be left out."""
    install = await storing(door)
    names = [f"p{number:02}" for number in range(15)]
    for part in (names[:8], names[8:]):
        items = [{"key": name, "value": {"n": name}} for name in part]
        assert (await rest(door, install, "POST", "", {"items": items})).status == 200
    seen, query = [], "?limit=4&keyPrefix=p&includeValues=false"
    after: str | None = ""
    while after is not None:
        page = (await rest(door, install, "GET", query + after)).json()
        assert all("value" not in item for item in page["items"])
        seen += [item["key"] for item in page["items"]]
        after = f"&cursor={page['nextCursor']}" if page["nextCursor"] else None
    assert seen == names


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/absent", None, 404, "NOT_FOUND"),
        ("PUT", "/k", {"value": 1, "ifRevision": 7}, 409, "REVISION_MISMATCH"),
        ("PUT", "/a%2Fb", {"value": 1}, 400, "VALIDATION_FAILED"),
        ("PUT", "/k", {"value": "x" * 70_000}, 400, "LIMIT_EXCEEDED"),
        ("PUT", "/k", {"value": 1, "ttlSeconds": 5}, 400, "VALIDATION_FAILED"),
        ("PUT", "/k", {"value": "!", "metadata": {"encoding": "base64-bytes"}}, 400, "VALIDATION_FAILED"),
        ("GET", "?limit=101", None, 400, "VALIDATION_FAILED"),
        ("GET", "?cursor=%21", None, 400, "VALIDATION_FAILED"),
        ("GET", "?includeValues=maybe", None, 400, "VALIDATION_FAILED"),
    ],
)
async def test_failures_carry_the_code_older_clients_read(
    door: Door, method: str, path: str, body: Any, status: int, code: str
) -> None:
    """`error.details.code`, beside our own."""
    answer = await rest(door, await storing(door), method, path, body)
    assert answer.status == status
    assert answer.json()["error"]["details"]["code"] == code


async def test_a_delete_is_repeatable_unless_it_names_a_revision(door: Door) -> None:
    """Absent is fine; another revision is a conflict."""
    install = await storing(door)
    await rest(door, install, "PUT", "/k", {"value": 1})
    assert (await rest(door, install, "DELETE", "/k?ifRevision=9")).status == 409
    assert (await rest(door, install, "GET", "/k", if_revision_match="9")).status == 409
    for _ in range(2):
        assert (await rest(door, install, "DELETE", "/k")).status == 204


async def test_another_tenants_records_do_not_exist(door: Door) -> None:
    """Neither read nor written, and no hint that they are there."""
    install, other = await storing(door), await storing(door)
    await rest(door, install, "PUT", "/k", {"value": 1})
    for method, body in (("GET", None), ("PUT", {"value": 2}), ("DELETE", None)):
        url = f"/api/ext-storage/install/{install.id}/notes/records/k"
        data = None if body is None else json.dumps(body).encode()
        answer = await door.fleet.request(method, url, key=other.tenant.key, body=data)
        assert (answer.status, answer.code) == (404, "extension_not_installed")
    assert (await rest(door, install, "GET", "/k")).json()["value"] == 1
