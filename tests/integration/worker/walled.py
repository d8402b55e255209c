"""Run as a program: raises an executor's walls round itself, then tries to get out; prints what became of each try.

Arguments: a parent's pid, a TCP port that listens on this machine, the pid of another process. The walls are those of
`worker.executor.confine`, in the order of the zygote and the executor; the tries are plain Python, as after an escape.
"""

import ctypes
import encodings.idna  # noqa: F401
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from worker.executor import confine

CANARY = "ALGA_CANARY"


def tries(port: int, neighbour: int, descriptors_before: set[int]) -> dict[str, Callable[[], object]]:
    """Each must fail, or answer with something empty."""
    libc = ctypes.CDLL(None, use_errno=True)

    def checked(result: int) -> int:
        if result < 0:
            raise OSError(ctypes.get_errno(), "")
        return result

    return {
        "read a file": lambda: Path("/etc/passwd").read_text(),
        "read our own code": lambda: Path(confine.__file__).read_text(),
        "list a folder": lambda: os.listdir("/"),
        "write a file": lambda: Path("/tmp/escaped").write_text("x"),
        "make a folder": lambda: os.mkdir("/tmp/escaped.d"),
        "remove a file": lambda: os.unlink("/tmp/walled-canary"),
        "tcp": lambda: socket.create_connection(("127.0.0.1", port), timeout=1),
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", port)),
        "dns": lambda: socket.getaddrinfo("example.com", 80),
        "unix socket": lambda: socket.socketpair(),
        "exec": lambda: subprocess.run(["/bin/true"], check=True),
        "exec in place": lambda: os.execv("/bin/true", ["true"]),
        "fork": lambda: os.fork(),
        "thread": lambda: threading.Thread(target=print).start(),
        "ptrace a neighbour": lambda: checked(libc.ptrace(16, neighbour, 0, 0)),
        "signal a neighbour": lambda: os.kill(neighbour, signal.SIGKILL),
        "signal the parent": lambda: os.kill(os.getppid(), signal.SIGKILL),
        "become root": lambda: os.setresuid(0, 0, 0),
        "mount": lambda: checked(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)),
        "new namespace": lambda: checked(libc.unshare(0x10000000)),
        "another process's memory": lambda: Path(f"/proc/{neighbour}/mem").read_bytes(),
        "another process's environment": lambda: Path(f"/proc/{neighbour}/environ").read_bytes(),
        "raise limits": lambda: __import__("resource").setrlimit(7, (1000, 1000)),
        "bpf": lambda: checked(libc.syscall(321, 0, 0, 0)),
        "io_uring": lambda: checked(libc.syscall(425, 8, 0)),
        "keyring": lambda: checked(libc.syscall(250, 0, 0)),
        "environment": lambda: secrets_in(os.environ),
        "descriptors": lambda: sorted(open_descriptors() - descriptors_before),
    }


def secrets_in(environ: object) -> list[str]:
    return [name for name in environ if CANARY in name]  # type: ignore[attr-defined]


def open_descriptors() -> set[int]:
    return {number for number in range(256) if is_open(number)}


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def main() -> None:
    parent, port, neighbour = map(int, sys.argv[1:])
    report = os.dup(1)
    walls = confine.leave_network()
    confine.close_descriptors({report})
    walls += confine.confine(number=1, parent=parent, start_threads=lambda: None)
    found = {}
    for name, attempt in tries(port, neighbour, {0, 1, 2, report}).items():
        try:
            found[name] = {"got": repr(attempt() or None)[:200]}
        except (OSError, RuntimeError, ValueError, subprocess.SubprocessError) as error:
            found[name] = {"error": type(error).__name__}
    os.write(report, json.dumps({"walls": walls, "found": found}).encode())
    os._exit(0)


if __name__ == "__main__":
    main()
