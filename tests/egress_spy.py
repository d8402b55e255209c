"""A server of ours that egress must reach or must not, and names that lead to it: real sockets, no other network.

The only stand-in is the answer of the name servers, which no test can own: a table from name to addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.capability import Err, Ok
from schemas.ids import TenantId
from worker.supervisor import addresses
from worker.supervisor.egress import Allowance, Egress

Answer = bytes
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=1\r\nX-Repeat: 1\r\nX-Repeat: 2\r\n\r\nok"


@dataclass
class Spy:
    """What reached it. `url` names it as `api.example`, a name that leads to `addresses`."""

    port: int
    egress: Egress
    answer: Answer = OK
    connections: int = 0
    requests: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://api.example:{self.port}/"


@contextlib.asynccontextmanager
async def spy(
    *,
    names: Mapping[str, list[str]] | None = None,
    allow: tuple[str, ...] = ("127.0.0.1/32",),
    ceiling: tuple[str, ...] | None = None,
    answer: Answer = OK,
) -> AsyncIterator[Spy]:
    """A listening spy on 127.0.0.1 and ::1, and an Egress whose operator opened `allow`."""
    table = {"api.example": ["127.0.0.1"], **(names or {})}

    def resolve(name: str, _: int) -> list[str]:
        found.looked_up.append(name)
        if name not in table:
            raise OSError("no such name")
        return table[name]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                found.requests.append(head.partition(" HTTP/")[0])
                found.heads.append(head)
                writer.write(found.answer)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    also = await asyncio.start_server(serve, "::1", port)
    egress = Egress(allowed=addresses.parse_networks(allow, field="allow"), ceiling=ceiling, resolve=resolve)
    found = Spy(port, egress, answer)
    try:
        yield found
    finally:
        await egress.aclose()
        for listening in (server, also):
            listening.close()


async def fetch(
    target: Spy,
    url: str,
    *,
    hosts: tuple[str, ...],
    tenant: str = "t",
    allowance: Allowance | None = None,
    left: float = 5.0,
    **request: Any,
) -> tuple[Ok | Err, str | None]:
    """One http.fetch of a guest, as the supervisor makes it."""
    asked = {"method": "GET", "url": url, "headers": [], "body": None, **request}
    return await target.egress.fetch(
        asked, tenant=TenantId(tenant), hosts_allowed=hosts, allowance=allowance or Allowance(), left=left
    )
