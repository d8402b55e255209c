"""Target `archives`: any bytes are a bundle or bundle_invalid, and nothing is written where it should not be."""

from __future__ import annotations

import hashlib
import io
import random
import tarfile
import tempfile
from pathlib import Path

import zstandard

from registry import archive, packing
from registry.archive import Archive, Caps
from schemas import bundle_path
from schemas.errors import ErrorCode, Unprocessable
from tests import tar_bytes
from tests.fuzz import watching
from tests.fuzz.mutation import mutate
from tests.fuzz.report import Report

CAPS = Caps(packed_bytes=256 * 1024, unpacked_bytes=1024 * 1024, files=40)
NAMES = (
    *(
        b"a",
        b"a/b",
        b"A",
        b"ui/index.html",
        b"ui/a.js",
        b"dist/main.wasm",
        b"./a",
        b"././a",
        b"./",
        b".",
        b"..",
        b"../x",
    ),
    *(
        b"a/../../x",
        b"/etc/passwd",
        b"//x",
        b"a//b",
        b"a/",
        b"C:\\x",
        b"c:/x",
        b"a\\..\\x",
        b".hidden",
        b"a/._b",
        b"\xff",
    ),
    *(
        b"e\xcc\x81",
        b"\xc3\xa9",
        b"\xef\xbc\x8e\xef\xbc\x8e/x",
        b"a\nb",
        b"a\x7f",
        b"n" * 100,
        b"manifest.json",
        b"Manifest.json",
    ),
    *(b"a/b/c/d/e/f", b"aux", b"a ", b"~root", b"%2e%2e/x", b"-rf", b""),
)
KINDS = (b"0", b"0", b"0", b"0", b"\0", b"5", b"1", b"2", b"3", b"6", b"7", b"S", b"g", b"x", b"L", b"K", b"V")
LINKS = (b"", b"", b"/etc/passwd", b"../../x")


async def run(report: Report) -> None:
    """Read and extract each; compare what was accepted with what the standard library's reader sees."""
    with tempfile.TemporaryDirectory(prefix="alga-fuzz-archives-") as name:
        root = Path(name)
        for rng in report.inputs_of():
            data = _bundle(rng)
            with report.catching(data):
                _try(report, data, root / f"{report.inputs}")


def _try(report: Report, data: bytes, directory: Path) -> None:
    try:
        with watching.only_writes_below(directory) as outside:
            found = archive.read(io.BytesIO(data), caps=CAPS)
        with watching.only_writes_below(directory) as also_outside:
            directory.mkdir()
            archive.extract(io.BytesIO(data), directory, prefix="", expected=found.content_hash, caps=CAPS)
    except Unprocessable as error:
        report.refused[error.code] += 1
        if error.code is not ErrorCode.BUNDLE_INVALID:
            report.fail(f"refused as {error.code}: {error.message}", data)
        if outside or any(directory.glob("*")):
            report.fail(f"wrote although it was refused: {outside}", data)
        return
    report.accepted["bundle"] += 1
    if outside or also_outside:
        report.fail(f"wrote outside of its directory: {outside + also_outside}", data)
    _check_accepted(report, found, data, directory)


def _check_accepted(report: Report, found: Archive, data: bytes, directory: Path) -> None:
    files = {path: file.sha256 for path, file in found.files.items()}
    if bad := [path for path in files if bundle_path.problem_of(path) or bundle_path.is_hidden(path)]:
        report.fail(f"paths that no bundle may have: {bad}", data)
    if len({bundle_path.fold(path) for path in files}) != len(files):
        report.fail(f"two names for one file: {sorted(files)}", data)
    if (others := _by_tarfile(data)) != files:
        report.fail(f"read as {files}, by tarfile as {others}", data)
    # manifest.json never meets the disk: it is in the answer.
    written = {path: digest for path, digest in files.items() if path != "manifest.json"}
    if (extracted := _on_disk(directory)) != written:
        report.fail(f"extracted {extracted}, not {written}", data)
    if (
        packing.pack({path: _content(found, directory, path) for path in files})
        and found.unpacked_bytes > CAPS.unpacked_bytes
    ):
        report.fail(f"{found.unpacked_bytes} bytes are over the cap", data)


def _content(found: Archive, directory: Path, path: str) -> bytes:
    return found.manifest if path == "manifest.json" else (directory / path).read_bytes()


def _on_disk(directory: Path) -> dict[str, str]:
    files = (path for path in directory.rglob("*") if not path.is_dir())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _by_tarfile(data: bytes) -> dict[str, str]:
    unpacked = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    files: dict[str, str] = {}
    with tarfile.open(fileobj=io.BytesIO(unpacked), mode="r:") as opened:
        for member in opened:
            path = bundle_path.without_dot_slash(member.name)
            content = opened.extractfile(member) if member.isreg() else None
            if content is not None and not bundle_path.is_hidden(path):
                files[path] = hashlib.sha256(content.read()).hexdigest()
    return files


def _bundle(rng: random.Random) -> bytes:
    tar = _tar(rng)
    if rng.random() < 0.4:
        tar = mutate(rng, tar, most=3)
    if rng.random() < 0.3:
        tar = _with_checksums(tar)
    packed = zstandard.compress(tar, level=1)
    return mutate(rng, packed, most=2) if rng.random() < 0.15 else packed


def _tar(rng: random.Random) -> bytes:
    entries = [tar_bytes.entry(b"manifest.json", tar_bytes.MANIFEST)] if rng.random() < 0.95 else []
    calm = rng.random() < 0.4
    for _ in range(rng.randrange(5)):
        entries += [_entry(rng, calm=calm or rng.random() < 0.6)]
    rng.shuffle(entries)
    end = rng.choice((tar_bytes.END,) * 6 + (b"", bytes(tar_bytes.BLOCK), tar_bytes.END + b"x", bytes(10_240)))
    return b"".join(entries) + end


def _entry(rng: random.Random, *, calm: bool) -> bytes:
    data = rng.randbytes(rng.choice((0, 1, 511, 512, 513, 2000)))
    if calm:
        return tar_bytes.entry(rng.choice((b"a", b"b/c", b"ui/x", b"./d", b".hidden", b"e\xcc\x81")), data)
    name, kind = rng.choice(NAMES), rng.choice(KINDS)
    size_field = rng.choice(
        (None,) * 8 + (b"77777777777\0", b"\x80" + bytes(10) + b"\1", b"-0000000001\0", b"00000000008\0")
    )
    own = tar_bytes.header(
        name, 0 if kind == b"5" else len(data), kind=kind, link=rng.choice(LINKS), size_field=size_field,
        prefix=rng.choice((b"",) * 5 + (b"p", b"..", b"/p")),
    )  # fmt: skip
    body = b"" if kind == b"5" else data + bytes(-len(data) % tar_bytes.BLOCK)
    return _extension(rng, name) + own + body


def _extension(rng: random.Random, name: bytes) -> bytes:
    match rng.randrange(6):
        case 0:
            return tar_bytes.pax((b"path", rng.choice(NAMES)), kind=rng.choice((b"x", b"x", b"g", b"X")))
        case 1:
            return tar_bytes.pax(
                (rng.choice((b"size", b"linkpath", b"GNU.sparse.name", b"mtime", b"hdrcharset")), b"1")
            )
        case 2:
            return tar_bytes.long_name(rng.choice(NAMES) + b"n" * rng.choice((0, 150, 300)))
        case _:
            return b""


def _with_checksums(tar: bytes) -> bytes:
    """The mutated stream with every block that may be a header made to look like one."""
    blocks = [bytearray(tar[at : at + tar_bytes.BLOCK]) for at in range(0, len(tar), tar_bytes.BLOCK)]
    for block in blocks:
        if len(block) == tar_bytes.BLOCK and block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            block[148:156] = b"%06o\0 " % sum(block)
    return b"".join(blocks)
