"""Becomes a server process that ends when its parent does; run as a script in a bare interpreter, never imported.

Owns the last steps between fork and exec: give up root where a server refuses to run as root, ask the kernel to
signal us when the parent dies (a SIGKILLed parent can clean up nothing), and exec. It runs as a program of its own
because Python code between fork and exec is unsafe in a process with threads.

Arguments: parent pid, death signal, user id or -1, group id or -1, then the command.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def _become_user(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


def _die_with_parent(parent: int, death_signal: int) -> None:
    """Linux only; elsewhere a server left behind is ended at the next start of its directory."""
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "PR_SET_PDEATHSIG")
    if os.getppid() != parent:
        sys.exit("the parent ended before its server started")


def main(arguments: list[str]) -> None:
    parent, death_signal, uid, gid = (int(argument) for argument in arguments[:4])
    command = arguments[4:]
    if uid >= 0:
        _become_user(uid, gid)
    # After the change of user, which clears the death signal.
    _die_with_parent(parent, death_signal)
    try:
        os.execv(command[0], command)  # noqa: S606 - becoming another program is the point
    except OSError as error:
        sys.exit(f"{command[0]}: {error.strerror}")


main(sys.argv[1:])
