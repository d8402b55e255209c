"""R9: no path, link or device in an archive gets anywhere, however it is spelled."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from registry import archive
from schemas.errors import ErrorCode, Unprocessable
from schemas.ids import content_hash_of
from tests import tar_bytes

pytestmark = pytest.mark.case("R9")

PATHS = {
    "parent": b"../../etc/passwd",
    "parent in the middle": b"ui/../../etc/passwd",
    "parent at the end": b"ui/..",
    "parent after a dot": b"./../etc/passwd",
    "absolute": b"/etc/passwd",
    "absolute after a dot": b".//etc/../passwd",
    "backslash": b"..\\..\\etc\\passwd",
    "drive letter": b"C:\\windows\\x",
    "drive letter without a backslash": b"c:x",
    "newline": b"ui/a\nb.html",
    "escape": b"ui/\x1b[2J.html",
    "delete": b"ui/\x7f.html",
    "C1 control": "ui/\x85.html".encode(),
    "not UTF-8": b"ui/\xff\xfe.html",
    "overlong UTF-8 of ..": b"\xc0\xae\xc0\xae/x",
    "surrogate": b"ui/\xed\xa0\x80.html",
    "empty segment": b"ui//x.html",
    "file with a trailing slash": b"ui/x.html/",
}
LONG = b"ui/" + b"x" * 253
KINDS = {
    "hard link": b"1",
    "symbolic link": b"2",
    "character device": b"3",
    "block device": b"4",
    "fifo": b"6",
    "sparse file": b"S",
    "contiguous file": b"7",
    "multi-volume": b"M",
    "unknown": b"Z",
}
ENTRIES = {
    **{f"USTAR name: {what}": tar_bytes.entry(path) for what, path in PATHS.items()},
    **{f"GNU long name: {what}": tar_bytes.long_name(path) + tar_bytes.entry(b"ok") for what, path in PATHS.items()},
    **{f"PAX path: {what}": tar_bytes.pax((b"path", path)) + tar_bytes.entry(b"ok") for what, path in PATHS.items()},
    "USTAR prefix: parent": tar_bytes.entry(b"passwd", prefix=b"../../etc"),
    "USTAR prefix: over 255 bytes": tar_bytes.entry(b"y" * 100, prefix=b"x" * 155),
    "GNU long name: over 255 bytes": tar_bytes.long_name(LONG) + tar_bytes.entry(b"ok"),
    "PAX path: over 255 bytes": tar_bytes.pax((b"path", LONG)) + tar_bytes.entry(b"ok"),
    "USTAR name: NUL": tar_bytes.entry(b"ui/a\0b.html"),
    "GNU long name: NUL": tar_bytes.long_name(b"ui/a\0b.html") + tar_bytes.entry(b"ok"),
    "PAX path: NUL": tar_bytes.pax((b"path", b"ui/a\0b.html")) + tar_bytes.entry(b"ok"),
    "PAX path twice": tar_bytes.pax((b"path", b"a"), (b"path", b"b")) + tar_bytes.entry(b"ok"),
    "PAX global path": tar_bytes.pax((b"path", b"../x"), kind=b"g") + tar_bytes.entry(b"ok"),
    "PAX sparse": tar_bytes.pax((b"GNU.sparse.map", b"0,1")) + tar_bytes.entry(b"ok"),
    "PAX size other than the header's": tar_bytes.pax((b"size", b"9")) + tar_bytes.entry(b"ok"),
    "PAX and GNU names together": tar_bytes.long_name(b"a") + tar_bytes.pax((b"path", b"b")) + tar_bytes.entry(b"ok"),
    "PAX binary names": tar_bytes.pax((b"hdrcharset", b"BINARY"), (b"path", b"a")) + tar_bytes.entry(b"ok"),
    "hidden symbolic link": tar_bytes.entry(b".hidden", b"", kind=b"2", link=b"/etc/passwd"),
    "directory outside": tar_bytes.entry(b"../outside/", b"", kind=b"5"),
    "directory with content": tar_bytes.entry(b"ui/", b"x", kind=b"5"),
    "same path twice": tar_bytes.entry(b"ui/a") + tar_bytes.entry(b"ui/a"),
    "same path twice, once with a dot": tar_bytes.entry(b"ui/a") + tar_bytes.entry(b"./ui/a"),
    "second manifest": tar_bytes.entry(b"manifest.json"),
    "differs in case only": tar_bytes.entry(b"ui/a") + tar_bytes.entry(b"UI/A"),
    "differs in Unicode composition only": tar_bytes.entry("ui/\xe9".encode()) + tar_bytes.entry(b"ui/e\xcc\x81"),
    "file that is also a directory": tar_bytes.entry(b"ui") + tar_bytes.entry(b"ui/a"),
    "directory that is also a file": tar_bytes.entry(b"ui/a") + tar_bytes.entry(b"ui"),
    "explicit directory that is also a file": tar_bytes.entry(b"ui/", b"", kind=b"5") + tar_bytes.entry(b"ui"),
    "size in base 256": tar_bytes.header(b"ui/a", 0, size_field=b"\x80" + b"\0" * 10 + b"\x01"),
    "negative size": tar_bytes.header(b"ui/a", 0, size_field=b"-0000000001\0"),
    **{kind: tar_bytes.entry(b"ui/x", b"", kind=flag, link=b"/etc/passwd") for kind, flag in KINDS.items()},
}


@pytest.mark.parametrize("what", ENTRIES)
def test_a_hostile_entry_refuses_the_bundle(what: str) -> None:
    """Publish answers 422 bundle_invalid."""
    with pytest.raises(Unprocessable) as refused:
        archive.read(io.BytesIO(tar_bytes.bundle(ENTRIES[what])))
    assert refused.value.code is ErrorCode.BUNDLE_INVALID


@pytest.mark.parametrize("what", ENTRIES)
def test_a_hostile_entry_writes_nothing_outside(what: str, tmp_path: Path) -> None:
    """Unpacking for the gateway stops as well, and nothing appears beside the directory it was given."""
    packed = tar_bytes.bundle(ENTRIES[what])
    inside = tmp_path / "deep" / "er" / "inside"
    inside.mkdir(parents=True)
    with pytest.raises(Unprocessable):
        archive.extract(io.BytesIO(packed), inside, prefix="", expected=content_hash_of(packed))
    outside = [path for path in tmp_path.rglob("*") if inside not in (path, *path.parents) and path.is_file()]
    assert outside == []
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


def test_a_bundle_without_hostile_entries_is_accepted() -> None:
    """The table above refuses for its entries, not for the way its archives are built."""
    read = archive.read(io.BytesIO(tar_bytes.bundle(tar_bytes.entry(b"ui/index.html"))))
    assert set(read.files) == {"manifest.json", "ui/index.html"}
