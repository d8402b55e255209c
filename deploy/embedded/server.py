"""One server process: started, waited for, stopped; what an earlier run left behind is ended first.

Owns the life of the process and its log file. Knows nothing of NATS, Postgres or S3: what to run and when it is
ready are handed in. A server's working directory is its own data directory, which is how a process left behind
by a killed run is recognised: same program, same directory. The caller holds the lock of that directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.embedded.system_user import SystemUser
from schemas.errors import Unavailable

START_TIMEOUT_SECONDS = 60.0
"""Long enough for the recovery of a large data directory after a crash."""
STOP_GRACE_SECONDS = 10.0
_POLL_SECONDS = 0.02
_LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Command:
    """What to run. `stop_signal` asks for an orderly end, and is what the server gets when its parent dies."""

    name: str
    argv: tuple[str, ...]
    directory: Path
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    user: SystemUser | None = None
    """Another user to run as; None: the one we are."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the bare environment every server gets."""
    before_start: Callable[[], None] = lambda: None
    """What must be put right in the directory once nothing runs in it."""


class Server:
    """A running server. `restart` keeps its command, so its port too."""

    def __init__(self, command: Command, is_ready: Callable[[int], Awaitable[bool]]) -> None:
        """`is_ready` is given the pid and asked every 20 ms until it is true."""
        self._command, self._is_ready = command, is_ready
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """Of the running or, once it ended, of the last process; fault tests send it signals."""
        if self._process is None:
            raise Unavailable(f"{self._command.name} was never started")
        return self._process.pid

    async def start(self) -> None:
        """Returns when the server answers. Raises Unavailable, naming the log file, when it ends or stays silent."""
        await asyncio.to_thread(end_leftovers, self._command)
        self._command.before_start()
        self._process = await spawn(self._command)
        try:
            await self._wait_until_ready(self._process)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Orderly, by SIGKILL after 10 s; nothing to do when it has ended already."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        send(process, signal.SIGCONT)
        send(process, self._command.stop_signal)
        try:
            async with asyncio.timeout(STOP_GRACE_SECONDS):
                await process.wait()
        except TimeoutError:
            await self.kill()

    async def kill(self) -> None:
        """SIGKILL, as a fault: nothing is flushed, nothing said."""
        if self._process is not None:
            send(self._process, signal.SIGKILL)
            await self._process.wait()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def _wait_until_ready(self, process: asyncio.subprocess.Process) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT_SECONDS
        while not await self._is_ready(process.pid):
            if process.returncode is not None:
                raise failed(self._command, f"ended with exit code {process.returncode} while it was starting")
            if time.monotonic() > give_up_at:
                raise failed(self._command, f"did not answer within {START_TIMEOUT_SECONDS:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)


async def run_to_end(command: Command, on_line: Callable[[str], None]) -> None:
    """Run a program that ends by itself, handing on each line it prints. Raises Unavailable when it fails."""
    process = await spawn(command, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    try:
        with command.log.open("ab") as log:
            async for line in process.stdout:
                log.write(line)
                on_line(f"{command.name}: {line.decode(errors='replace').rstrip()}")
        await process.wait()
    finally:
        if process.returncode is None:
            send(process, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        raise failed(command, f"ended with exit code {process.returncode}")


def failed(command: Command, what: str) -> Unavailable:
    """The error for a program that did not do as it should; shows the end of its log."""
    tail = command.log.read_text(errors="replace")[-4000:].strip()
    last_line = tail.rsplit("\n", 1)[-1]
    return Unavailable(f"{command.name} {what}; its log {command.log} ends: {last_line}", detail=tail)


async def spawn(command: Command, *, stdout: int | None = None) -> asyncio.subprocess.Process:
    """Start the process, in a session of its own so that Ctrl-C in a terminal reaches only us. What it prints goes
    to its log, its standard output to `stdout` if given.

    The thread that calls this must live as long as the server: to the kernel, the thread is the parent.
    """
    user = command.user
    uid, gid = (-1, -1) if user is None else (user.uid, user.gid)
    arguments = [os.getpid(), int(command.stop_signal), uid, gid]
    with command.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable,
            *("-I", "-S", str(_LAUNCHER)),
            *(str(argument) for argument in arguments),
            *command.argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log if stdout is None else stdout,
            stderr=log,
            cwd=command.directory,
            env={"HOME": str(command.directory), "LC_ALL": "C.UTF-8", "TZ": "UTC", **command.environment},
            start_new_session=True,
        )


def send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """A signal to a process that may have just ended."""
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)


def end_leftovers(command: Command) -> None:
    """End every process that runs this program in this directory, children included. Blocks up to 10 s.

    By SIGKILL, which these engines recover from: an orderly signal to a child that lost its parent is worse, as a
    Postgres checkpointer would declare a clean shutdown beside sessions that still write. Raises Unavailable when
    one cannot be ended.
    """
    give_up_at = time.monotonic() + STOP_GRACE_SECONDS
    while found := _running(Path(command.argv[0]).name, command.directory):
        if time.monotonic() > give_up_at:
            pids = ", ".join(str(process.pid) for process in found)
            raise Unavailable(f"{command.name}: processes of an earlier run do not end: {pids}")
        for process in found:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        time.sleep(_POLL_SECONDS)


def _running(program: str, directory: Path) -> list[psutil.Process]:
    """Zombies are not running: they have no working directory any more."""
    named = (process for process in psutil.process_iter(["name"]) if process.info["name"] == program)
    return [process for process in named if _working_directory(process) == directory]


def _working_directory(process: psutil.Process) -> Path | None:
    try:
        return Path(process.cwd())
    except psutil.Error:
        return None
