"""X3: addresses in the spellings that resolvers understand and lists do not."""

from __future__ import annotations

import pytest

from schemas.capability import Err
from tests.egress_spy import fetch, spy

pytestmark = pytest.mark.case("X3")

SPELLINGS = [
    "2130706433",
    "0x7f.1",
    "127.1",
    "0177.0.0.1",
    "0x7f000001",
    "017700000001",
    "127.0.0.1.",
    "127.0.1",
    "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460",
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "[::]",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:ffff:7f00:1]",
    "[::127.0.0.1]",
    "[fe80::1%25lo]",
    "[::1%lo]",
    "0",
    "0.0.0.0",
    "127.0.0.1%00.example",
    "localhost",
]


@pytest.mark.parametrize("host", SPELLINGS)
async def test_X3_no_spelling_of_this_machine_is_dialled(host: str) -> None:
    """Refused for its form or for its address, with a list that would let it through; the spy sees nothing."""
    plain = host.strip("[]").split("%")[0]
    lists = (f"http://*.example:{{port}},http://localhost:{{port}},http://{plain}:{{port}}", "http://*.example:{port}")
    async with spy(names={"localhost": ["127.0.0.1"]}, allow=()) as target:
        for entries in lists:
            hosts = tuple(entry.format(port=target.port) for entry in entries.split(","))
            value, _ = await fetch(target, f"http://{host}:{target.port}/", hosts=hosts)

            assert value in (Err("not-allowed"), Err("invalid-url"))
        assert target.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "0.0.0.0", "[::ffff:127.0.0.1]"])
async def test_X3_a_literal_address_on_the_list_is_still_checked(host: str) -> None:
    """An admin cannot open an address that only the operator may."""
    async with spy(allow=()) as target:
        value, reason = await fetch(target, f"http://{host}:{target.port}/", hosts=(f"http://{host}:{target.port}",))

        assert value == Err("not-allowed")
        assert reason is not None
        assert "not a public address" in reason
        assert target.connections == 0
