"""G1: bytes that two HTTP readers could take for different requests are refused, or read as h11 and httptools do."""

from __future__ import annotations

import random
import re
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path

import h11
import httptools
import pytest
import pytest_asyncio

from deploy.embedded.postgres import PostgresServer
from tests.gateway_stack import Edge, open_edge

pytestmark = pytest.mark.case("G1")

HOST = b"host: 127.0.0.1\r\n"
SMUGGLED = b"GET /live HTTP/1.1\r\n" + HOST + b"x-request-id: smuggled\r\n\r\n"
LAST = b"GET /live HTTP/1.1\r\n" + HOST + b"x-request-id: last\r\nconnection: close\r\n\r\n"
QUIET_SECONDS = 0.4


def post(headers: bytes, body: bytes = b"", *, version: bytes = b"1.1", target: bytes = b"/live") -> bytes:
    return (
        b"POST " + target + b" HTTP/" + version + b"\r\n" + HOST + b"x-request-id: first\r\n" + headers + b"\r\n" + body
    )


CHUNKED = b"transfer-encoding: chunked\r\n"
EMPTY_CHUNKS = b"0\r\n\r\n"
REFUSED = {
    "length and chunked": post(b"content-length: 5\r\n" + CHUNKED, EMPTY_CHUNKS + SMUGGLED),
    "chunked and length": post(CHUNKED + b"content-length: 5\r\n", EMPTY_CHUNKS + SMUGGLED),
    "two lengths": post(b"content-length: 0\r\ncontent-length: %d\r\n" % len(SMUGGLED), SMUGGLED),
    "signed length": post(b"content-length: +%d\r\n" % len(SMUGGLED), SMUGGLED),
    "negative length": post(b"content-length: -1\r\n", SMUGGLED),
    "listed lengths": post(b"content-length: 0, %d\r\n" % len(SMUGGLED), SMUGGLED),
    "hexadecimal length": post(b"content-length: 0x10\r\n", SMUGGLED),
    "length in other digits": post("content-length: ٥\r\n".encode(), SMUGGLED),
    "length with a space inside": post(b"content-length: 1 0\r\n", SMUGGLED),
    "length beyond 64 bits": post(b"content-length: 99999999999999999999\r\n", SMUGGLED),
    "xchunked": post(b"transfer-encoding: xchunked\r\n", EMPTY_CHUNKS + SMUGGLED),
    "chunked, identity": post(b"transfer-encoding: chunked, identity\r\n", EMPTY_CHUNKS + SMUGGLED),
    "chunked twice": post(CHUNKED + CHUNKED, EMPTY_CHUNKS + SMUGGLED),
    "space before the colon": post(b"transfer-encoding : chunked\r\n", EMPTY_CHUNKS + SMUGGLED),
    "vertical tab before chunked": post(b"transfer-encoding: \x0bchunked\r\n", EMPTY_CHUNKS + SMUGGLED),
    "folded header": post(b"x-a: b\r\n transfer-encoding: chunked\r\n", SMUGGLED),
    "bare CR": post(b"x-a: b\rtransfer-encoding: chunked\r\n", SMUGGLED),
    "NUL in a value": post(b"x-a: b\0c\r\n", SMUGGLED),
    "NUL in a name": post(b"x-\0a: b\r\n", SMUGGLED),
    "signed chunk size": post(CHUNKED, b"+5\r\nhello\r\n" + EMPTY_CHUNKS + SMUGGLED),
    "prefixed chunk size": post(CHUNKED, b"0x5\r\nhello\r\n" + EMPTY_CHUNKS + SMUGGLED),
    "chunk size beyond 64 bits": post(CHUNKED, b"FFFFFFFFFFFFFFFFF\r\n" + SMUGGLED),
    "chunk longer than its size": post(CHUNKED, b"2\r\nhello\r\n" + EMPTY_CHUNKS + SMUGGLED),
    "chunked on HTTP/1.0": post(CHUNKED, EMPTY_CHUNKS + SMUGGLED, version=b"1.0"),
    "HTTP/0.9": b"GET /live\r\n\r\n" + SMUGGLED,
    "HTTP/2.0": post(b"", version=b"2.0"),
    "URL of another host": b"GET http://other.example/live HTTP/1.1\r\n" + HOST + b"\r\n",
    "authority as target": b"CONNECT other.example:443 HTTP/1.1\r\n" + HOST + b"\r\n" + SMUGGLED,
    "TRACE": b"TRACE /live HTTP/1.1\r\n" + HOST + b"\r\n",
    "two hosts": b"GET /live HTTP/1.1\r\n" + HOST + b"host: other.example\r\n\r\n",
    "no host": b"GET /live HTTP/1.1\r\n\r\n",
    "upgrade with a body": post(b"connection: upgrade\r\nupgrade: x\r\ncontent-length: 4\r\n", b"abcd" + SMUGGLED),
}
"""Each is answered 400 and the connection closed; `SMUGGLED` behind it is never a request."""


@pytest_asyncio.fixture(scope="module")
async def edge(postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Edge]:
    root: Path = tmp_path_factory.mktemp("edge")
    async with open_edge(postgres_server, root) as opened:
        yield opened


@pytest.mark.parametrize("probe", REFUSED)
async def test_G1_an_ambiguous_request_is_refused_and_its_connection_closed(edge: Edge, probe: str) -> None:
    """Framing that readers disagree about ends the connection; what was hidden behind it is not answered."""
    received, closed = await edge.raw(REFUSED[probe] + LAST)
    assert re.match(rb"HTTP/1\.[01] 400 ", received), received[:200]
    assert b'"code":"invalid_request"' in received
    assert closed
    assert b"smuggled" not in received
    assert received.count(b"x-request-id: ") == 1


async def test_G1_the_next_connection_is_served(edge: Edge) -> None:
    """A refusal costs nobody else anything."""
    received, closed = await edge.raw(LAST)
    assert answered(received) == [(200, "last")]
    assert closed


ACCEPTED = {
    "length with spaces round it": post(b"content-length:  5  \r\n", b"hello"),
    "chunk extension": post(CHUNKED, b"5;name=value\r\nhello\r\n" + EMPTY_CHUNKS),
    "chunked in capitals": post(b"Transfer-Encoding: Chunked\r\n", b"5\r\nhello\r\n" + EMPTY_CHUNKS),
    "no body": post(b""),
    "empty lines in front": b"\r\n\r\n" + post(b"content-length: 2\r\n", b"ab"),
}


@pytest.mark.parametrize("probe", ACCEPTED)
async def test_G1_an_unambiguous_request_is_read_as_others_read_it(edge: Edge, probe: str) -> None:
    """What is well-formed is answered, and the request behind it is found where h11 and httptools find it."""
    data = ACCEPTED[probe] + LAST
    received, closed = await edge.raw(data)
    assert [request_id for _, request_id in answered(received)] == ["first", "last"] == read_by_httptools(data)[0]
    assert closed


async def test_G1_mutations_never_smuggle(edge: Edge, count: Callable[[int], int]) -> None:
    """Whatever a byte is changed to, what is accepted is what both other readers see, in the same place.

    A reader that gives up earlier is stricter and sees nothing else; one that goes on must see the same requests.
    """
    seed = random.randrange(1 << 32)
    rng = random.Random(seed)
    streams = [*REFUSED.values(), *ACCEPTED.values()]
    for number in range(count(2_000)):
        data = mutate(rng, rng.choice(streams)) + LAST
        received, _ = await edge.raw(data, quiet_seconds=QUIET_SECONDS)
        ours = [request_id for status, request_id in answered(received) if status != 400]
        for reader in (read_by_h11, read_by_httptools):
            seen, gave_up = reader(data)
            where = f"seed {seed}, stream {number}: {data!r}: {ours}, {reader.__name__}: {seen}"
            assert ours[: len(seen)] == seen[: len(ours)], where
            assert gave_up or len(ours) <= len(seen), where
        assert b" 500 " not in received, f"seed {seed}, stream {number}: {data!r}"


def answered(received: bytes) -> list[tuple[int, str]]:
    """Status and request id of each answer."""
    found = re.findall(
        rb"HTTP/1\.[01] ([0-9]{3}) .*?\r\nx-request-id: ([^\r]*)\r\n", received, re.DOTALL | re.IGNORECASE
    )
    return [(int(status), name(request_id)) for status, request_id in found]


def name(request_id: bytes) -> str:
    """A request id of the streams; any other is one the gateway made."""
    return request_id.decode("latin-1") if request_id in (b"first", b"smuggled", b"last") else ""


def mutate(rng: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(changed))
        match rng.randrange(4):
            case 0:
                changed[at] = rng.randrange(256)
            case 1:
                del changed[at]
            case 2:
                changed[at:at] = rng.choice([b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b",", b"0", b"\xff"])
            case _:
                changed[at] = rng.choice(b"\r\n :;,0159aFx")
    return bytes(changed)


def read_by_h11(data: bytes) -> tuple[list[str], bool]:
    """Request ids in the order h11 reads them, and whether it refuses what follows."""
    connection, seen = h11.Connection(h11.SERVER), list[str]()
    connection.receive_data(data)
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                seen.append(id_of(event.headers))
            elif event is h11.PAUSED:
                connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            elif event is h11.NEED_DATA or isinstance(event, h11.ConnectionClosed):
                return seen, False
    except (h11.RemoteProtocolError, h11.LocalProtocolError):
        return seen, True


def read_by_httptools(data: bytes) -> tuple[list[str], bool]:
    """The same by httptools."""
    reading = Reading()
    try:
        httptools.HttpRequestParser(reading).feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return reading.seen, True
    return reading.seen, False


class Reading:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self._headers: list[tuple[bytes, bytes]] = []

    def on_message_begin(self) -> None:
        self._headers = []

    def on_header(self, field: bytes, value: bytes) -> None:
        self._headers.append((field, value))

    def on_headers_complete(self) -> None:
        self.seen.append(id_of(self._headers))


def id_of(headers: Iterable[tuple[bytes, bytes]]) -> str:
    found = [value for field, value in headers if field.lower() == b"x-request-id"]
    return name(found[0].strip()) if found else ""
