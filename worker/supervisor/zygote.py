"""The zygote: the child process that forks executors; started, spoken to, started again when it dies.

Owns the process and its socket. The executors it forks belong to `slots.py`; they die with it. The zygote gets an
empty environment, one socket and nothing else of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from schemas.errors import ErrorCode, Unavailable
from service.lifecycle import TaskOwner
from worker.frames import Exited, FromZygote, Spawn, Spawned
from worker.supervisor.channel import Channel
from worker.supervisor.text import printable

log = structlog.get_logger()

ROOT = Path(__file__).resolve().parents[2]
COMMAND = (sys.executable, "-m", "worker.executor")
FORK_TIMEOUT_SECONDS = 5.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.05, 5.0
MAX_LINE_CHARACTERS = 4096


@dataclass(frozen=True)
class Forked:
    """A new executor: its socket and its pidfd are now the holder's to close."""

    number: int
    pid: int
    sock: socket.socket
    pidfd: int


class Zygote:
    """Forks executors on demand. `command` gets the number of its socket as last argument."""

    def __init__(self, owner: TaskOwner, *, command: Sequence[str] = COMMAND) -> None:
        self._owner, self._command = owner, tuple(command)
        self._channel: Channel | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._forks: dict[int, asyncio.Future[Forked]] = {}
        self._number = 0

    @property
    def pid(self) -> int | None:
        return None if self._process is None else self._process.pid

    async def start(self) -> None:
        """Start it and keep it alive until `close`."""
        await self._launch()
        self._owner.start(self._keep_alive(), name="zygote")

    async def fork(self) -> Forked:
        """A fresh executor. Raises Unavailable (overloaded) when none comes in `FORK_TIMEOUT_SECONDS`."""
        try:
            async with asyncio.timeout(FORK_TIMEOUT_SECONDS):
                await self._up.wait()
                return await self._ask()
        except TimeoutError:
            raise _no_executor("the zygote did not answer in time") from None

    async def close(self) -> None:
        """Kill the process, and with it every executor."""
        if self._channel is not None:
            self._channel.close()
        await self._end_process()

    async def _ask(self) -> Forked:
        self._number += 1
        number = self._number
        future: asyncio.Future[Forked] = asyncio.get_running_loop().create_future()
        self._forks[number] = future
        try:
            assert self._channel is not None
            self._channel.send(Spawn(executor=number))
            return await future
        finally:
            self._forks.pop(number, None)

    async def _launch(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(),),
                env={},
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )
        self._down.clear()
        self._channel = Channel(
            ours, FromZygote, on_message=self._heard, on_closed=self._closed, takes_descriptors=True
        )
        self._up.set()
        assert self._process.stderr is not None
        self._owner.start(_log_lines(self._process.stderr), name="zygote stderr")

    async def _keep_alive(self) -> None:
        loop, pause = asyncio.get_running_loop(), FIRST_PAUSE_SECONDS
        while True:
            launched = loop.time()
            await self._down.wait()
            await self._end_process()
            lived = loop.time() - launched
            pause = FIRST_PAUSE_SECONDS if lived > LONGEST_PAUSE_SECONDS else min(LONGEST_PAUSE_SECONDS, pause * 2)
            await asyncio.sleep(pause)
            await self._launch()
            log.warning("the zygote was started again", pid=self.pid)

    async def _end_process(self) -> None:
        if self._process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGKILL)
        await self._process.wait()

    def _heard(self, message: Spawned | Exited) -> None:
        if isinstance(message, Exited):
            log.debug("an executor ended", executor=message.executor, pid=message.pid, status=message.status)
            return
        assert self._channel is not None
        descriptors = self._channel.take_descriptors(2)
        future = self._forks.get(message.executor)
        if len(descriptors) < 2 or future is None or future.done():
            for descriptor in descriptors:
                os.close(descriptor)
            return
        sock = socket.socket(fileno=descriptors[0])
        future.set_result(Forked(message.executor, message.pid, sock, descriptors[1]))

    def _closed(self, reason: str) -> None:
        log.error("the zygote is gone", reason=printable(reason))
        self._up.clear()
        self._down.set()
        for future in self._forks.values():
            if not future.done():
                future.set_exception(_no_executor("the zygote ended"))


def _no_executor(detail: str) -> Unavailable:
    return Unavailable(
        "no executor could be started", code=ErrorCode.OVERLOADED, detail=detail, retry_after_seconds=1.0
    )


async def _log_lines(stream: asyncio.StreamReader) -> None:
    """What the zygote and its executors write to stderr: strangers' code runs there, so it is cut and escaped."""
    while data := await stream.read(MAX_LINE_CHARACTERS):
        for line in data.decode(errors="replace").splitlines():
            log.warning("an executor process wrote to stderr", text=printable(line))
