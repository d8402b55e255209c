"""Egress hosts: the syntax of an entry, whether an entry covers a destination, and what widens a list.

Owns names and ports only. Which addresses may be dialled is `worker/supervisor/egress.py`'s, after resolution.
An entry is `host`, `*.host` (any depth below, not host itself), with `:port`, and with `http://` for plain HTTP; it
opens exactly one scheme and one port: https on 443 unless it says otherwise. An empty list opens nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

import msgspec

from schemas.errors import Invalid

MAX_ENTRIES = 50
MAX_ENTRY_CHARACTERS = 300
MAX_HOST_CHARACTERS = 253
DEFAULT_PORTS = {"https": 443, "http": 80}
_PLAIN = "http://"
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)
_NUMBERLIKE = re.compile(r"(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)


class EgressRule(msgspec.Struct, frozen=True):
    """One parsed entry. `host` is normal (`normal_host`) and without `*.`; `below` says that there was one."""

    host: str
    below: bool
    port: int
    plain: bool

    @property
    def scheme(self) -> str:
        return "http" if self.plain else "https"

    @property
    def text(self) -> str:
        """The one spelling of this rule: `parse_entry` of it gives the rule again."""
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return f"{_PLAIN if self.plain else ''}{'*.' if self.below else ''}{_bracketed(self.host)}{port}"

    def matches_host(self, host: str) -> bool:
        return host.endswith(f".{self.host}") if self.below else host == self.host


def normal_host(text: str) -> str | None:
    """A host in its one form, or None where it is none: lower-case labels without a final dot, or an IP address.

    Only ASCII counts (an IDN in its `xn--` form). What a resolver would take for a number, `127.1`, `0x7f.1` or
    `2130706433`, is not a host here; an IPv6 address may stand in brackets.
    """
    if not text.isascii():
        return None
    host = text.lower().removesuffix(".")
    if ":" in host or "[" in host:
        return _ipv6(host)
    labels = host.split(".")
    if len(host) > MAX_HOST_CHARACTERS or not all(_LABEL.fullmatch(label) for label in labels):
        return None
    if _NUMBERLIKE.fullmatch(labels[-1]):
        return _ipv4(host)
    return host


def parse_entry(text: str, *, field: str = "egress") -> EgressRule:
    """One entry as people write it. Raises Invalid, naming `field` and what is wrong."""
    if len(text) > MAX_ENTRY_CHARACTERS:
        raise Invalid(f"{field} is {len(text)} characters, over the limit of {MAX_ENTRY_CHARACTERS}")
    plain = text.startswith(_PLAIN)
    rest = text.removeprefix(_PLAIN)
    if "://" in rest:
        raise Invalid(
            f"{field} {text[:80]!r}: write the host alone, https is understood; only http:// may stand before it"
        )
    below = rest.startswith("*.")
    name, port = _split_port(rest.removeprefix("*."), field=field, default=DEFAULT_PORTS["http" if plain else "https"])
    host = normal_host(name)
    if host is None or (below and is_address(host)):
        raise Invalid(f"{field} {text[:80]!r} is not host, *.host, host:port or http://host")
    return EgressRule(host, below, port, plain)


def parse_entries(entries: Iterable[str], *, field: str = "egress") -> tuple[EgressRule, ...]:
    """Entries in their order, repeats merged. Raises Invalid at the first bad one, and over 50."""
    rules = tuple(dict.fromkeys(parse_entry(entry, field=f"{field}[{index}]") for index, entry in enumerate(entries)))
    if len(rules) > MAX_ENTRIES:
        raise Invalid(f"{field} has {len(rules)} entries, over the limit of {MAX_ENTRIES}")
    return rules


def allows(rules: Iterable[EgressRule], *, scheme: str, host: str, port: int) -> bool:
    """Whether a rule opens this destination. `host` must come from `normal_host`; `scheme` is `http` or `https`."""
    return any(rule.port == port and rule.scheme == scheme and rule.matches_host(host) for rule in rules)


def covers(rule: EgressRule, other: EgressRule) -> bool:
    """Whether everything that `other` opens is open by `rule` already."""
    if (rule.port, rule.plain) != (other.port, other.plain):
        return False
    if other.below:
        return rule.below and (other.host == rule.host or other.host.endswith(f".{rule.host}"))
    return rule.matches_host(other.host)


def widening(approved: Iterable[EgressRule], requested: Iterable[EgressRule]) -> tuple[EgressRule, ...]:
    """Those of `requested` that no approved rule covers: what needs consent."""
    have = tuple(approved)
    return tuple(rule for rule in requested if not any(covers(rule_, rule) for rule_ in have))


def parse_ceiling(entries: Iterable[str], *, field: str = "egress ceiling") -> tuple[str, ...]:
    """The operator's ceiling: plain domains, each of which stands for itself and all below it."""
    domains = []
    for entry in entries:
        domain = normal_host(entry)
        if domain is None:
            raise Invalid(f"{field}: {entry[:80]!r} is not a host name")
        domains.append(domain)
    return tuple(dict.fromkeys(domains))


def within_ceiling(ceiling: tuple[str, ...] | None, host: str) -> bool:
    """Whether the operator lets any extension reach `host` (normal). None: there is no ceiling; empty: nothing."""
    return ceiling is None or any(host == domain or host.endswith(f".{domain}") for domain in ceiling)


def is_address(host: str) -> bool:
    """Whether a normal host is an IP address and not a name."""
    return ":" in host or _NUMBERLIKE.fullmatch(host.rpartition(".")[2]) is not None


def _split_port(text: str, *, field: str, default: int) -> tuple[str, int]:
    head, separator, tail = text.rpartition(":")
    if not separator or tail.endswith("]"):
        return text, default
    if not _PORT.fullmatch(tail) or int(tail) > 65_535:
        raise Invalid(f"{field} {text[:80]!r}: the port must be 1 to 65535, not {tail[:20]!r}")
    return head, int(tail)


def _ipv4(text: str) -> str | None:
    try:
        return str(ipaddress.IPv4Address(text))
    except ValueError:
        return None


def _ipv6(text: str) -> str | None:
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if "%" in bare:
        return None
    try:
        return str(ipaddress.IPv6Address(bare))
    except ValueError:
        return None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
