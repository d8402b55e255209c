"""Tries everything a guest must not reach, by Python's own library: one route per attempt.

Each answers {"reached": what} or {"refused": the error's class and text}; the fleet's promise is that all refuse, but
for clock, randomness and standard output.
"""

import encodings.idna  # noqa: F401 - what getaddrinfo wants has to be there when the component is made
import os
import random
import socket
import sys
import time
from collections.abc import Callable

from alga_guest import App, Host, Request

app = App()
ATTEMPTS: dict[str, Callable[[], object]] = {
    "tcp": lambda: _connect(socket.SOCK_STREAM),
    "udp": lambda: _connect(socket.SOCK_DGRAM),
    "dns": lambda: str(socket.getaddrinfo("example.com", 443)),
    "listen": lambda: _listen(),
    "read-file": lambda: _read("/etc/passwd"),
    "write-file": lambda: _write("/tmp/leak"),
    "list-files": lambda: os.listdir("/"),
    "environment": lambda: dict(os.environ) or _refuse("the environment is empty"),
    "arguments": lambda: sys.argv[1:] or _refuse("there are no arguments"),
    "stdin": lambda: sys.stdin.readline() or _refuse("standard input is empty"),
    "clock": lambda: time.time(),
    "random": lambda: [random.SystemRandom().random(), os.urandom(8).hex()],
    "stdout": lambda: print("printed by the guest", flush=True) or "printed",
    "stderr": lambda: print("complained by the guest", file=sys.stderr, flush=True) or "printed",
}


@app.get("/try/{attempt}")
def attempt(request: Request, host: Host, attempt: str) -> dict[str, object]:
    try:
        return {"reached": ATTEMPTS[attempt]()}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}


@app.get("/try")
def attempts(request: Request, host: Host) -> list[str]:
    return sorted(ATTEMPTS)


@app.get("/exit")
def leave(request: Request, host: Host) -> None:
    os._exit(3)


def _connect(kind: int) -> str:
    with socket.socket(socket.AF_INET, kind) as connection:
        connection.connect(("127.0.0.1", 53))
        connection.send(b"leak")
        return "sent"


def _listen() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        return str(listener.getsockname())


def _read(path: str) -> str:
    with open(path) as file:
        return file.read(100)


def _write(path: str) -> str:
    with open(path, "w") as file:
        file.write("leak")
    return "written"


def _refuse(why: str) -> object:
    raise PermissionError(why)
