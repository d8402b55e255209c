"""http.fetch: a guest's HTTP request, made from here to an address that was checked, and no other.

Owns the connections, their limits and the seam to aiohttp. Nothing is shared between tenants: each has its own
connector and so its own connections; there are no cookies, no environment proxy, no redirects followed.
A name is resolved once per connection, every answer is checked, and the connector dials exactly those: it gets them
from our resolver and asks nobody else. An address written in the URL never meets a resolver, so it is checked first.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict
from yarl import URL

from schemas import egress as hosts
from schemas.capability import Err, Ok
from schemas.errors import FleetError
from schemas.ids import TenantId
from worker.supervisor import addresses, egress_rules
from worker.supervisor.addresses import Network
from worker.supervisor.egress_rules import (
    INTERNAL,
    INVALID_URL,
    MAX_BODY_BYTES,
    MAX_CALLS,
    MAX_TOTAL_BYTES,
    NOT_ALLOWED,
    TIMEOUT_SECONDS,
    TRANSPORT,
    Fetch,
    Refused,
)

CONNECTIONS_PER_TENANT = 16
MAX_TENANTS = 256
IDLE_SECONDS = 15.0
READ_BYTES = 64 * 1024
USER_AGENT = "alga-extension"

LOOKUPS_PER_TENANT, LOOKUPS = 2, 32
"""At once. A tenant whose name server never answers keeps its own two threads waiting, and nobody else's."""

Resolve = Callable[[str, int], list[str]]
"""Name and port to addresses, in order; blocking. Raises OSError."""


class AddressDenied(OSError):
    """A name has an address that may not be dialled."""


@dataclass
class Allowance:
    """What one invocation has fetched so far, both ways."""

    calls: int = 0
    bytes: int = 0


class Egress:
    """`allowed`: networks that the operator opened though they are special. `ceiling`: domains beyond which no
    install's list counts; None: no ceiling."""

    def __init__(
        self,
        *,
        allowed: tuple[Network, ...] = (),
        ceiling: tuple[str, ...] | None = None,
        resolve: Resolve | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._allowed, self._ceiling = allowed, ceiling
        self._resolve = resolve or resolve_by_system
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="dns")
        self._tls = tls or ssl.create_default_context()
        self._sessions: OrderedDict[TenantId, aiohttp.ClientSession] = OrderedDict()
        self._busy: dict[TenantId, int] = {}
        self._rules: dict[tuple[str, ...], tuple[hosts.EgressRule, ...]] = {}

    async def aclose(self) -> None:
        for session in self._sessions.values():
            await session.close()
        self._sessions.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def fetch(
        self, request: Any, *, tenant: TenantId, hosts_allowed: tuple[str, ...], allowance: Allowance, left: float
    ) -> tuple[Ok | Err, str | None]:
        """The host value of `http.fetch`, and why it is an error (for the live log). `left`: seconds."""
        try:
            if allowance.calls >= MAX_CALLS:
                raise Refused(NOT_ALLOWED, f"over the limit of {MAX_CALLS} calls in one invocation")
            allowance.calls += 1
            fetch = egress_rules.check(request)
            self._check_destination(fetch.destination, hosts_allowed)
            _spend(allowance, fetch.size)
            with _aiohttp_errors():
                async with asyncio.timeout(min(TIMEOUT_SECONDS, left)):
                    return Ok(await self._exchange(fetch, tenant, allowance)), None
        except Refused as refused:
            return Err(refused.case), refused.reason

    def _check_destination(self, to: egress_rules.Destination, hosts_allowed: tuple[str, ...]) -> None:
        if not hosts.allows(self._parse(hosts_allowed), scheme=to.scheme, host=to.host, port=to.port):
            raise Refused(NOT_ALLOWED, f"{to.scheme}://{to.host}:{to.port} is not on the egress list of this install")
        if not hosts.within_ceiling(self._ceiling, to.host):
            raise Refused(NOT_ALLOWED, f"{to.host} is outside what this platform lets extensions reach")
        if hosts.is_address(to.host) and not addresses.may_dial(to.host, allowed=self._allowed):
            raise Refused(NOT_ALLOWED, f"{to.host} is not a public address")

    def _parse(self, entries: tuple[str, ...]) -> tuple[hosts.EgressRule, ...]:
        rules = self._rules.get(entries)
        if rules is None:
            try:
                rules = hosts.parse_entries(entries)
            except FleetError as error:
                raise Refused(NOT_ALLOWED, "the egress list of this install cannot be read") from error
            if len(self._rules) >= 10_000:
                self._rules.clear()
            self._rules[entries] = rules
        return rules

    async def _exchange(self, fetch: Fetch, tenant: TenantId, allowance: Allowance) -> dict[str, object]:
        headers = CIMultiDict(fetch.headers)
        headers.setdefault("user-agent", USER_AGENT)
        with self._session_of(tenant) as session:
            async with session.request(
                fetch.method,
                _url(fetch),
                headers=headers,
                data=fetch.body or None,
                allow_redirects=False,
                skip_auto_headers=("accept", "accept-encoding", "content-type"),
            ) as response:
                answered = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
                shown = egress_rules.check_answer_headers(answered)
                _spend(allowance, sum(len(name) + len(value) + 4 for name, value in answered))
                body = await _read(response, allowance)
                return {"status": response.status, "headers": shown, "body": body}

    @contextlib.contextmanager
    def _session_of(self, tenant: TenantId) -> Iterator[aiohttp.ClientSession]:
        session = self._sessions.get(tenant)
        if session is None:
            session = self._sessions[tenant] = self._new_session()
        self._sessions.move_to_end(tenant)
        self._busy[tenant] = self._busy.get(tenant, 0) + 1
        try:
            yield session
        finally:
            self._busy[tenant] -= 1
            if not self._busy[tenant]:
                del self._busy[tenant]

    async def run(self) -> None:
        """Keep the number of sessions down until cancelled."""
        while True:
            await asyncio.sleep(IDLE_SECONDS)
            await self.trim()

    async def trim(self) -> None:
        """Close the sessions of tenants that fetched longest ago, beyond `MAX_TENANTS`."""
        for tenant in [tenant for tenant in self._sessions if tenant not in self._busy]:
            if len(self._sessions) <= MAX_TENANTS:
                return
            await self._sessions.pop(tenant).close()

    def _new_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            resolver=CheckedResolver(self._resolve, self._threads, self._allowed),
            use_dns_cache=False,
            ssl=self._tls,
            limit=CONNECTIONS_PER_TENANT,
            keepalive_timeout=IDLE_SECONDS,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
            read_bufsize=READ_BYTES,
        )


class CheckedResolver(AbstractResolver):
    """Resolves once and lets a name through only if every address of it may be dialled. One for each tenant."""

    def __init__(self, resolve: Resolve, threads: ThreadPoolExecutor, allowed: tuple[Network, ...]) -> None:
        self._resolve, self._threads, self._allowed = resolve, threads, allowed
        self._room = asyncio.Semaphore(LOOKUPS_PER_TENANT)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await self._look_up(host, port)
        if not found:
            raise OSError(f"{host} has no address")
        for address in found:
            if not addresses.may_dial(address, allowed=self._allowed):
                raise AddressDenied(f"{host} resolves to an address that is not public")
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in found
        ]

    async def close(self) -> None:
        """Nothing is held."""

    async def _look_up(self, host: str, port: int) -> list[str]:
        """A look-up whose caller has gone still takes its room until its thread is free."""
        await self._room.acquire()
        looking = asyncio.get_running_loop().run_in_executor(self._threads, self._resolve, host, port)
        looking.add_done_callback(self._looked)
        return await asyncio.shield(looking)

    def _looked(self, looking: asyncio.Future[list[str]]) -> None:
        self._room.release()
        if not looking.cancelled():
            looking.exception()


def resolve_by_system(host: str, port: int) -> list[str]:
    """Addresses as this machine's resolver gives them, in its order. Blocks; raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _url(fetch: Fetch) -> URL:
    """The URL for the library, as it stands. Refused unless the library reads the same destination in it as we do."""
    destination = fetch.destination
    try:
        url = URL(destination.url, encoded=True)
    except ValueError as error:
        raise Refused(INVALID_URL, "URL cannot be parsed") from error
    if (url.scheme, url.raw_host, url.port) != (destination.scheme, destination.host, destination.port):
        raise Refused(INVALID_URL, "URL can be read in two ways")
    return url


async def _read(response: aiohttp.ClientResponse, allowance: Allowance) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(READ_BYTES):
        body += chunk
        _spend(allowance, len(chunk))
        if len(body) > MAX_BODY_BYTES:
            raise Refused(TRANSPORT, f"the answer's body is over the limit of {MAX_BODY_BYTES} bytes")
    return bytes(body)


def _spend(allowance: Allowance, size: int) -> None:
    allowance.bytes += size
    if allowance.bytes > MAX_TOTAL_BYTES:
        raise Refused(TRANSPORT, f"over the limit of {MAX_TOTAL_BYTES} bytes in one invocation, both ways")


@contextlib.contextmanager
def _aiohttp_errors() -> Iterator[None]:
    """The seam: what aiohttp, ssl and sockets raise becomes a case of `http-error`."""
    try:
        yield
    except TimeoutError as error:
        raise Refused(TRANSPORT, "no answer in time") from error
    except aiohttp.InvalidURL as error:
        raise Refused(INVALID_URL, "URL cannot be parsed") from error
    except aiohttp.ClientConnectorDNSError as error:
        if isinstance(error.os_error, AddressDenied):
            raise Refused(NOT_ALLOWED, str(error.os_error)) from error
        raise Refused(TRANSPORT, "the host name cannot be resolved") from error
    except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientSSLError) as error:
        raise Refused(TRANSPORT, "the TLS connection was not accepted") from error
    except (aiohttp.ClientError, OSError) as error:
        raise Refused(TRANSPORT, "the connection failed or was cut") from error
    except ValueError as error:
        raise Refused(INTERNAL, "the request could not be made") from error
