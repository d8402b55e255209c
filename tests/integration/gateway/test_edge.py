"""The edge before any route: time-outs, sizes, CORS, health, request ids."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from deploy.embedded.postgres import PostgresServer
from gateway import bodies, connections
from tests.gateway_stack import ORIGIN, Edge, open_edge


@pytest_asyncio.fixture(scope="module")
async def edge(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    async with open_edge(postgres_server, tmp_path_factory.mktemp("edge"), connections_per_address=30) as opened:
        yield opened


async def seconds_until_closed(edge: Edge, first: bytes, drip: bytes, *, every: float) -> float:
    """How long the gateway bears a caller that sends `first` and then a `drip` now and then."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    clock = asyncio.get_running_loop().time
    started = clock()
    writer.write(first)
    try:
        while True:
            try:
                if not await asyncio.wait_for(reader.read(65536), every):
                    return clock() - started
            except TimeoutError:
                writer.write(drip)
    except ConnectionError:
        return clock() - started
    finally:
        writer.close()


async def test_slow_callers_are_cut_off(edge: Edge) -> None:
    """Headers that drip are cut at 10 s, silence at 30 s, a body below 1 kB/s after its grace."""
    _, key = await edge.tenant_key("extension:read", "extension:write")
    head = b"POST /api/v1/extensions/install HTTP/1.1\r\nhost: x\r\nx-api-key: " + key.encode() + b"\r\n"
    header, idle, body = await asyncio.gather(
        seconds_until_closed(edge, b"GET /live HTTP/1.1\r\n", b"x-a: b\r\n", every=1),
        seconds_until_closed(edge, b"", b"", every=1),
        seconds_until_closed(edge, head + b"content-length: 100000\r\n\r\n{", b" " * 50, every=0.5),
    )
    assert header <= connections.HEADER_SECONDS + 1
    assert header >= connections.HEADER_SECONDS - 2
    assert idle <= connections.IDLE_SECONDS + 2
    assert body <= bodies.GRACE_SECONDS + connections.LINGER_SECONDS + 3


async def test_one_address_holds_a_bounded_number_of_connections(edge: Edge) -> None:
    """Beyond the limit a connection is closed at once; closing some makes room again."""
    held = [await asyncio.open_connection("127.0.0.1", edge.port) for _ in range(40)]
    await asyncio.sleep(0.2)
    closed = [reader for reader, _ in held if reader.at_eof()]
    assert 10 <= len(closed) <= 12
    for _, writer in held:
        writer.close()
    await asyncio.sleep(0.2)
    assert (await edge.request("GET", "/live")).status == 200


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "gzip, identity"])
async def test_an_encoded_body_is_refused_unread(edge: Edge, encoding: str) -> None:
    """Nothing is decompressed: 49 kB that unpack to 50 MB are 49 kB that are not read."""
    answer = await edge.request("POST", "/api/v1/tenants", body=b"x" * 100, headers={"content-encoding": encoding})
    assert (answer.status, answer.code) == (400, "invalid_request")


async def test_too_large_a_body_is_refused_by_its_length(edge: Edge) -> None:
    """A length over the cap is 413 before anybody is identified and a byte is read."""
    head = b"POST /api/ext/x/y HTTP/1.1\r\nhost: x\r\ncontent-length: 2097153\r\n\r\n"
    received, _ = await edge.raw(head, quiet_seconds=1)
    assert received.startswith(b"HTTP/1.1 413 ")
    assert b"payload_too_large" in received


async def test_a_body_is_invited_only_once_its_caller_is_known(edge: Edge) -> None:
    """`Expect: 100-continue` is answered after identity and permission, and refused where they are missing."""
    _, key = await edge.tenant_key("extension:write")
    head = b"POST /api/v1/extensions/install HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 2\r\n"
    stranger, _ = await edge.raw(head + b"\r\n", quiet_seconds=0.5)
    assert stranger.startswith(b"HTTP/1.1 401 ")
    known, _ = await edge.raw(head + b"x-api-key: " + key.encode() + b"\r\n\r\n", quiet_seconds=0.5)
    assert known == b"HTTP/1.1 100 Continue\r\n\r\n"
    other, closed = await edge.raw(head.replace(b"100-continue", b"200-maybe") + b"\r\n", quiet_seconds=3)
    assert b" 400 " in other.partition(b"\r\n")[0]
    assert closed


@pytest.mark.parametrize("length", [9_000, 100_000])
async def test_long_header_and_request_lines_are_refused(edge: Edge, length: int) -> None:
    """Lines over 8190 bytes and over 128 headers are 400, and the connection closes."""
    for data in (
        b"GET /" + b"a" * length + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /live HTTP/1.1\r\nhost: x\r\nx-a: " + b"a" * length + b"\r\n\r\n",
        b"GET /live HTTP/1.1\r\nhost: x\r\n" + b"x-a: b\r\n" * (length // 9) + b"\r\n",
    ):
        received, closed = await edge.raw(data)
        assert b" 400 " in received.partition(b"\r\n")[0]
        assert b'"code":"invalid_request"' in received
        assert closed


async def test_preflight_and_answers_name_only_listed_origins(edge: Edge) -> None:
    """The listed origin gets its headers and credentials, another one none at all."""
    allowed = await edge.request("OPTIONS", "/api/ext/x/y", headers={"origin": ORIGIN})
    assert allowed.status == 204
    assert allowed.headers["access-control-allow-origin"] == ORIGIN
    assert allowed.headers["access-control-allow-credentials"] == "true"
    assert allowed.headers["access-control-allow-methods"] == "GET,POST,PUT,PATCH,DELETE,OPTIONS"
    assert allowed.headers["access-control-allow-headers"] == "content-type,x-request-id,x-idempotency-key"
    assert allowed.headers["access-control-max-age"] == "180"
    for origin in ("https://evil.example", ORIGIN + ".evil.example", "null", ORIGIN.upper()):
        for method in ("OPTIONS", "GET"):
            refused = await edge.request(method, "/live", headers={"origin": origin})
            assert not [name for name in refused.headers if name.startswith("access-control")]
            assert refused.headers["vary"] == "Origin"


async def test_a_request_id_is_the_callers_if_well_formed(edge: Edge) -> None:
    """It comes back on every answer, in the header and in the body of an error."""
    kept = await edge.request("GET", "/api/v1/tenants", headers={"x-request-id": "my.request-1"})
    assert kept.headers["x-request-id"] == kept.json()["error"]["request_id"] == "my.request-1"
    for bad in ("a b", "a" * 129, "é"):
        made = await edge.request("GET", "/live", headers={"x-request-id": bad})
        assert made.headers["x-request-id"] != bad


async def test_health_names_each_dependency(edge: Edge) -> None:
    """The body that hosts read, and ours beside it; never cached."""
    answer = await edge.request("GET", "/healthz")
    assert answer.status == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "cache_writable": True,
        "bundle_store": "ok",
        "ext_cache_max_bytes": edge.settings.gateway.cache_max_bytes,
        "nats": "ok",
        "postgres": "ok",
        "workers": 0,
    }
    assert (await edge.request("GET", "/readyz")).status == 200
    assert b"alga_http_requests" in (await edge.request("GET", "/metrics")).body
