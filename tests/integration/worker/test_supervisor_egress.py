"""http.fetch over real sockets, against servers that cheat: what crosses tenants, what is cut, what is not sent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schemas.capability import Err, Ok
from tests.egress_spy import OK, Spy, fetch, spy
from worker.supervisor import addresses
from worker.supervisor.egress import Allowance, Egress
from worker.supervisor.egress_rules import MAX_CALLS

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
LOOPBACK = addresses.parse_networks(["127.0.0.1/32"], field="test")


def entry(target: Spy) -> tuple[str, ...]:
    return (f"http://api.example:{target.port}",)


async def test_a_redirect_is_the_guests_answer_and_not_followed() -> None:
    """X6: the status and its location go to the guest; the other place sees nothing."""
    answer = b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0\r\n\r\n"
    async with spy(answer=answer) as target:
        value, _ = await fetch(target, target.url, hosts=entry(target))

    assert isinstance(value, Ok)
    assert value.value["status"] == 302
    assert len(target.requests) == 1


async def test_headers_keep_their_order_and_repeats_and_a_body_is_always_there() -> None:
    """Names in lower case, every value, an empty body where there is none."""
    async with spy() as target:
        value, _ = await fetch(target, target.url, hosts=entry(target))
        target.answer = b"HTTP/1.1 204 No Content\r\n\r\n"
        empty, _ = await fetch(target, target.url, hosts=entry(target))

    assert value.value["headers"][1:] == [
        {"name": "set-cookie", "value": "a=1"},
        {"name": "x-repeat", "value": "1"},
        {"name": "x-repeat", "value": "2"},
    ]
    assert value.value["body"] == b"ok"
    assert empty.value["body"] == b""


async def test_no_cookie_and_no_connection_crosses_tenants() -> None:
    """X10: a cookie is never sent again, and each tenant's connections are its own."""
    async with spy() as target:
        for tenant in ("a", "b", "a", "b"):
            await fetch(target, target.url, hosts=entry(target), tenant=tenant)

    assert len(target.requests) == 4
    assert target.connections == 2
    assert not any("cookie" in head.lower() for head in target.heads)


async def test_a_proxy_in_the_environment_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """X10: what is dialled is what was checked."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    async with spy() as target:
        value, _ = await fetch(target, target.url, hosts=entry(target))

    assert isinstance(value, Ok)


async def test_what_the_guest_sends_arrives_as_it_wrote_it() -> None:
    """Path and query unchanged, its own headers, its body, and our user agent only where it has none."""
    async with spy() as target:
        url = f"{target.url}a/%2e%2e/b?x=%20&x=1"
        await fetch(
            target,
            url,
            hosts=entry(target),
            method="post",
            headers=[{"name": "X-One", "value": "1"}, {"name": "accept", "value": "text/plain"}],
            body=b"body",
        )
        await fetch(target, url, hosts=entry(target), headers=[{"name": "user-agent", "value": "mine"}])

    assert target.requests[0] == "POST /a/%2e%2e/b?x=%20&x=1"
    head = target.heads[0].lower()
    assert f"host: api.example:{target.port}" in head
    assert "content-length: 4" in head
    assert "accept: text/plain" in head
    assert "accept-encoding" not in head
    assert "user-agent: alga-extension" in head
    assert "user-agent: mine" in target.heads[1].lower()


async def test_ten_calls_of_one_invocation_and_not_one_more() -> None:
    """X9: the count is per invocation."""
    async with spy() as target:
        allowance = Allowance()
        values = [
            (await fetch(target, target.url, hosts=entry(target), allowance=allowance))[0] for _ in range(MAX_CALLS + 2)
        ]

    assert [type(value) for value in values] == [Ok] * MAX_CALLS + [Err] * 2
    assert values[-1] == Err("not-allowed")
    assert len(target.requests) == MAX_CALLS


async def test_five_mebibytes_of_one_invocation_both_ways() -> None:
    """The bytes of all its calls, sent and received."""
    big = b"HTTP/1.1 200 OK\r\nContent-Length: 2000000\r\n\r\n" + bytes(2_000_000)
    async with spy(answer=big) as target:
        allowance = Allowance()
        values = [(await fetch(target, target.url, hosts=entry(target), allowance=allowance))[0] for _ in range(3)]

    assert [type(value) for value in values] == [Ok, Ok, Err]
    assert values[2] == Err("transport")


CHEATS: dict[str, bytes] = {
    "body over the cap": b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + bytes(3_000_000),
    "endless chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"10000\r\n" + bytes(65_536) + b"\r\n",
    "a hundred thousand headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000 + b"\r\n",
    "101 headers": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 101 + b"Content-Length: 0\r\n\r\n",
    "a long header": b"HTTP/1.1 200 OK\r\nX: " + b"y" * 40_000 + b"\r\nContent-Length: 0\r\n\r\n",
    "no HTTP": b"hello\r\n\r\n",
    "lying content-length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 50\r\n\r\nhello",
}


@pytest.mark.parametrize("cheat", CHEATS)
async def test_an_answer_that_cheats_is_an_error_for_the_guest(cheat: str) -> None:
    """X7: cut by bytes, by count or by form; the next fetch works."""
    answer = CHEATS[cheat] * (40 if cheat == "endless chunks" else 1)
    async with spy(answer=answer) as target:
        value, _ = await fetch(target, target.url, hosts=entry(target), left=3.0)
        target.answer = OK
        after, _ = await fetch(target, target.url, hosts=entry(target))

    assert value == Err("transport")
    assert isinstance(after, Ok)


async def test_a_compressed_answer_is_not_unpacked() -> None:
    """X7: a gzip bomb is its packed bytes, for the guest to handle."""
    packed = b"\x1f\x8b\x08\x00bomb"
    answer = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed)
    async with spy(answer=answer) as target:
        value, _ = await fetch(target, target.url, hosts=entry(target))

    assert isinstance(value, Ok)
    assert value.value["body"] == packed


async def test_a_server_that_drips_is_cut_at_the_time_that_is_left() -> None:
    """X7: one byte a moment never holds a call past its deadline."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not writer.is_closing():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with _serving(drip) as (port, egress):
        started = time.monotonic()
        value, reason = await _fetch_from(egress, f"http://api.example:{port}/", left=0.4)
        took = time.monotonic() - started

    assert value == Err("transport")
    assert reason == "no answer in time"
    assert 0.3 < took < 0.8


async def test_a_connection_cut_in_the_middle_is_an_error() -> None:
    """Half a body is no body."""

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
        await writer.drain()
        writer.transport.abort()

    async with _serving(cut) as (port, egress):
        value, _ = await _fetch_from(egress, f"http://api.example:{port}/", left=3.0)

    assert value == Err("transport")


async def test_a_certificate_of_another_name_is_not_accepted(tmp_path: Path) -> None:
    """X7: the name of the URL is the one that TLS checks, though the connection goes to a checked address."""
    context, trusted = _certificate(tmp_path, "other.example")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(OK)
            await writer.drain()

    async with _serving(answer, tls=context, trusted=trusted) as (port, egress):
        wrong, reason = await _fetch_from(egress, f"https://api.example:{port}/", left=3.0)
        right, _ = await _fetch_from(egress, f"https://other.example:{port}/", left=3.0)

    assert wrong == Err("transport")
    assert reason == "the TLS connection was not accepted"
    assert isinstance(right, Ok)


async def test_a_tenant_whose_name_server_hangs_delays_nobody_else() -> None:
    """X9: its own look-ups wait, another tenant's do not."""
    hanging = asyncio.Event()
    loop = asyncio.get_running_loop()

    def resolve(name: str, _: int) -> list[str]:
        if name == "slow.example":
            asyncio.run_coroutine_threadsafe(hanging.wait(), loop).result()
            raise OSError("never")
        return ["127.0.0.1"]

    async with spy() as target:
        target.egress._resolve = resolve
        slow = [
            asyncio.create_task(
                fetch(
                    target,
                    f"http://slow.example:{target.port}/",
                    hosts=(f"http://slow.example:{target.port}",),
                    tenant="slow",
                    left=0.5,
                )
            )
            for _ in range(40)
        ]
        await asyncio.sleep(0.05)
        started = time.monotonic()
        value, _ = await fetch(target, target.url, hosts=entry(target), tenant="other")
        took = time.monotonic() - started
        ends = await asyncio.gather(*slow)
        hanging.set()

    assert isinstance(value, Ok)
    assert took < 0.3
    assert {end for end, _ in ends} == {Err("transport")}


async def test_sessions_of_many_tenants_do_not_add_up() -> None:
    """Connections are kept for a bounded number of tenants."""
    async with spy() as target:
        for number in range(270):
            await fetch(target, target.url, hosts=entry(target), tenant=f"t{number}")
        await target.egress.trim()

        assert len(target.egress._sessions) == 256


@contextlib.asynccontextmanager
async def _serving(
    serve: Serve, *, tls: ssl.SSLContext | None = None, trusted: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, Egress]]:
    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    egress = Egress(allowed=LOOPBACK, resolve=lambda _name, _port: ["127.0.0.1"], tls=trusted)
    try:
        yield server.sockets[0].getsockname()[1], egress
    finally:
        await egress.aclose()
        server.close()


async def _fetch_from(egress: Egress, url: str, *, left: float) -> tuple[Ok | Err, str | None]:
    scheme, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    hosts = (f"http://{host}" if scheme == "http" else host,)
    request = {"method": "GET", "url": url, "headers": [], "body": None}
    return await egress.fetch(request, tenant="t", hosts_allowed=hosts, allowance=Allowance(), left=left)  # type: ignore[arg-type]


def _certificate(directory: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a certificate of its own making for `name`, and a client's that trusts it."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = directory / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(file)
    return server, ssl.create_default_context(cadata=certificate.public_bytes(serialization.Encoding.PEM).decode())
