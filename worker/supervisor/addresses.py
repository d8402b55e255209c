"""Which IP addresses a guest's request may be sent to: one function, one table. Pure.

Owns the deny table. The standard library's `is_global` is not asked: it lets embedded IPv4, multicast and other
ranges through (hazards F47). IPv6 is an allowlist: what is not global unicast is refused without a row of its own.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from schemas.errors import Invalid

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_DENIED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT, and a cloud's metadata at 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # a cloud's wire server
        "169.254.0.0/16",  # link-local, and metadata
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments
        "192.0.2.0/24",  # documentation
        "192.31.196.0/24",  # AS112
        "192.52.193.0/24",  # AMT
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "192.175.48.0/24",  # AS112
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
    )
)
_GLOBAL_V6 = ipaddress.IPv6Network("2000::/3")
_DENIED_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which embeds IPv4
        "2620:4f:8000::/48",  # AS112
        "3fff::/20",  # documentation
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")


def parse_networks(entries: Iterable[str], *, field: str) -> tuple[Network, ...]:
    """Networks as an operator writes them. Raises Invalid naming the setting."""
    networks = []
    for entry in entries:
        try:
            networks.append(ipaddress.ip_network(entry))
        except ValueError as error:
            raise Invalid(f"setting {field}: {entry[:60]!r} is not a network such as 10.1.0.0/16") from error
    return tuple(networks)


def may_dial(text: str, *, allowed: tuple[Network, ...] = ()) -> bool:
    """Whether a connection to this address may be opened. What is not an address may not.

    `allowed`: networks that the operator opened. An IPv4 address inside an IPv6 one must itself be allowed too.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    embedded = _embedded(address)
    if embedded is not None and not may_dial(str(embedded), allowed=allowed):
        return False
    if any(address.version == network.version and address in network for network in allowed):
        return True
    return not _is_special(address)


def _is_special(address: Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return any(address in network for network in _DENIED_V4)
    if address.scope_id is not None or address not in _GLOBAL_V6:
        return True
    return any(address in network for network in _DENIED_V6)


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address inside an IPv6 one: mapped, 6to4, Teredo, NAT64 or compatible."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    teredo = address.teredo
    found = address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
    if found is None and (address in _NAT64 or address in _COMPATIBLE):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return found
