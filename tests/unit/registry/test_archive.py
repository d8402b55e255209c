"""Archives: what real packers write is read, what would exhaust or deceive a reader is refused, packing is stable."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from registry import archive, packing
from registry.archive import Caps
from schemas.errors import Corrupt, ErrorCode, Invalid, Unprocessable
from schemas.ids import ContentHash, content_hash_of
from tests import tar_bytes
from tests.tar_bytes import MANIFEST

COMPONENT = b"\0asm" + bytes(range(256)) * 64
FILES: dict[str, bytes | Path] = {
    "manifest.json": MANIFEST,
    "dist/main.wasm": COMPONENT,
    "ui/index.html": b"<!doctype html>",
    "ui/" + "d" * 60 + "/" + "f" * 60 + ".js": b"1",
    "ui/" + "x" * 120 + "/" + "y" * 120 + ".js": b"2",
    "ui/größe.css": b"3",
}


def _refusal(packed: bytes, caps: Caps = archive.DEFAULT_CAPS) -> str:
    with pytest.raises(Unprocessable) as refused:
        archive.read(io.BytesIO(packed), caps=caps)
    assert refused.value.code is ErrorCode.BUNDLE_INVALID
    return refused.value.message


def test_packing_and_reading_gives_the_files_back() -> None:
    """An author's files arrive as they were, indexed by their hashes."""
    packed = packing.pack(FILES)
    read = archive.read(io.BytesIO(packed))
    assert read.content_hash == content_hash_of(packed)
    assert read.packed_bytes == len(packed)
    assert (read.manifest, read.component) == (MANIFEST, COMPONENT)
    assert {path: file.sha256 for path, file in read.files.items()} == {
        path: hashlib.sha256(data).hexdigest() for path, data in FILES.items() if isinstance(data, bytes)
    }


def test_the_same_files_give_the_same_bytes_whatever_their_order_and_times(tmp_path: Path) -> None:
    """Packing is reproducible, so that anybody can check what was signed."""
    on_disk = dict(FILES)
    (tmp_path / "page.html").write_bytes(b"<!doctype html>")
    on_disk["ui/index.html"] = tmp_path / "page.html"
    assert packing.pack(FILES) == packing.pack(dict(reversed(on_disk.items())))


def test_packing_is_the_same_as_in_the_last_release() -> None:
    """A change of the packed bytes is a change that authors must be told of."""
    packed = packing.pack({"manifest.json": b"{}", "ui/a.js": b"1" * 1000})
    assert hashlib.sha256(packed).hexdigest() == "35f8ed6b8bb9d86a98ded768ba6c6d7f0c1605a22f101b2d64c556f0f9b66efd"


def test_packing_uses_plain_headers_in_byte_order_without_hidden_files() -> None:
    """USTAR with PAX only where a name needs it; times, owners and modes say nothing."""
    packed = packing.pack({**FILES, ".git/config": b"x", "ui/.DS_Store": b"x"})
    unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(packed)
    with tarfile.open(fileobj=io.BytesIO(unpacked)) as tar:
        infos = tar.getmembers()
    assert [info.name for info in infos] == sorted(FILES, key=str.encode)
    assert {(info.mtime, info.uid, info.gid, info.mode, info.uname) for info in infos} == {(0, 0, 0, 0o644, "")}
    assert [info.name for info in infos if info.pax_headers] == [
        "ui/größe.css",
        "ui/" + "x" * 120 + "/" + "y" * 120 + ".js",
    ]


@pytest.mark.parametrize("format_", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_archives_of_other_packers_are_read(format_: int) -> None:
    """Directories, `./`, AppleDouble entries before the real ones, vendor records and global comments are tolerated."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format_, pax_headers={"comment": "made elsewhere"}) as tar:
        for name in ("./", "./ui/"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(folder)
        for name, data in {"._manifest.json": b"mac", "manifest.json": MANIFEST, "ui/a.html": b"a"}.items():
            info = tarfile.TarInfo(f"./{name}")
            info.size, info.mtime, info.uname = len(data), 1_700_000_000, "someone"
            if format_ == tarfile.PAX_FORMAT:
                info.pax_headers = {"LIBARCHIVE.xattr.com.apple.provenance": "AQAA", "mtime": "1700000000.5"}
            tar.addfile(info, io.BytesIO(data))
    read = archive.read(io.BytesIO(zstandard.compress(out.getvalue())))
    assert list(read.files) == ["manifest.json", "ui/a.html"]
    assert read.manifest == MANIFEST
    assert read.component is None


def test_a_bundle_without_a_manifest_at_its_root_is_refused() -> None:
    """One in a folder does not count."""
    assert "no manifest.json" in _refusal(tar_bytes.bundle(tar_bytes.entry(b"x/manifest.json"), manifest=False))


@pytest.mark.parametrize(
    ("packed", "says"),
    [
        (b"", "ends in the middle of its zstd frame"),
        (b"PK\x03\x04", "not compressed with zstd"),
        (b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + tar_bytes.bundle(), "not compressed with zstd"),
        (tar_bytes.bundle() + b"x", "bytes after its zstd frame"),
        (tar_bytes.bundle() + tar_bytes.bundle(), "bytes after its zstd frame"),
        (tar_bytes.bundle() + b"\x50\x2a\x4d\x18\0\0\0\0", "bytes after its zstd frame"),
        (tar_bytes.bundle()[:-4], "ends in the middle of its zstd frame"),
        (tar_bytes.bundle(end=b""), "ends in the middle of an entry"),
        (tar_bytes.bundle(end=tar_bytes.END + b"hidden" + bytes(506)), "bytes after its end"),
        (tar_bytes.bundle(tar_bytes.long_name(b"a")), "extended header without an entry"),
        (tar_bytes.bundle(tar_bytes.entry(b"a", kind=b"K")), "extended header without an entry"),
        (tar_bytes.bundle(tar_bytes.pax((b"mtime", b"1"), kind=b"g")), "extended header without an entry"),
        (tar_bytes.bundle(tar_bytes.entry(b"a", mode=b"00006$4\0")), "number at byte 100 is not an octal number"),
        (tar_bytes.bundle(tar_bytes.entry(b"")), "has an empty segment"),
        (tar_bytes.bundle(tar_bytes.entry(b"./")), "has an empty segment"),
        (tar_bytes.bundle(b"\1" * 512), "checksum"),
    ],
)
def test_bytes_that_another_reader_might_see_differently_are_refused(packed: bytes, says: str) -> None:
    """One archive means one list of files: one frame, one tar stream, nothing before, behind or missing."""
    assert says in _refusal(packed)


def test_a_window_over_the_cap_is_refused() -> None:
    """The reader's memory is bounded by the cap, not by the sender."""
    parameters = zstandard.ZstdCompressionParameters.from_level(19, window_log=24)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert "window" in _refusal(
        stream.compress(tar_bytes.entry(b"manifest.json", MANIFEST) + tar_bytes.END) + stream.flush()
    )


@pytest.mark.parametrize(
    ("caps", "says"),
    [
        (Caps(packed_bytes=100), "over the limit of 100 bytes"),
        (Caps(unpacked_bytes=2048), "unpacks to more than 2048 bytes"),
        (Caps(ratio=2), "more than 2 times its size"),
        (Caps(files=1), "more than 1 files"),
    ],
)
def test_each_cap_refuses_by_name(caps: Caps, says: str) -> None:
    """A limit that bites says which it is and its value."""
    assert says in _refusal(tar_bytes.bundle(tar_bytes.entry(b"ui/a")), caps)


def test_a_bomb_is_stopped_at_the_cap() -> None:
    """Ten kilobytes that unpack to 300 MiB cost the cap and no more."""
    stream = zstandard.ZstdCompressor(level=19).compressobj()
    bomb = b"".join(stream.compress(bytes(1 << 20)) for _ in range(300)) + stream.flush()
    assert len(bomb) < 20_000
    assert "more than 134217728 bytes" in _refusal(bomb)


def test_many_dropped_entries_are_bounded_too() -> None:
    """Hidden files are no way around the cap of files."""
    assert "entries" in _refusal(tar_bytes.bundle(*[tar_bytes.entry(b"._%d" % n) for n in range(40)]), Caps(files=2))


def test_an_oversized_manifest_is_refused_before_it_is_read() -> None:
    """manifest.json has its own cap."""
    assert "manifest.json of 262145 bytes" in _refusal(
        tar_bytes.bundle(tar_bytes.entry(b"manifest.json", b" " * 262_145), manifest=False), Caps(ratio=1_000_000)
    )


def test_an_operator_may_not_raise_the_packed_cap_beyond_upstreams() -> None:
    """200 MiB is the ceiling."""
    with pytest.raises(Invalid, match="209715200"):
        Caps(packed_bytes=archive.MAX_PACKED_BYTES + 1)


def test_extracting_writes_the_wanted_files_of_exactly_the_expected_bundle(tmp_path: Path) -> None:
    """The gateway unpacks ui/ of what was signed, or nothing."""
    packed = packing.pack(FILES)
    with pytest.raises(Corrupt):
        archive.extract(io.BytesIO(packed), tmp_path, prefix="ui/", expected=ContentHash(f"sha256:{'0' * 64}"))
    assert list(tmp_path.iterdir()) == []
    archive.extract(io.BytesIO(packed), tmp_path, prefix="ui/", expected=content_hash_of(packed))
    written = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert written == {path: data for path, data in FILES.items() if path.startswith("ui/")}


async def test_spooling_keeps_the_cap_while_it_receives() -> None:
    """An upload is stopped when it is over, not after it arrived."""

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 60

    async with archive.spool(chunks(), caps=Caps(packed_bytes=180)) as file:
        assert file.read() == b"x" * 180
    with pytest.raises(Unprocessable, match="over the limit of 179 bytes"):
        async with archive.spool(chunks(), caps=Caps(packed_bytes=179)):
            pytest.fail("the body ran")


_SEGMENT = st.from_regex(r"[a-zA-Z0-9_ é-][a-zA-Z0-9_. é-]{0,20}", fullmatch=True)
_PATHS = st.lists(_SEGMENT, min_size=1, max_size=4).map("/".join)


def _collide(files: dict[str, bytes]) -> bool:
    folded = [path.casefold() for path in files]
    return len(set(folded)) < len(folded) or any(a.startswith(f"{b}/") for a in folded for b in folded)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(_PATHS, st.binary(max_size=600), max_size=8))
def test_whatever_packs_reads_back_and_packs_again_to_the_same_bytes(files: dict[str, bytes]) -> None:
    """Round trip over generated trees that every file system could hold."""
    files = {**files, "manifest.json": MANIFEST}
    assume(not _collide(files))
    packed = packing.pack(files, caps=Caps(ratio=100_000))
    read = archive.read(io.BytesIO(packed), caps=Caps(ratio=100_000))
    assert {path: file.size for path, file in read.files.items()} == {path: len(data) for path, data in files.items()}
    assert packing.pack(dict(reversed(files.items())), caps=Caps(ratio=100_000)) == packed


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
def test_no_bytes_make_the_reader_fail_in_any_other_way(garbage: bytes) -> None:
    """Whatever stands in the frame is refused with bundle_invalid."""
    _refusal(zstandard.compress(garbage), Caps(ratio=1_000_000))
