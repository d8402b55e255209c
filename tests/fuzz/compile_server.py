"""`python -m tests.fuzz.compile_server <fd>`: the compile jail's child without its start-up, forked for each component.

Runs `registry.compile.child.main` itself, walls and all, in a fork of a process that has its modules loaded. The
protocol is one datagram per component on a seqpacket socket, with three descriptors beside it: source, target, verdict.
"""

from __future__ import annotations

import os
import socket
import struct
import sys

from registry.compile import child, wit_check

ORDER = struct.Struct(">II")
"""Seconds of CPU, MiB of memory."""
STATUS = struct.Struct(">i")
"""How the child ended: negative is a signal."""


def main(descriptor: int) -> None:
    """Serve until the other end is closed."""
    wit_check.world()
    with socket.socket(fileno=descriptor) as sock:
        while True:
            data, descriptors, _, _ = socket.recv_fds(sock, ORDER.size, 3)
            if not data:
                return
            seconds, memory_mb = ORDER.unpack(data)
            status = _fork(descriptors, seconds=seconds, memory_mb=memory_mb)
            for number in descriptors:
                os.close(number)
            sock.send(STATUS.pack(status))


def _fork(descriptors: list[int], *, seconds: int, memory_mb: int) -> int:
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        source, target, verdict = descriptors
        os.dup2(verdict, 1)
        child.main(source=source, target=target, cpu_seconds=seconds, memory_mb=memory_mb, parent=parent)
        status = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
        raise
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main(int(sys.argv[1]))
