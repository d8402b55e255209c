"""Paths inside a bundle: which are refused, which are dropped, which are the same file on some file system.

One rule for packing, reading and the manifest's own paths. Owns no archive and touches no disk.
"""

from __future__ import annotations

import re
import unicodedata

MAX_BYTES = 255
_DRIVE = re.compile(r"[A-Za-z]:")


def problem_of(path: str) -> str | None:
    """Why a path may not stand in a bundle, or None. Expects a file's path, without a leading `./`."""
    if len(path.encode("utf-8", "surrogateescape")) > MAX_BYTES:
        return f"is longer than {MAX_BYTES} bytes"
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in path):
        return "has a control character"
    if "\\" in path:
        return "has a backslash"
    if path.startswith("/"):
        return "is absolute"
    if _DRIVE.match(path):
        return "starts with a drive letter"
    segments = path.split("/")
    if ".." in segments:
        return "has a .. segment"
    return "has an empty segment" if "" in segments else None


def is_hidden(path: str) -> bool:
    """Whether a segment starts with a dot: AppleDouble files and the like, left out of every bundle."""
    return any(segment.startswith(".") for segment in path.split("/"))


def without_dot_slash(path: str) -> str:
    """`./a` as `a`, `./` as the empty name."""
    while path.startswith("./"):
        path = path[2:].lstrip("/")
    return "" if path == "." else path


def fold(path: str) -> str:
    """Equal for paths that one file system or another would take for the same: case and Unicode composition."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", path).casefold())
