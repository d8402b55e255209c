"""The embedded stack starts, stops, keeps its data and its addresses."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import asyncpg
import nats
import psutil
import pytest
from nats.aio.client import Client

from deploy.embedded import ports, stack
from deploy.embedded.stack import Stack
from deploy.nats import accounts
from deploy.nats.accounts import Role
from schemas import subjects
from service.streams import RECORDS


async def _connect(started: Stack, role: Role) -> Client:
    return await nats.connect(started.nats_url_for(role), inbox_prefix=accounts.inbox_prefix(role).encode())


async def _write(started: Stack) -> None:
    """A committed row and an acknowledged message."""
    connection = await asyncpg.connect(started.postgres_dsn())
    await connection.execute("create table kept (word text); insert into kept values ('row')")
    await connection.close()
    registry, gateway = await _connect(started, Role.REGISTRY), await _connect(started, Role.GATEWAY)
    await registry.jetstream().add_stream(name=RECORDS, subjects=[subjects.RECORDS_ALL])
    await gateway.jetstream().publish(subjects.record(1), b"message")
    await registry.close()
    await gateway.close()


async def _read(started: Stack) -> tuple[str, bytes]:
    connection = await asyncpg.connect(started.postgres_dsn())
    word = await connection.fetchval("select word from kept")
    await connection.close()
    client = await _connect(started, Role.REGISTRY)
    subscription = await client.jetstream().pull_subscribe("", stream=RECORDS, durable="reader")
    (message,) = await subscription.fetch(1, timeout=5)
    await client.close()
    return word, message.data


_KEPT = ("row", b"message")


async def test_a_stack_serves_all_roles_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """Every role can log in; after the end no process, no listener and no readable secret is left."""
    steps: list[str] = []
    async with stack.start(tmp_path / "data", on_progress=steps.append) as started:
        for role in Role:
            client = await nats.connect(started.nats_url_for(role))
            assert client.max_payload == 4 * 1024 * 1024
            await client.close()
        connection = await asyncpg.connect(started.postgres_dsn())
        assert await connection.fetchval("show server_encoding") == "UTF8"
        assert await connection.fetchval("show fsync") == "on"
        await connection.close()
        pids = [started.nats.server.pid, started.postgres.server.pid]
        used = [started.nats.port, started.nats.monitor_port, started.postgres.port]
        assert started.bundle_directory.is_dir()
        assert started.postgres.role_password("postgres") not in repr(started)

    assert any("initdb: running bootstrap script ... ok" in step for step in steps)
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert all(ports.is_free(port) for port in used)
    secret_files = ("secret", "nats/accounts.conf", "nats/nats.conf", "logs/postgres.log")
    assert {(tmp_path / "data" / file).stat().st_mode & 0o077 for file in secret_files} == {0}


async def test_nobody_connects_without_a_password(tmp_path: Path) -> None:
    """Another user of the machine reaches the ports, and nothing more."""
    async with stack.start(tmp_path / "data") as started:
        with pytest.raises(nats.errors.Error):
            await nats.connect(started.nats_url, allow_reconnect=False)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(started.postgres_dsn(password="wrong"))


async def test_two_stacks_run_side_by_side(tmp_path: Path) -> None:
    """Two developers' stacks on one machine share nothing."""
    async with stack.start(tmp_path / "one") as one, stack.start(tmp_path / "two") as two:
        await _write(one)
        connection = await asyncpg.connect(two.postgres_dsn())
        assert await connection.fetchval("select to_regclass('kept')") is None
        await connection.close()
        assert one.nats_url_for(Role.WORKER) != two.nats_url_for(Role.WORKER)
        assert await _read(one) == _KEPT


async def test_data_and_addresses_are_kept_and_the_second_start_is_quick(tmp_path: Path) -> None:
    """A second start of everything stays well under 5 s and finds what the first one wrote."""
    async with stack.start(tmp_path / "data") as first:
        await _write(first)
    began = time.monotonic()
    async with stack.start(tmp_path / "data") as second:
        assert time.monotonic() - began < 2.5
        assert (second.nats_url, second.postgres_dsn()) == (first.nats_url, first.postgres_dsn())
        assert await _read(second) == _KEPT


async def test_ports_taken_by_others_are_left_to_them(tmp_path: Path) -> None:
    """The ports of the run before are a hint: when another program has one, the stack moves."""
    async with stack.start(tmp_path / "data") as first:
        taken = [first.nats.port, first.postgres.port]
    with _listening(taken[0]), _listening(taken[1]):
        async with stack.start(tmp_path / "data") as second:
            assert {second.nats.port, second.postgres.port}.isdisjoint(taken)


def _listening(port: int) -> socket.socket:
    return socket.create_server((ports.HOST, port))


async def test_killed_servers_come_back_with_all_they_acknowledged(tmp_path: Path) -> None:
    """SIGKILL of both servers, with a session open in Postgres, loses nothing; `restart` keeps the address."""
    async with stack.start(tmp_path / "data") as started:
        await _write(started)
        open_session = await asyncpg.connect(started.postgres_dsn())
        await started.nats.server.kill()
        await started.postgres.server.kill()
        await started.nats.server.restart()
        await started.postgres.server.restart()
        assert await _read(started) == _KEPT
        open_session.terminate()
        await started.nats.server.kill()
        await started.postgres.server.kill()
    async with stack.start(tmp_path / "data") as again:
        connection = await asyncpg.connect(again.postgres_dsn())
        assert await connection.fetchval("select word from kept") == "row"
        await connection.close()
