"""X4: names that resolve to special addresses; every range as a row, and generated ones."""

from __future__ import annotations

import ipaddress
import random
from collections.abc import Callable

import pytest

from schemas.capability import Err
from tests.egress_spy import fetch, spy
from worker.supervisor import addresses

pytestmark = pytest.mark.case("X4")

ROWS = [
    "169.254.169.254",
    "169.254.170.2",
    "fd00:ec2::254",
    "100.100.100.200",
    "168.63.129.16",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "10.255.255.255",
    "100.64.0.1",
    "100.127.255.255",
    "127.0.0.1",
    "127.255.255.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.0.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::8.8.8.8",
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b::808:808",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:10::1",
    "2001:20::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:a00:1::1",
    "2002:808:808::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd12:3456:789a::1",
    "fe80::1",
    "fe80::1%lo",
    "fec0::1",
    "ff02::1",
]
INTERNAL = [
    ipaddress.ip_network(text)
    for text in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/4",
        "240.0.0.0/4",
        "::/96",
        "::ffff:0:0/96",
        "64:ff9b::/96",
        "2001::/32",
        "2002::/16",
        "fc00::/7",
        "fe80::/10",
        "fec0::/10",
        "ff00::/8",
    )
]


@pytest.mark.parametrize("address", ROWS)
async def test_X4_a_name_that_leads_to_a_special_address_is_denied(address: str) -> None:
    """The answer is checked before anything is dialled."""
    async with spy(names={"inside.example": [address]}, allow=()) as target:
        value, reason = await fetch(
            target, f"http://inside.example:{target.port}/", hosts=(f"http://inside.example:{target.port}",)
        )

        assert value == Err("not-allowed")
        assert reason is not None
        assert "not public" in reason
        assert (target.connections, target.looked_up) == (0, ["inside.example"])


async def test_X4_one_internal_address_among_public_ones_denies_the_name() -> None:
    """No choosing among the answers: any special one refuses them all."""
    names = {"mixed.example": ["8.8.8.8", "2606:4700:4700::1111", "127.0.0.1"]}
    async with spy(names=names, allow=()) as target:
        value, _ = await fetch(
            target, f"http://mixed.example:{target.port}/", hosts=(f"http://mixed.example:{target.port}",)
        )

        assert value == Err("not-allowed")
        assert target.connections == 0


async def test_X4_the_checked_address_is_the_one_dialled() -> None:
    """A name server that answers differently the second time is not asked a second time."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    async with spy(allow=("127.0.0.1/32",)) as target:

        def resolve(name: str, _: int) -> list[str]:
            target.looked_up.append(name)
            return answers[len(target.looked_up) - 1]

        target.egress._resolve = resolve
        value, reason = await fetch(target, target.url, hosts=(f"http://api.example:{target.port}",))

        assert (reason, target.connections, target.looked_up) == (None, 1, ["api.example"]), value


def test_X4_no_generated_address_inside_a_special_range_may_be_dialled(count: Callable[[int], int]) -> None:
    """Random addresses of every range, and random ones at all; the seed is printed with a failure."""
    seed = random.SystemRandom().getrandbits(32)
    source = random.Random(seed)
    for number in range(count(1_000_000)):
        network = INTERNAL[number % len(INTERNAL)]
        address = network[source.randrange(network.num_addresses)]

        assert not addresses.may_dial(str(address)), f"{address} (seed {seed})"
