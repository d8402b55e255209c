"""The zygote: has wasmtime loaded and the Engine built, starts no thread, and forks executors on demand.

Owns the fork and the reaping. It runs no guest and reads nothing but its one socket, which closes with the
supervisor; then it ends, and with it every executor.
"""

from __future__ import annotations

import gc
import os
import select
import socket
import sys
import traceback

from registry.compile import wit_check
from worker.executor import confine, engine, link, values
from worker.executor.channel import Channel, Closed
from worker.executor.serve import Heirloom, serve
from worker.frames import Exited, Spawn, Spawned


def main(descriptor: int) -> None:
    """Serve the supervisor at the other end of `descriptor` until it is gone."""
    os.environ.clear()
    parent = os.getppid()
    confine.die_with(parent)
    confine.check_stack()
    heirloom = inherited(walls=tuple(confine.leave_network()))
    gc.collect()
    gc.freeze()
    _Zygote(heirloom, Channel(socket.socket(fileno=descriptor), Spawn)).run()


def inherited(*, walls: tuple[str, ...]) -> Heirloom:
    """What executors inherit, made anew; `walls` are those of this process already."""
    values.check_layout()
    world, built = wit_check.world(), engine.build_engine()
    return Heirloom(
        engine=built,
        reference=wit_check.Reference(built),
        codecs=link.compile_codecs(),
        handler=values.compile_codec(world.exports[wit_check.HANDLER]),
        fingerprint=engine.fingerprint(),
        walls=walls,
    )


class _Zygote:
    def __init__(self, heirloom: Heirloom, channel: Channel) -> None:
        self._heirloom, self._channel = heirloom, channel
        self._children: dict[int, tuple[int, int]] = {}
        self._poll = select.poll()
        self._poll.register(channel, select.POLLIN)

    def run(self) -> None:
        try:
            while True:
                for descriptor, _ in self._poll.poll():
                    if descriptor == self._channel.fileno():
                        self._hear()
                    else:
                        self._reap(descriptor)
        except Closed:
            return

    def _hear(self) -> None:
        spawn = self._channel.receive()
        while True:
            self._fork(spawn)
            if not self._channel.has_message():
                return
            spawn = self._channel.receive()

    def _fork(self, spawn: Spawn) -> None:
        zygote = os.getpid()
        ours, theirs = socket.socketpair()
        try:
            pid = os.fork()
        except OSError as error:
            # The supervisor waits only so long for an executor; the ones that live are worth more than this one.
            ours.close()
            theirs.close()
            sys.stderr.write(f"no executor could be forked: {error.strerror}\n")
            return
        if pid == 0:
            _run_child(self._heirloom, theirs, number=spawn.executor, parent=zygote)
        theirs.close()
        pidfd = os.pidfd_open(pid)
        with ours:
            self._channel.send(Spawned(executor=spawn.executor, pid=pid), descriptors=(ours.fileno(), pidfd))
        self._children[pidfd] = (spawn.executor, pid)
        self._poll.register(pidfd, select.POLLIN)

    def _reap(self, pidfd: int) -> None:
        executor, pid = self._children.pop(pidfd)
        self._poll.unregister(pidfd)
        os.close(pidfd)
        _, status = os.waitpid(pid, 0)
        self._channel.send(Exited(executor=executor, pid=pid, status=os.waitstatus_to_exitcode(status)))


def _run_child(heirloom: Heirloom, sock: socket.socket, *, number: int, parent: int) -> None:
    """Never returns: whatever happens in an executor, it does not become a second zygote."""
    status = 1
    try:
        serve(heirloom, sock, number=number, parent=parent)
        status = 0
    finally:
        if status:
            traceback.print_exc(file=sys.stderr)
        os._exit(status)
