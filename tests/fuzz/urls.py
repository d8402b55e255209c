"""Target `urls`: whatever a guest's URL says and whatever its name resolves to, no internal address is ever dialled.

The witness is below every library: an audit hook on `socket.connect`, and listeners on this machine's loopback. The
hook refuses each dial after noting it, so that nothing leaves the machine.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import random
import re
import string
from collections.abc import AsyncIterator
from typing import Any

from schemas import egress as syntax
from schemas.capability import Ok
from schemas.errors import Invalid
from schemas.ids import TenantId
from tests.fuzz import watching
from tests.fuzz.mutation import mutate
from tests.fuzz.report import Report
from worker.supervisor.egress import Allowance, Egress

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
INNER = (
    *("127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.1.1", "172.16.0.1", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
    *("::1", "::", "fe80::1", "fc00::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "ff02::1"),
)
OUTER = ("8.8.8.8", "1.1.1.1", "93.184.216.34", "2606:4700:4700::1111", "2a00:1450:4001:80b::200e")
NAMES = ("api.example", "inside.example", "mixed.example", "localhost", "metadata.internal", "xn--bcher-kva.example")
SPECIAL = (
    *(
        "@",
        ":",
        "/",
        "\\",
        "#",
        "?",
        "%00",
        "%2f",
        "%40",
        "%2e",
        ".",
        "。",
        "．",
        "\t",
        "\n",
        " ",
        "[",
        "]",
        "%",
        "0x",
        "::",
    ),
    *(
        "\u2100",
        "\u200b",
        "ⓛ",
        "１",
        "user:pw@",
        "http://",
        "//",
        ";",
        "&",
        "=",
        "127.1",
        ":80",
        ":0",
        ":65536",
        ":+80",
    ),
)
CASES = {"invalid-url", "not-allowed", "transport", "internal"}


class Witness:
    """Every address that was dialled. Refuses all dials but those of the run itself."""

    def __init__(self) -> None:
        self.dialled: list[str] = []
        self.connections = 0

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "socket.connect" and isinstance(arguments[1], tuple):
            self.dialled.append(str(arguments[1][0]))
            raise ConnectionRefusedError("the run dials nobody")

    async def serve(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


class Names:
    """The one name server: what it answers is the input's choice, each time anew."""

    def __init__(self) -> None:
        self.answers: list[str] = []
        self.given: list[str] = []

    def resolve(self, _name: str, _port: int) -> list[str]:
        self.given = list(self.answers)
        if not self.given:
            raise OSError("no such name")
        return self.given


async def run(report: Report) -> None:
    """No dial to an internal address; none to any that neither the URL nor the resolver gave."""
    witness, names = Witness(), Names()
    async with _listeners(witness) as port, _egress(names) as egress:
        with watching.heard_by(witness.hear):
            for rng in report.inputs_of():
                url, hosts = _url(rng, port)
                names.answers, names.given = _answers(rng), []
                shown = f"{url!r} {hosts} {names.answers}".encode("utf-8", "backslashreplace")
                with report.catching(shown):
                    await _try(report, egress, names, witness, url=url, hosts=hosts, shown=shown)
    if report.plan.count >= 1000 and not report.accepted["dialled a public address"]:
        report.fail("nothing was dialled at all: the run proves nothing", b"")


async def _try(
    report: Report, egress: Egress, names: Names, witness: Witness, *, url: str, hosts: tuple[str, ...], shown: bytes
) -> None:
    witness.dialled.clear()
    asked: dict[str, Any] = {"method": "GET", "url": url, "headers": [], "body": None}
    value, reason = await egress.fetch(
        asked, tenant=TenantId("t"), hosts_allowed=hosts, allowance=Allowance(), left=5.0
    )
    if isinstance(value, Ok) or value.value not in CASES or reason is None:
        report.fail(f"answered {value!r} for {reason!r}", shown)
        return
    if witness.dialled:
        report.accepted["dialled a public address"] += 1
    else:
        report.refused[str(value.value)] += 1
    for text in witness.dialled:
        if is_internal(text):
            report.fail(f"dialled {text}", shown)
        if text not in names.given and ipaddress.ip_address(text) not in _literals(url):
            report.fail(f"dialled {text}, which is neither in the URL nor an answer of the resolver", shown)
    if witness.connections:
        report.fail("something reached a listener on loopback", shown)


def is_internal(text: str) -> bool:
    """By the standard library's own tables, not ours; an IPv6 address is what it embeds, too."""
    address = ipaddress.ip_address(text)
    return any(
        not one.is_global or one.is_multicast or one.is_reserved or one.is_link_local or one.is_loopback
        for one in (address, *_embedded(address))
    )


def _embedded(address: Address) -> list[Address]:
    if isinstance(address, ipaddress.IPv4Address):
        return []
    found: list[Address] = [one for one in (address.ipv4_mapped, address.sixtofour) if one is not None]
    if address.teredo:
        found += address.teredo
    if address in ipaddress.ip_network("64:ff9b::/96"):
        found.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return found


def _literals(url: str) -> list[Address]:
    """Addresses written in the URL in their plain form."""
    found: list[Address] = []
    for word in re.split(r"[/?#\[\]]", url):
        for text in (word, word.rpartition(":")[0]):
            with contextlib.suppress(ValueError):
                found.append(ipaddress.ip_address(text.removesuffix(".")))
    return found


@contextlib.asynccontextmanager
async def _listeners(witness: Witness) -> AsyncIterator[int]:
    server = await asyncio.start_server(witness.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    also = await asyncio.start_server(witness.serve, "::1", port)
    async with server, also:
        yield port


@contextlib.asynccontextmanager
async def _egress(names: Names) -> AsyncIterator[Egress]:
    async with contextlib.aclosing(Egress(resolve=names.resolve)) as egress:
        yield egress


def _url(rng: random.Random, port: int) -> tuple[str, tuple[str, ...]]:
    """A URL, and a list that opens as much as a list can."""
    host = _host(rng)
    scheme = rng.choice(("http",) * 8 + ("https",) * 3 + ("HTTP", "ftp", "file", "javascript", ""))
    where = rng.choice(("", f":{port}", f":{port}", f":{port}", ":80", ":443", ":0", ":99999"))
    url = f"{scheme}://{host}{where}{rng.choice(('/', '', '/a?b=c', '/../x', '?q', '#f'))}"
    if rng.random() < 0.3:
        at = rng.randrange(len(url) + 1)
        url = url[:at] + rng.choice(SPECIAL) + url[at:]
    if rng.random() < 0.1:
        url = mutate(rng, url.encode(), most=3).decode("utf-8", "replace")
    bare = host.lower().rstrip(".")
    open_hosts = [bare, "*.example", "api.example", *NAMES, *INNER_ENTRIES]
    entries = [f"{plain}{one}{colon}" for one in open_hosts for plain, colon in _ways(port)]
    return url, tuple(entry for entry in dict.fromkeys(entries) if _is_entry(entry))[:50]


def _ways(port: int) -> tuple[tuple[str, str], ...]:
    return (("http://", f":{port}"), ("http://", ""), ("", ""), ("", f":{port}"))


def _is_entry(entry: str) -> bool:
    try:
        syntax.parse_entry(entry)
    except Invalid:
        return False
    return True


def _host(rng: random.Random) -> str:
    match rng.randrange(6):
        case 0:
            return rng.choice(NAMES)
        case 1:
            return _spelled(rng, ipaddress.ip_address(rng.choice(INNER)))
        case 2:
            return _spelled(rng, ipaddress.ip_address(rng.choice(OUTER)))
        case 3:
            return _spelled(rng, ipaddress.IPv4Address(rng.getrandbits(32)))
        case 4:
            return _spelled(rng, ipaddress.IPv6Address(rng.getrandbits(128)))
        case _:
            return "".join(rng.choices(string.ascii_lowercase + ".-_", k=rng.randrange(1, 12))) + ".example"


def _spelled(rng: random.Random, address: Address) -> str:
    """One of the many ways to write an address that some reader takes for it."""
    number = int(address)
    if isinstance(address, ipaddress.IPv6Address):
        return rng.choice(
            (f"[{address}]", f"[{address.exploded}]", f"[{address}%25lo]", str(address), f"[{address}].".upper())
        )
    parts = str(address).split(".")
    short = f"{parts[0]}.{number & 0xFFFFFF}"
    octal, hexadecimal = ".".join(f"0{int(part):o}" for part in parts), ".".join(hex(int(part)) for part in parts)
    mapped = f"[::ffff:{address}]"
    return rng.choice(
        (str(address), f"{address}.", str(number), hex(number), short, octal, hexadecimal, mapped, f"0{number:o}")
    )


def _answers(rng: random.Random) -> list[str]:
    match rng.randrange(6):
        case 0:
            return []
        case 1:
            return [rng.choice(INNER)]
        case 2:
            return [rng.choice(OUTER)]
        case 3:
            return rng.sample([*rng.sample(OUTER, 2), rng.choice(INNER)], 3)
        case 4:
            return [str(ipaddress.IPv6Address(rng.getrandbits(128)))]
        case _:
            return [str(ipaddress.IPv4Address(rng.getrandbits(32)))]


INNER_ENTRIES = tuple(f"[{text}]" if ":" in text else text for text in INNER)
