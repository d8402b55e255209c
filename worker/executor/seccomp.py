"""seccomp: the system calls an executor needs once it is set up, and no other.

Owns the list and the filter. What is not listed fails with EPERM. One thread is running beside the main one when the
filter is set; it is bound by it too.
"""

from __future__ import annotations

import ctypes
import errno
import struct
from typing import Final

from worker.executor import libc

ALLOWED: Final = {
    "read": 0,
    "write": 1,
    "close": 3,
    "fstat": 5,
    "poll": 7,
    "lseek": 8,
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "brk": 12,
    "rt_sigaction": 13,
    "rt_sigprocmask": 14,
    "rt_sigreturn": 15,
    "pread64": 17,
    "sched_yield": 24,
    "mremap": 25,
    "madvise": 28,
    "nanosleep": 35,
    "getpid": 39,
    "sendto": 44,
    "recvfrom": 45,
    "sendmsg": 46,
    "recvmsg": 47,
    "exit": 60,
    "getrusage": 98,
    "sigaltstack": 131,
    "gettid": 186,
    "futex": 202,
    "restart_syscall": 219,
    "clock_gettime": 228,
    "clock_getres": 229,
    "clock_nanosleep": 230,
    "exit_group": 231,
    "newfstatat": 262,
    "set_robust_list": 273,
    "getrandom": 318,
    "rseq": 334,
}
OPENAT: Final = 257
STATX: Final = 332
"""Answered with ENOSYS: the caller then asks by fstat."""
WRITING_FLAGS: Final = 0x1 | 0x2 | 0x40 | 0x200
"""O_WRONLY, O_RDWR, O_CREAT, O_TRUNC."""

_LOAD_WORD, _JUMP_EQUAL, _JUMP_GREATER_EQUAL, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _THIRD_ARGUMENT_AT = 0, 4, 32
_X86_64, _X32_BIT = 0xC000003E, 0x40000000
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_SET_FILTER, _ALL_THREADS = 1, 1


def allow_only(*, reading_files: bool) -> bool:
    """Set the filter on all threads; needs no_new_privs. False where the kernel has no seccomp.

    `reading_files`: paths may be opened for reading, as far as other walls let them; needed to load from a memfd.
    """
    program = ctypes.create_string_buffer(_filter(reading_files=reading_files))
    count = (len(program) - 1) // 8
    header = ctypes.create_string_buffer(struct.pack("<H6xQ", count, ctypes.addressof(program)))
    try:
        libc.syscall(libc.SYS_SECCOMP, _SET_FILTER, _ALL_THREADS, ctypes.addressof(header))
    except OSError as error:
        if error.errno == errno.ENOSYS:
            return False
        raise
    return True


def _filter(*, reading_files: bool) -> bytes:
    """One comparison and one return for each call: short jumps, and a list that can be read."""
    lines = [
        _line(_LOAD_WORD, _ARCHITECTURE_AT),
        _line(_JUMP_EQUAL, _X86_64, when=1),
        _line(_RETURN, _KILL),
        _line(_LOAD_WORD, _NUMBER_AT),
        _line(_JUMP_GREATER_EQUAL, _X32_BIT, unless=1),
        _line(_RETURN, _KILL),
    ]
    for number in sorted(ALLOWED.values()):
        lines += [_line(_JUMP_EQUAL, number, unless=1), _line(_RETURN, _ALLOW)]
    lines += [_line(_JUMP_EQUAL, STATX, unless=1), _line(_RETURN, _ERRNO | errno.ENOSYS)]
    if reading_files:
        lines += [
            _line(_JUMP_EQUAL, OPENAT, unless=3),
            _line(_LOAD_WORD, _THIRD_ARGUMENT_AT),
            _line(_JUMP_ANY_BIT, WRITING_FLAGS, when=1),
            _line(_RETURN, _ALLOW),
        ]
    lines.append(_line(_RETURN, _ERRNO | errno.EPERM))
    return b"".join(lines)


def _line(code: int, value: int, *, when: int = 0, unless: int = 0) -> bytes:
    """One instruction; `when` and `unless` are how many lines a jump skips."""
    return struct.pack("<HBBI", code, when, unless, value)
