"""The administrative API: who is refused where, how bodies are judged, and that keys and tenants work."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deploy.embedded.postgres import PostgresServer
from gateway import api
from gateway.operations import Access, Operation
from registry import key_pairs
from tests.gateway_stack import Edge, open_edge

READ, WRITE = "extension:read", "extension:write"
UNKNOWN = "7b0e5c1e-0000-4000-8000-000000000000"


@pytest_asyncio.fixture(scope="module")
async def edge(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with open_edge(postgres_server, tmp_path_factory.mktemp("edge")) as opened:
        yield opened


def path_of(operation: Operation) -> str:
    path = operation.path
    for name in ("tenant", "publisher", "install", "key", "extension", "version", "namespace"):
        path = path.replace(f"{{{name}}}", UNKNOWN)
    return path


def label(operation: Operation) -> str:
    return f"{operation.method} {operation.path}"


@pytest.mark.parametrize("operation", api.OPERATIONS, ids=label)
async def test_no_operation_answers_without_a_credential(edge: Edge, operation: Operation) -> None:
    """Each route asks who is there before anything else."""
    answer = await edge.request(operation.method, path_of(operation))
    assert (answer.status, answer.code) == (401, "unauthenticated")


@pytest.mark.parametrize("operation", api.OPERATIONS, ids=label)
async def test_each_operation_refuses_whom_it_is_not_for(edge: Edge, operation: Operation) -> None:
    """A tenant's key with the other permission, or none, and an operator's key are refused where they do not belong."""
    _, reader = await edge.tenant_key(READ)
    _, writer = await edge.tenant_key(WRITE)
    refused = {
        Access.READ: (writer, edge.operator_key),
        Access.WRITE: (reader, edge.operator_key),
        Access.PUBLISHER: (reader, writer, edge.operator_key),
        Access.CURATOR: (reader, writer),
        Access.OPERATOR: (reader, writer),
        Access.PLATFORM: (reader, writer),
    }[operation.access]
    for key in refused:
        answer = await edge.request(operation.method, path_of(operation), key=key, body={})
        assert (answer.status, answer.code) == (403, "forbidden"), operation


@pytest.mark.parametrize("operation", [one for one in api.OPERATIONS if one.model], ids=label)
async def test_each_body_refuses_fields_it_does_not_know(edge: Edge, operation: Operation) -> None:
    """An unknown field is named, not ignored."""
    publisher = await make_publisher(edge)
    _, tenant_key = await edge.tenant_key(READ, WRITE, publisher=publisher)
    key = edge.operator_key if operation.access in (Access.OPERATOR, Access.CURATOR) else tenant_key
    answer = await edge.request(operation.method, path_of(operation), key=key, body={"no_such_field": 1})
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert "no_such_field" in {problem["path"] for problem in answer.json()["error"]["problems"]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "id: Field required"),
        (b"[]", "must be a JSON object"),
        (b"{", "not JSON"),
        (b'{"id":"a","id":"b","name":"x"}', "twice"),
        (b'{"id":"a","name":"x","shard":NaN}', "NaN"),
        (b'{"id":7,"name":"x"}', "id: Input should be a valid string, not 7"),
        (b'{"id":"a b","name":"x"}', "tenant must be"),
        (b'{"id":"' + b"x" * 65 + b'","name":"x"}', "at most 64 characters"),
        (b'{"id":"a","name":""}', "at least 1 character"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
    ],
)
async def test_a_bad_body_is_told_what_is_wrong(edge: Edge, body: bytes, words: str) -> None:
    """The message names the field, the limit and the value."""
    answer = await edge.request("POST", "/api/v1/tenants", key=edge.operator_key, body=body)
    assert (answer.status, answer.code) == (400, "invalid_request")
    assert words in answer.json()["error"]["message"]


async def make_publisher(edge: Edge) -> str:
    pair = key_pairs.generate()
    name = f"Publisher {pair.key_id}"
    made = await edge.request("POST", "/api/v1/publishers", key=edge.operator_key, body={"name": name})
    assert made.status == 201
    path = f"/api/v1/publishers/{made.json()['data']['id']}/keys"
    added = await edge.request("POST", path, key=edge.operator_key, body={"publicKey": pair.public_pem.decode()})
    assert added.status == 201, added.body
    assert added.json()["data"]["key_id"] == pair.key_id
    return str(made.json()["data"]["id"])


async def test_an_operator_makes_tenants_publishers_and_keys(edge: Edge) -> None:
    """The first operator's key is enough to get everything going."""
    publisher = await make_publisher(edge)
    tenant, key = await edge.tenant_key(READ, publisher=publisher)
    listed = await edge.request("GET", "/api/v1/extensions/installs", key=key)
    assert (listed.status, listed.json()) == (200, {"data": [], "cursor": None})
    shown = await edge.request("GET", f"/api/v1/tenants/{tenant}", key=edge.operator_key)
    assert shown.json()["data"]["state"] == "active"


async def test_a_tenant_id_is_taken_once(edge: Edge) -> None:
    """The second one is a conflict."""
    body = {"id": "taken", "name": "Taken"}
    assert (await edge.request("POST", "/api/v1/tenants", key=edge.operator_key, body=body)).status == 201
    again = await edge.request("POST", "/api/v1/tenants", key=edge.operator_key, body=body)
    assert (again.status, again.code) == (409, "conflict")


async def test_an_upload_must_be_what_it_says(edge: Edge) -> None:
    """Size and hash that were announced are checked, the cap holds, and what is refused is not kept."""
    publisher = await make_publisher(edge)
    tenant, key = await edge.tenant_key(publisher=publisher)
    path = "/api/ext-bundles/upload-proxy"
    staged = await edge.request("POST", f"{path}?filename=b.tar.zst&size=5", key=key, body=b"hello")
    assert staged.status == 200
    assert staged.json()["upload"]["key"].startswith(f"tenants/{tenant}/_staging/")
    for query, body, status in (
        ("size=6", b"hello", 400),
        ("declaredHash=" + "0" * 64, b"hello", 400),
        ("declaredHash=xyz", b"hello", 400),
        ("size=%D9%A5", b"hello", 400),
        (f"size={64 << 20}", b"hello", 413),
        ("", b"", 400),
        ("", b"x" * ((32 << 20) + 1), 413),
    ):
        assert (await edge.request("POST", f"{path}?{query}", key=key, body=body)).status == status, query
    aborted = await edge.request(
        "POST", "/api/ext-bundles/abort", key=key, body={"key": staged.json()["upload"]["key"]}
    )
    assert aborted.json()["status"] == "deleted"
    again = await edge.request("POST", "/api/ext-bundles/abort", key=key, body={"key": staged.json()["upload"]["key"]})
    assert again.json()["status"] == "noop"


async def test_an_upload_of_another_tenant_does_not_exist(edge: Edge) -> None:
    """Neither finalize nor abort reaches what somebody else staged, nor anything outside the staging area."""
    publisher = await make_publisher(edge)
    _, key = await edge.tenant_key(publisher=publisher)
    _, other = await edge.tenant_key(publisher=publisher)
    staged = (await edge.request("POST", "/api/ext-bundles/upload-proxy", key=key, body=b"hello")).json()["upload"]
    for path in ("finalize", "abort"):
        for stolen in (staged["key"], "tenants/x/../../y", staged["key"] + "/x", "tenants//_staging//bundle.tar.zst"):
            answer = await edge.request("POST", f"/api/ext-bundles/{path}", key=other, body={"key": stolen})
            assert (answer.status, answer.code) == (404, "not_found"), stolen


async def test_without_a_registry_process_publishing_is_unavailable(edge: Edge) -> None:
    """Nobody there is said at once, with a time to come back."""
    _, key = await edge.tenant_key(publisher=await make_publisher(edge))
    staged = (await edge.request("POST", "/api/ext-bundles/upload-proxy", key=key, body=b"hello")).json()["upload"]
    answer = await edge.request("POST", "/api/ext-bundles/finalize", key=key, body={"key": staged["key"]})
    assert (answer.status, answer.code) == (503, "dependency_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(("method", "path"), [("GET", "/nothing/here"), ("PUT", "/api/v1/tenants"), ("GET", "/")])
async def test_what_is_not_there_is_not_found(edge: Edge, method: str, path: str) -> None:
    """No such path, or not with this method: one answer, in our form."""
    answer = await edge.request(method, path, key=edge.operator_key)
    assert (answer.status, answer.code) == (404, "not_found")
