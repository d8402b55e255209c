"""The walls round an executor, raised before the first guest byte.

Owns their order, which matters: identity first (it resets the death signal), then Landlock, then the ticker thread,
then the ban on threads and seccomp. Each wall that holds is named in `Ready`; one that the kernel does not have is
missing there, and the supervisor decides. Everything is imported before: a late import fails behind these walls.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from typing import Final

from schemas.engine import MIB, MIN_THREAD_STACK_BYTES
from worker.executor import landlock, libc, seccomp

FIRST_USER: Final = 61_184
USERS: Final = 4_000
"""A user of its own per executor, of the range that systemd keeps for dynamic users: no signals to a neighbour."""
ADDRESS_SPACE_BYTES: Final = 4096 * MIB
OPEN_FILES: Final = 256


class Unsafe(RuntimeError):
    """The process cannot be made what an executor must be; it ends."""


def leave_network() -> list[str]:
    """In the zygote: an empty network namespace for it and all it forks. The walls that hold."""
    for flags in (libc.CLONE_NEWNET | libc.CLONE_NEWIPC, libc.CLONE_NEWUSER | libc.CLONE_NEWNET | libc.CLONE_NEWIPC):
        try:
            libc.unshare(flags)
        except OSError:
            continue
        return ["network namespace"]
    return []


def die_with(parent: int) -> None:
    """End when the parent does. Raises Unsafe if it already has."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise Unsafe("the parent is gone")


def check_stack() -> None:
    """Raises Unsafe where unbounded recursion of a guest would be a crash."""
    soft, _ = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < MIN_THREAD_STACK_BYTES:
        raise Unsafe(f"RLIMIT_STACK is {soft} bytes, at least {MIN_THREAD_STACK_BYTES} are needed")


def close_descriptors(keep: set[int]) -> None:
    """Close everything but stderr and `keep`; stdin and stdout become /dev/null."""
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    kept = sorted({0, 1, 2} | keep)
    for low, high in zip(kept, [*kept[1:], os.sysconf("SC_OPEN_MAX")], strict=True):
        os.closerange(low + 1, high)


def confine(*, number: int, parent: int, start_threads: Callable[[], None]) -> list[str]:
    """Raise every wall; which hold. `number` is the executor's, `start_threads` starts what must run beside it."""
    os.environ.clear()
    walls = _limits()
    if os.geteuid() == 0:
        _become(FIRST_USER + number % USERS)
        walls.append("own user")
    libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
    libc.prctl(libc.PR_SET_DUMPABLE, 0)
    die_with(parent)
    walls += ["no new privileges", "not dumpable"]
    abi = landlock.deny_all()
    if abi is not None:
        walls.append(f"landlock {abi}")
    start_threads()
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    if seccomp.allow_only(reading_files=abi is not None):
        walls.append("seccomp")
    return walls


def _limits() -> list[str]:
    for name, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_MEMLOCK, 0),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_AS, ADDRESS_SPACE_BYTES),
    ):
        resource.setrlimit(name, (value, value))
    return ["limits"]


def _become(user: int) -> None:
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
