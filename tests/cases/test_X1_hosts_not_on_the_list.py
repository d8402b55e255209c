"""X1: a host that is not on the install's list; an empty list; a list edited between grant and call."""

from __future__ import annotations

import pytest

from schemas.capability import Err, Ok
from tests.egress_spy import Spy, fetch, spy

pytestmark = pytest.mark.case("X1")


async def test_X1_an_empty_list_means_nothing_is_reachable() -> None:
    """Deny by default: no connection is tried and no name is looked up."""
    async with spy() as target:
        value, reason = await fetch(target, target.url, hosts=())

        assert value == Err("not-allowed")
        assert reason is not None
        assert "not on the egress list" in reason
        assert (target.connections, target.looked_up) == (0, [])


@pytest.mark.parametrize(
    "entry",
    [
        "http://other.example:{port}",
        "http://api.example",
        "api.example:{port}",
        "http://*.api.example:{port}",
        "http://pi.example:{port}",
        "http://api.example.evil.example:{port}",
    ],
)
async def test_X1_another_host_port_or_scheme_is_not_the_one_on_the_list(entry: str) -> None:
    """An entry opens exactly one scheme and one port of its host."""
    async with spy() as target:
        value, _ = await fetch(target, target.url, hosts=(entry.format(port=target.port),))

        assert value == Err("not-allowed")
        assert (target.connections, target.looked_up) == (0, [])


@pytest.mark.parametrize("entry", ["http://api.example:{port}", "http://*.example:{port}"])
async def test_X1_a_host_on_the_list_is_reached(entry: str) -> None:
    """The list opens what it names, any depth below a star."""
    async with spy() as target:
        value, reason = await fetch(target, f"{target.url}path?q=1", hosts=(entry.format(port=target.port),))

        assert reason is None
        assert isinstance(value, Ok)
        assert value.value["status"] == 200
        assert target.requests == ["GET /path?q=1"]


async def test_X1_a_list_that_was_narrowed_counts_from_the_next_call() -> None:
    """A connection that is still open from before opens nothing."""
    async with spy() as target:
        entry = f"http://api.example:{target.port}"
        assert isinstance((await fetch(target, target.url, hosts=(entry,)))[0], Ok)
        value, _ = await fetch(target, target.url, hosts=(f"http://other.example:{target.port}",))

        assert value == Err("not-allowed")
        assert len(target.requests) == 1


async def test_X1_the_operators_ceiling_narrows_every_list() -> None:
    """What the platform does not let extensions reach, no install's list opens."""
    async with spy(ceiling=("other.example",)) as target:
        value, _ = await fetch(target, target.url, hosts=(f"http://api.example:{target.port}",))

        assert value == Err("not-allowed")
        assert isinstance(target, Spy)
        assert target.connections == 0
