"""Free TCP ports on 127.0.0.1.

A port is only known to be free at the moment of asking: a server that then finds it taken is started again
on another one (`START_ATTEMPTS`).
"""

from __future__ import annotations

import socket
from collections.abc import Iterable

HOST = "127.0.0.1"
START_ATTEMPTS = 3


def is_free(port: int) -> bool:
    """Whether a server could listen on `port` now; one that just stopped does not count."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def pick(count: int, *, preferred: Iterable[int] = ()) -> tuple[int, ...]:
    """`count` different free ports: the preferred ones if all of them are free, else fresh ones."""
    wanted = tuple(preferred)
    if len(wanted) == count and all(is_free(port) for port in wanted):
        return wanted
    probes = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind((HOST, 0))
        return tuple(int(probe.getsockname()[1]) for probe in probes)
    finally:
        for probe in probes:
            probe.close()
