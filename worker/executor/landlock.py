"""Landlock: no path can be opened and no TCP port used, by this process and all its threads to come."""

from __future__ import annotations

import ctypes
import os
import struct
from typing import Final

from worker.executor import libc

MIN_ABI: Final = 1
_VERSION_FLAG: Final = 1
_FILE_RIGHTS: Final = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
"""How many of the file rights each version of the interface knows; they are numbered from bit 0."""
_NETWORK_SINCE, _NETWORK_RIGHTS = 4, 0b11
_SCOPES_SINCE, _SCOPES = 6, 0b11


def deny_all() -> int | None:
    """Apply a rule set without a single rule; the version that holds, or None where the kernel has none.

    Needs no_new_privs. Descriptors that are open stay open, and memfds can be opened again through /proc/self/fd.
    """
    try:
        abi = libc.syscall(libc.SYS_LANDLOCK_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError:
        return None
    if abi < MIN_ABI:
        return None
    attributes = ctypes.create_string_buffer(_attributes(abi))
    size = len(attributes.raw) - 1
    ruleset = libc.syscall(libc.SYS_LANDLOCK_CREATE_RULESET, ctypes.addressof(attributes), size, 0)
    try:
        libc.syscall(libc.SYS_LANDLOCK_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _attributes(abi: int) -> bytes:
    files = (1 << _FILE_RIGHTS[min(abi, max(_FILE_RIGHTS))]) - 1
    fields = [files]
    if abi >= _NETWORK_SINCE:
        fields.append(_NETWORK_RIGHTS)
    if abi >= _SCOPES_SINCE:
        fields.append(_SCOPES)
    return struct.pack(f"<{len(fields)}Q", *fields)
