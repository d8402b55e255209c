"""Extensions built elsewhere, before us: their components, against the worlds of their day, and their archives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from tests import tar_bytes
from tests.fleet import Installed, Published, TestFleet, manifest_of
from tests.guests import build

CAPABILITIES = ["cap:storage.kv", "cap:secrets.get"]
FOREIGN_TIME = b"1717171717.123456789"


@pytest.mark.parametrize("guest", ["original-qjs", "first-qjs"])
async def test_a_component_of_an_older_world_answers(fleet: TestFleet, guest: str) -> None:
    """Raw imports of the original world, and of its first subset: published as they are, called, hosts answering."""
    install = await _installed(fleet, await fleet.publish(_guest(guest), manifest={"capabilities": CAPABILITIES}))
    await fleet.admin(
        install.tenant.key, "PUT", f"/api/v1/extensions/installs/{install.id}/secrets", {"set": {"api_key": "s3cret"}}
    )
    answer = (await fleet.call(install, "/a/b", method="POST", body=b"{}")).json()

    assert answer["url"] == "/a/b"
    assert answer["secret"] == "s3cret"
    assert answer["record"] == "missing"


@pytest.mark.parametrize("guest", ["ask-qjs", "ask-qjs-bare", "ask-spidermonkey"])
async def test_builds_of_every_toolchain_answer(fleet: TestFleet, guest: str) -> None:
    """Bare and full ones, whatever of WASI and of the world they import; grants decide, not imports."""
    install = await _installed(fleet, await fleet.publish(_guest(guest), manifest={"capabilities": ["cap:storage.kv"]}))
    item = {"key": "k", "value": "kept", "encoding": "text", "createOnly": False}
    script: list[Any] = [
        {"ask": ["storage-v2", "put", ["notes", item]]},
        {"ask": ["storage-v2", "get", ["notes", "k"]]},
        {"ask": ["secrets", "get", ["api_key"]]},
    ]
    answer = await fleet.call(install, "/script", method="POST", body=json.dumps(script).encode())

    put, got, denied = answer.json()["results"]
    assert (put["ok"]["revision"], got["ok"]["value"]) == (1, "kept")
    assert denied["error"] == "denied"


async def test_an_archive_packed_on_another_system_is_published(fleet: TestFleet) -> None:
    """AppleDouble shadows beside every file, PAX headers before them, `./` in front: only the files count."""
    document = json.dumps(manifest_of()).encode()
    component = build.component("echo").read_bytes()
    packed = zstandard.compress(
        tar_bytes.entry(b"./", b"", kind=b"5")
        + _shadow(b"./._manifest.json")
        + _foreign(b"./manifest.json", document)
        + tar_bytes.entry(b"./dist/", b"", kind=b"5")
        + _shadow(b"./dist/._main.wasm")
        + _foreign(b"./dist/main.wasm", component)
        + tar_bytes.END
    )
    install = await _installed(fleet, await fleet.publish_bundle(packed))
    answer = await fleet.call(install, "/", method="POST", body=b"hello")

    assert (answer.status, answer.body) == (200, b"hello")


def _guest(name: str) -> Path:
    return build.component(name)


def _shadow(name: bytes) -> bytes:
    """What macOS leaves beside a file, with the attributes it does not know how to pack otherwise."""
    return _foreign(name, b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(64))


def _foreign(name: bytes, data: bytes) -> bytes:
    """A file behind the PAX header that another system's tar writes before it."""
    records = ((b"mtime", FOREIGN_TIME), (b"LIBARCHIVE.xattr.com.apple.provenance", b"AQIAc2lnbmVk"))
    return tar_bytes.pax(*records) + tar_bytes.entry(name, data)


async def _installed(fleet: TestFleet, extension: Published) -> Installed:
    return await fleet.install(await fleet.tenant(), extension)
