"""The user Postgres runs as when we are root, because it refuses to be root.

Owns who that is, and that this user, and nobody else, can reach directories closed to others: an access control
entry to search each closed ancestor, no change of the mode bits for everybody.
"""

from __future__ import annotations

import errno
import os
import pwd
import stat
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import Unavailable

USER_NAME = "embedded_postgres"
_ACL = "system.posix_acl_access"
_ACL_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_UNDEFINED = 0xFFFFFFFF
_SEARCH = 1


@dataclass(frozen=True)
class SystemUser:
    uid: int
    gid: int


def choose(directory: Path) -> SystemUser | None:
    """Who runs the server of `directory`: None (ourselves) unless we are root; then the owner of an existing data
    directory, else a system user of its own, made on first use. Raises Unavailable when that user cannot be made."""
    if os.geteuid() != 0:
        return None
    if directory.exists() and directory.stat().st_uid != 0:
        owner = directory.stat()
        return SystemUser(owner.st_uid, owner.st_gid)
    entry = _find() or _create()
    return SystemUser(entry.pw_uid, entry.pw_gid)


def allow_search(user: SystemUser, path: Path) -> None:
    """Let `user` pass through every ancestor of `path`. Raises Unavailable where the file system cannot express it."""
    for ancestor in reversed(path.resolve().parents):
        if not _can_search(user, ancestor.stat()):
            _add_entry(user, ancestor)


def _find() -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(USER_NAME)
    except KeyError:
        return None


def _create() -> pwd.struct_passwd:
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", USER_NAME]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603 - constants only
    except (OSError, subprocess.CalledProcessError) as error:
        # Two first starts side by side: the other one may have won.
        if (entry := _find()) is not None:
            return entry
        detail = getattr(error, "stderr", None) or str(error)
        raise Unavailable(
            f"Postgres refuses to run as root and its user {USER_NAME} could not be made; start as another user",
            detail=detail,
        ) from error
    return pwd.getpwnam(USER_NAME)


def _can_search(user: SystemUser, directory: os.stat_result) -> bool:
    if directory.st_uid == user.uid:
        return bool(directory.st_mode & stat.S_IXUSR)
    return bool(directory.st_mode & stat.S_IXOTH)


def _add_entry(user: SystemUser, directory: Path) -> None:
    if sys.platform != "linux":
        raise _unreachable(user, directory)
    entries = _read_entries(directory)
    entries[(_USER, user.uid)] = entries.get((_USER, user.uid), 0) | _SEARCH
    entries[(_MASK, _UNDEFINED)] = entries.get((_MASK, _UNDEFINED), 0) | _SEARCH
    packed = b"".join(_ENTRY.pack(tag, rights, who) for (tag, who), rights in sorted(entries.items()))
    try:
        os.setxattr(directory, _ACL, _ACL_VERSION + packed)
    except OSError as error:
        raise _unreachable(user, directory) from error


def _read_entries(directory: Path) -> dict[tuple[int, int], int]:
    """(tag, id) -> rights; from the mode where no list was ever set."""
    try:
        raw = os.getxattr(directory, _ACL)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        mode = directory.stat().st_mode
        shifts = {_USER_OBJ: 6, _GROUP_OBJ: 3, _OTHER: 0}
        return {(tag, _UNDEFINED): (mode >> shift) & 7 for tag, shift in shifts.items()}
    return {(tag, who): rights for tag, rights, who in _ENTRY.iter_unpack(raw[len(_ACL_VERSION) :])}


def _unreachable(user: SystemUser, directory: Path) -> Unavailable:
    return Unavailable(
        f"Postgres runs as user id {user.uid} because it refuses to be root, and that user cannot reach {directory}; "
        "use a data directory it can reach, or start as another user"
    )
