"""S12: what was not asked for, not granted, or taken away is denied in the guest, in its own words, to no effect."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from schemas.errors import FleetError
from tests.fleet import Installed, TestFleet
from tests.guests import build

pytestmark = pytest.mark.case("S12")

DENIED: dict[str, Any] = {
    "clients": "not-allowed",
    "events": "denied",
    "http": "not-allowed",
    "scheduler": "denied",
    "secrets": "denied",
    "services": "not-allowed",
    "storage": "denied",
    "ui-proxy": "denied",
}
"""Each interface's own word; the others answer with a record."""
WISHES = [
    "cap:client.read",
    "cap:events.emit",
    "cap:http.fetch",
    "cap:invoice.manual.create",
    "cap:metrics.emit",
    "cap:scheduler.manage",
    "cap:secrets.get",
    "cap:service.read",
    "cap:storage.kv",
    "cap:ui.proxy",
]
ACCESS_DENIED = b"\1"
"""`access-denied`, in the enum of socket errors."""


@dataclass
class Spy:
    """Everything that reaches a port of this machine, over TCP or UDP."""

    port: int = 0
    received: list[object] = field(default_factory=list)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, spy: Spy) -> None:
        self._spy = spy

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._spy.received.append((data, addr))


@contextlib.asynccontextmanager
async def _spying(port: int = 0) -> AsyncIterator[Spy]:
    spy = Spy()
    server = await asyncio.start_server(lambda _reader, writer: spy.received.append(writer), "127.0.0.1", port)
    spy.port = server.sockets[0].getsockname()[1]
    loop = asyncio.get_running_loop()
    datagrams, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(spy), local_addr=("127.0.0.1", spy.port))
    try:
        yield spy
    finally:
        datagrams.close()
        server.close()


@pytest.mark.parametrize("wishes", [[], WISHES], ids=["not asked for", "not granted"])
async def test_S12_a_call_that_is_not_granted_is_denied_in_the_interfaces_own_words(
    fleet: TestFleet, wishes: list[str]
) -> None:
    """Whether the manifest does not ask or the admin did not grant: no trap, no effect, 200 from the guest."""
    install = await _install(fleet, wishes, grants=[])
    for interface, word in DENIED.items():
        assert await _ask(fleet, install, interface) == {"error": word}
    assert (await _ask(fleet, install, "storage-v2"))["error"]["code"] == "denied"
    invoice = (await _ask(fleet, install, "invoicing"))["ok"]
    assert (invoice["success"], invoice["error"]) == (False, "Permission denied: cap:invoice.manual.create")
    assert await _ask(fleet, install, "metrics") == {"ok": None}
    for allowed in ("context", "context-v2"):
        assert "ok" in await _ask(fleet, install, allowed)


async def test_S12_a_denied_write_and_a_denied_fetch_have_no_effect(fleet: TestFleet) -> None:
    """Nothing is stored, and nothing reaches the host that was asked for."""
    install = await _install(fleet, ["cap:storage.kv", "cap:http.fetch"], grants=[])
    item = {"key": "key", "value": "x", "encoding": "text", "createOnly": False}
    async with _spying() as spy:
        request = {"method": "GET", "url": f"http://127.0.0.1:{spy.port}/", "headers": []}
        script = [{"ask": ["storage-v2", "put", ["asked", item]]}, {"ask": ["http", "fetch", [request]]}]
        put, fetched = await _script(fleet, install, script)
        assert (put["error"]["code"], fetched["error"]) == ("denied", "not-allowed")
        await _grant(fleet, install, ["cap:storage.kv"])
        assert await _ask(fleet, install, "storage-v2") == {"ok": None}
        assert spy.received == []


async def test_S12_a_grant_revoked_a_moment_ago_is_denied(fleet: TestFleet) -> None:
    """The very next call; and each interface is revoked by itself."""
    install = await _install(fleet, ["cap:storage.kv", "cap:secrets.get"], grants="manifest")
    for _ in range(5):
        assert await _ask(fleet, install, "storage-v2") == {"ok": None}
        await _grant(fleet, install, ["cap:secrets.get"])
        assert (await _ask(fleet, install, "storage-v2"))["error"]["code"] == "denied"
        assert (await _ask(fleet, install, "secrets"))["error"] == "missing"
        await _grant(fleet, install, ["cap:secrets.get", "cap:storage.kv"])


async def test_S12_what_is_unknown_is_refused_at_publish(fleet: TestFleet) -> None:
    """A capability in the manifest, or an interface among the component's imports, that nobody has; each is named."""
    with pytest.raises(FleetError) as unknown:
        await fleet.publish(build.component("echo"), manifest={"capabilities": ["cap:teleport"]})
    assert unknown.value.code == "manifest_invalid"
    assert "cap:teleport" in json.dumps([unknown.value.message, unknown.value.extra])
    for guest, name in {"unknown-interface": "teleport", "unknown-alga-interface": "alga:extension/"}.items():
        with pytest.raises(FleetError) as refused:
            await fleet.publish(build.component(guest))
        assert refused.value.code == "bundle_invalid"
        assert name in refused.value.message


@pytest.mark.parametrize("guest", ["wasi-tcp", "wasi-udp", "wasi-dns"])
async def test_S12_wasi_sockets_are_denied(fleet: TestFleet, guest: str) -> None:
    """Importing them is fine, using them is not, whatever is granted."""
    install = await _install(fleet, ["cap:http.fetch"], grants="manifest", guest=guest)
    answer = await fleet.call(install)
    assert (answer.status, answer.body) == (200, ACCESS_DENIED)


async def test_S12_a_whole_python_in_the_guest_reaches_no_socket_and_no_file(fleet: TestFleet) -> None:
    """Its own library tries; each try is refused, a spy on the very port hears nothing, nothing is written."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            spy = await stack.enter_async_context(_spying(53))
        except OSError as error:
            pytest.skip(f"port 53 of this machine cannot be listened on, which the guest tries to reach: {error}")
        endpoints = [{"method": "GET", "path": "/try/:attempt", "handler": "dist/main"}]
        extension = await fleet.publish(
            build.component("wasi-python"),
            manifest={"api": {"endpoints": endpoints}, "capabilities": ["cap:http.fetch"]},
        )
        install = await fleet.install(await fleet.tenant(), extension)
        for attempt in ("tcp", "udp", "dns", "listen", "read-file", "write-file", "list-files", "environment"):
            answer = await fleet.call(install, f"/try/{attempt}")
            assert answer.status == 200, answer.body
            assert set(answer.json()) == {"refused"}, (attempt, answer.body)
        assert spy.received == []


async def _install(
    fleet: TestFleet, wishes: list[str], *, grants: list[str] | str, guest: str = "ask-qjs"
) -> Installed:
    extension = await fleet.publish_once(f"{guest} {wishes}", build.component(guest), capabilities=wishes)
    return await fleet.install(await fleet.tenant(), extension, grants=grants)


async def _ask(fleet: TestFleet, install: Installed, interface: str) -> Any:
    answer = await fleet.call(install, f"/ask/{interface}")
    assert answer.status == 200, answer.body
    return answer.json()


async def _script(fleet: TestFleet, install: Installed, steps: list[Any]) -> list[Any]:
    answer = await fleet.call(install, "/script", method="POST", body=json.dumps(steps).encode())
    assert answer.status == 200, answer.body
    results: list[Any] = answer.json()["results"]
    return results


async def _grant(fleet: TestFleet, install: Installed, grants: list[str]) -> None:
    path = f"/api/v1/extensions/installs/{install.id}/grants"
    await fleet.admin(install.tenant.key, "PUT", path, {"grants": grants})
