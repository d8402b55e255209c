"""Target `http`: mutated HTTP/1.1 streams to a real gateway with a worker behind it.

No answer of ours is a 5xx other than 503, and what is hidden in a stream becomes a request only where two other
readers of HTTP see one too. The corpus is that of case G1 and the same at the endpoints of an extension.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from pathlib import Path

from deploy.embedded.processes import Options
from tests.cases import test_G1_framing as framing
from tests.fleet import UNMETERED, Installed, TestFleet, open_fleet
from tests.fuzz.mutation import mutate
from tests.fuzz.report import Report
from tests.guests import build

QUIET_SECONDS = 0.5
"""An answer after so long a silence would be late; a stream that wants more bytes is given up."""
READ_BYTES = 65_536
TOKENS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b"\0",
        b":",
        b",",
        b";",
        b"0",
        b"\xff",
        b"\x0b",
        b"%00",
        b"%2f",
        b"/../",
    ),
    *(
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"transfer-encoding: identity\r\n",
        b"expect: 100-continue\r\n",
    ),
    *(b"connection: keep-alive\r\n", b"upgrade: h2c\r\n", b"x-http-method-override: DELETE\r\n", b"GET ", b"HTTP/1.1"),
)
_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3}) ")
_CODE = re.compile(rb'"code":"([a-z_]+)"')
GUESTS_OWN = re.compile(rb'"code":"guest_[a-z_]+"')


async def run(report: Report) -> None:
    """One stream on one connection at a time; the gateway that began is the one that ends."""
    with tempfile.TemporaryDirectory(prefix="alga-fuzz-http-") as directory:
        async with open_fleet(Path(directory), Options(slots=2, extra={"gateway": UNMETERED})) as fleet:
            readable = [*framing.ACCEPTED.values(), *_at_an_extension(await _install(fleet))]
            gateway = fleet.fleet.processes["gateway"].server.pid
            port = int(fleet.url.rpartition(":")[2])
            for rng in report.inputs_of():
                stream = rng.choice(readable if rng.random() < 0.7 else list(framing.REFUSED.values()))
                data = mutate(rng, stream, most=rng.choice((1, 2, 4)), tokens=TOKENS) + framing.LAST
                with report.catching(data):
                    _judge(report, data, await _exchange(port, data))
            if (
                fleet.fleet.processes["gateway"].server.pid != gateway
                or (await fleet.request("GET", "/live")).status != 200
            ):
                report.fail("the gateway did not live through it", b"")


def _judge(report: Report, data: bytes, received: bytes) -> None:
    answered = framing.answered(received)
    for status in map(int, _STATUS.findall(received)):
        if status < 400:
            report.accepted[str(status)] += 1
        else:
            report.refused[str(status)] += 1
    codes = {code.decode() for code in _CODE.findall(received)}
    bad = [status for status, _ in answered if status >= 500 and status != 503]
    if bad and not (set(bad) == {502} and GUESTS_OWN.search(received)):
        report.fail(f"answered {bad} {sorted(codes)}", data)
    # What cannot be read ends its connection; a 400 with an answer behind it was a request that could be read.
    if answered and answered[-1][0] == 400:
        answered.pop()
    ours = [request_id for _, request_id in answered]
    for reader in (framing.read_by_h11, framing.read_by_httptools):
        seen, gave_up = reader(data)
        if ours[: len(seen)] != seen[: len(ours)] or (len(ours) > len(seen) and not gave_up):
            report.fail(f"read as {ours}, by {reader.__name__} as {seen}, {gave_up=}", data)


async def _exchange(port: int, data: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        writer.write(data)
        while chunk := await asyncio.wait_for(reader.read(READ_BYTES), QUIET_SECONDS):
            received += chunk
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return received


async def _install(fleet: TestFleet) -> Installed:
    made = await fleet.install(await fleet.tenant(), await fleet.publish(build.component("status")))
    assert (await fleet.call(made, "/200")).status == 200
    return made


def _at_an_extension(install: Installed) -> list[bytes]:
    """Requests that reach a guest, each with something hidden behind it."""
    target = f"/api/ext/{install.id}/".encode()
    key = b"x-api-key: " + install.tenant.key.encode() + b"\r\n"
    chunks = b"5\r\nhello\r\n" + framing.EMPTY_CHUNKS
    return [
        _request(b"GET", target + b"200", key),
        _request(b"GET", target + b"404?a=b&c=%20", key),
        _request(b"HEAD", target + b"200", key),
        _request(b"OPTIONS", target + b"200", key),
        _request(b"POST", target + b"200", key + b"content-length: 5\r\n", b"hello"),
        _request(b"POST", target + b"200", key + framing.CHUNKED, chunks),
        _request(b"PUT", target + b"a/b", key + b"content-length: %d\r\n" % len(framing.SMUGGLED), framing.SMUGGLED),
        _request(b"POST", target + b"200", key + b"x-idempotency-key: k\r\ncontent-length: 2\r\n", b"{}"),
        _request(b"POST", target + b"200", key + b"x-http-method-override: PUT\r\ncontent-length: 2\r\n", b"{}"),
        _request(b"GET", target + b"200", key + b"cookie: alga_session=x.y.z\r\nauthorization: Bearer x.y.z\r\n"),
        _request(b"POST", b"/v1/execute", b"content-length: 2\r\n", b"{}"),
        _request(b"GET", b"/api/v1/invocations?limit=2&cursor=x", key),
    ]


def _request(method: bytes, target: bytes, headers: bytes, body: bytes = b"") -> bytes:
    return (
        method + b" " + target + b" HTTP/1.1\r\n" + framing.HOST + b"x-request-id: first\r\n" + headers + b"\r\n" + body
    )
