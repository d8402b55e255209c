"""A zygote whose executors break the protocol in the way named on the command line: a peer to defend against.

Speaks frames by hand, loads no engine. `python misbehaving_executor.py <way> <descriptor>`.
"""

from __future__ import annotations

import array
import os
import socket
import struct
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from schemas import codec
from worker.frames import Call, Ready, Run, Spawn, Spawned, ToExecutor

HEADER = struct.Struct(">I")


def main(way: str, descriptor: int) -> None:
    supervisor = socket.socket(fileno=descriptor)
    while (spawn := read(supervisor, Spawn)) is not None:
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            ours.close()
            supervisor.close()
            misbehave(way, theirs)
            os._exit(0)
        theirs.close()
        pidfd = os.pidfd_open(pid)
        data = frame(Spawned(executor=spawn.executor, pid=pid))
        rights = array.array("i", [ours.fileno(), pidfd])
        supervisor.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
        ours.close()
        os.close(pidfd)
        reap()


def misbehave(way: str, peer: socket.socket) -> None:
    send(peer, Ready(engine_fingerprint="none", walls=()))
    if not isinstance(read(peer, ToExecutor), Run):
        return
    call = Call(ordinal=1, interface="no-such", function="thing", arguments=[])
    if way == "garbage":
        peer.sendall(HEADER.pack(5) + b"hello")
    elif way == "oversized":
        peer.sendall(HEADER.pack(2**31))
    elif way == "out-of-turn":
        send(peer, Ready(engine_fingerprint="none", walls=()))
    elif way == "unknown-call":
        send(peer, call)
    elif way == "two-calls":
        peer.sendall(frame(call) + frame(call))
    elif way == "exit":
        return
    time.sleep(60)


def read(peer: socket.socket, type_: object) -> object | None:
    head = exactly(peer, HEADER.size)
    return None if head is None else codec.decode(type_, exactly(peer, HEADER.unpack(head)[0]) or b"")


def exactly(peer: socket.socket, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        more = peer.recv(size - len(data))
        if not more:
            return None
        data += more
    return data


def frame(message: object) -> bytes:
    payload = codec.encode(message)
    return HEADER.pack(len(payload)) + payload


def send(peer: socket.socket, message: object) -> None:
    peer.sendall(frame(message))


def reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


main(sys.argv[1], int(sys.argv[2]))
