"""The embedded stack recovers from whatever an earlier run, or another one, left in its directory."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import asyncpg
import psutil
import pytest

from deploy.embedded import stack
from schemas.errors import Conflict

_NOBODY = 65534
_PROGRAM = """
import asyncio, json, os, sys
from pathlib import Path
from deploy.embedded import stack

async def main():
    async with stack.start(Path(sys.argv[1])) as started:
        pids = {"nats": started.nats.server.pid, "postgres": started.postgres.server.pid}
        print(json.dumps({**pids, "user": os.geteuid(), "dsn": started.postgres_dsn()}), flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""
_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class OtherStack:
    """A stack that another process runs until it is killed or its input is closed."""

    process: subprocess.Popen[str]
    nats_pid: int
    postgres_pid: int
    user: int
    dsn: str

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class StartElsewhere(Protocol):
    def __call__(self, directory: Path, *, prefix: tuple[str, ...] = ()) -> OtherStack: ...


@pytest.fixture
def start_elsewhere() -> Iterator[StartElsewhere]:
    """Start a stack in another process, `prefix` being put before its command."""
    started: list[subprocess.Popen[str]] = []

    def start(directory: Path, *, prefix: tuple[str, ...] = ()) -> OtherStack:
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", _PROGRAM, str(directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=_ROOT,
        )
        started.append(process)
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        return OtherStack(process, said["nats"], said["postgres"], said["user"], said["dsn"])

    yield start
    for process in started:
        process.communicate()


async def test_a_killed_owner_takes_its_servers_along(tmp_path: Path, start_elsewhere: StartElsewhere) -> None:
    """A SIGKILLed `alga dev` can clean up nothing, so the kernel ends its servers; the next start works."""
    other = start_elsewhere(tmp_path / "data")
    session = await asyncpg.connect(other.dsn)
    await session.execute("create table kept (word text); insert into kept values ('row')")
    other.kill()
    await _wait_for_end(other.nats_pid, other.postgres_pid)
    session.terminate()
    async with stack.start(tmp_path / "data") as started:
        connection = await asyncpg.connect(started.postgres_dsn())
        assert await connection.fetchval("select word from kept") == "row"
        await connection.close()


async def _wait_for_end(*pids: int) -> None:
    async with asyncio.timeout(10):
        while any(_is_alive(pid) for pid in pids):
            await asyncio.sleep(0.02)


def _is_alive(pid: int) -> bool:
    """A zombie, which is init's to collect, is dead."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


async def test_servers_that_outlived_their_owner_are_ended_first(
    tmp_path: Path, start_elsewhere: StartElsewhere
) -> None:
    """Servers that could not follow their owner (here: stopped by a signal) do not block the next start."""
    other = start_elsewhere(tmp_path / "data")
    os.kill(other.nats_pid, signal.SIGSTOP)
    os.kill(other.postgres_pid, signal.SIGSTOP)
    other.kill()
    assert _is_alive(other.nats_pid)
    assert _is_alive(other.postgres_pid)
    async with stack.start(tmp_path / "data") as started:
        assert not _is_alive(other.nats_pid)
        assert not _is_alive(other.postgres_pid)
        connection = await asyncpg.connect(started.postgres_dsn())
        await connection.close()


async def test_a_directory_in_use_is_refused_with_the_pid(tmp_path: Path, start_elsewhere: StartElsewhere) -> None:
    """Two stacks in one directory would destroy each other's data."""
    other = start_elsewhere(tmp_path / "data")
    with pytest.raises(Conflict, match=f"in use by process {other.process.pid}$"):
        async with stack.start(tmp_path / "data"):
            pytest.fail("started in a directory that is in use")
    connection = await asyncpg.connect(other.dsn)
    await connection.close()


async def test_a_stale_pid_file_whose_pid_lives_again_does_not_block(tmp_path: Path) -> None:
    """After a reboot another program may have the pid of the dead server; Postgres alone would refuse to start."""
    async with stack.start(tmp_path / "data"):
        pass
    cluster = tmp_path / "data" / "postgres"
    owner = cluster.stat().st_uid
    with subprocess.Popen(["sleep", "60"], user=owner if os.geteuid() == 0 else None) as living:
        (cluster / "postmaster.pid").write_text(f"{living.pid}\n{cluster}\n1\n1\n\n\n")
        async with stack.start(tmp_path / "data"):
            assert living.poll() is None
        living.kill()


async def test_a_first_start_that_was_killed_half_way_is_done_again(tmp_path: Path) -> None:
    """A half-made cluster looks like a whole one to Postgres, so it never gets that name."""
    unfinished = tmp_path / "data" / "postgres.new.killed"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    async with stack.start(tmp_path / "data") as started:
        connection = await asyncpg.connect(started.postgres_dsn())
        await connection.close()
    assert not unfinished.exists()


async def test_a_stack_runs_without_root_and_then_under_root_as_its_owner(
    tmp_path: Path, start_elsewhere: StartElsewhere
) -> None:
    """Postgres refuses to be root: it runs as whoever we are, and for root as whoever owns its data."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to start a stack as two different users")
    as_nobody = ("unshare", "--user", f"--map-user={_NOBODY}", f"--map-group={_NOBODY}")
    if subprocess.run([*as_nobody, "true"], capture_output=True).returncode != 0:
        pytest.skip("needs user namespaces, to be nobody and still reach this interpreter")
    other = start_elsewhere(tmp_path / "data", prefix=as_nobody)
    assert other.user == _NOBODY
    other.process.communicate()
    subprocess.run(["chown", "-R", str(_NOBODY), str(tmp_path / "data" / "postgres")], check=True)
    async with stack.start(tmp_path / "data") as started:
        assert psutil.Process(started.postgres.server.pid).uids().real == _NOBODY
