"""Egress hosts: what an entry may be, what it opens, and what would widen a list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import egress
from schemas.errors import Invalid

CANONICAL = {
    "api.acme.example": "api.acme.example",
    "API.Acme.Example.": "api.acme.example",
    "api.acme.example:443": "api.acme.example",
    "api.acme.example:8443": "api.acme.example:8443",
    "*.files.acme.example:8443": "*.files.acme.example:8443",
    "http://plain.example": "http://plain.example",
    "http://plain.example:80": "http://plain.example",
    "http://*.plain.example:443": "http://*.plain.example:443",
    "localhost": "localhost",
    "under_score.example": "under_score.example",
    "xn--bcher-kva.example": "xn--bcher-kva.example",
    "203.0.113.5:8080": "203.0.113.5:8080",
    "[2001:DB8:0::1]:8443": "[2001:db8::1]:8443",
    "[::1]": "[::1]",
}
MALFORMED = [
    "",
    "*",
    "*.",
    "**.acme.example",
    "a.*.example",
    "*acme.example",
    ".acme.example",
    "acme..example",
    "-acme.example",
    "https://acme.example",
    "ftp://acme.example",
    "http://http://acme.example",
    "//acme.example",
    "acme.example/path",
    "acme.example?x",
    "user@acme.example",
    "acme.example:",
    "acme.example:0",
    "acme.example:65536",
    "acme.example:08",
    "acme.example:٨",
    "acme.example:443:443",
    "acme example",
    "acme.example\n",
    "bücher.example",
    "①②⑦.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "1.2.3.4.5",
    "256.1.1.1",
    "*.127.0.0.1",
    "*.[::1]",
    "[::1",
    "::1%eth0",
    "[fe80::1%1]",
    "a" * 64 + ".example",
    ".".join(["a" * 60] * 5),
    "a." * 200 + "example",
]
DESTINATIONS = [
    ("api.acme.example", "https", "api.acme.example", 443, True),
    ("api.acme.example", "https", "api.acme.example", 8443, False),
    ("api.acme.example", "http", "api.acme.example", 80, False),
    ("api.acme.example", "http", "api.acme.example", 443, False),
    ("api.acme.example", "https", "x.api.acme.example", 443, False),
    ("api.acme.example", "https", "acme.example", 443, False),
    ("api.acme.example", "https", "evilapi.acme.example", 443, False),
    ("api.acme.example", "https", "api.acme.example.evil.example", 443, False),
    ("*.acme.example", "https", "a.acme.example", 443, True),
    ("*.acme.example", "https", "a.b.c.acme.example", 443, True),
    ("*.acme.example", "https", "acme.example", 443, False),
    ("*.acme.example", "https", "evilacme.example", 443, False),
    ("*.acme.example:8443", "https", "a.acme.example", 8443, True),
    ("*.acme.example:8443", "https", "a.acme.example", 443, False),
    ("http://plain.example", "http", "plain.example", 80, True),
    ("http://plain.example", "https", "plain.example", 443, False),
    ("http://plain.example:443", "https", "plain.example", 443, False),
    ("http://plain.example:8080", "http", "plain.example", 8080, True),
]
COVERS = [
    ("a.example", "a.example", True),
    ("a.example", "b.example", False),
    ("a.example", "a.example:8443", False),
    ("a.example", "http://a.example", False),
    ("*.example", "a.example", True),
    ("*.example", "*.a.example", True),
    ("*.example", "*.example", True),
    ("*.a.example", "*.example", False),
    ("*.a.example", "a.example", False),
    ("a.example", "*.a.example", False),
    ("*.a.example", "*.ba.example", False),
]


@pytest.mark.parametrize("entry", CANONICAL)
def test_an_entry_has_one_canonical_spelling(entry: str) -> None:
    """Lists are compared, stored and shown in it; parsing it again changes nothing."""
    text = egress.parse_entry(entry).text
    assert text == CANONICAL[entry]
    assert egress.parse_entry(text) == egress.parse_entry(entry)


@pytest.mark.parametrize("entry", MALFORMED)
def test_a_malformed_entry_is_refused_with_its_field(entry: str) -> None:
    """Also everything a resolver would take for a number."""
    with pytest.raises(Invalid, match="egress"):
        egress.parse_entry(entry)


@pytest.mark.parametrize(("entry", "scheme", "host", "port", "allowed"), DESTINATIONS)
def test_an_entry_opens_exactly_its_scheme_host_and_port(
    entry: str, scheme: str, host: str, port: int, *, allowed: bool
) -> None:
    """Labels match whole; a wildcard is any depth below and never the apex."""
    assert egress.allows([egress.parse_entry(entry)], scheme=scheme, host=host, port=port) is allowed


def test_an_empty_list_opens_nothing() -> None:
    """Deny is the default."""
    assert not egress.allows([], scheme="https", host="api.acme.example", port=443)


@pytest.mark.parametrize(("rule", "other", "covered"), COVERS)
def test_covering_decides_what_needs_consent(rule: str, other: str, *, covered: bool) -> None:
    """What is open already widens nothing."""
    have, want = egress.parse_entry(rule), egress.parse_entry(other)
    assert egress.covers(have, want) is covered
    assert egress.widening([have], [want]) == (() if covered else (want,))


def test_a_list_is_bounded_and_merges_repeats() -> None:
    """Fifty different entries, in their order."""
    many = [f"h{number}.example" for number in range(50)]
    assert [rule.text for rule in egress.parse_entries([*many, "H0.EXAMPLE"])] == many
    with pytest.raises(Invalid, match="51 entries, over the limit of 50"):
        egress.parse_entries([*many, "one-more.example"])
    with pytest.raises(Invalid, match=r"egress\[1\]"):
        egress.parse_entries(["a.example", "b c"])


def test_the_operators_ceiling_means_a_domain_and_all_below_it() -> None:
    """Other than in an install's list, the apex is in; no ceiling is not an empty one."""
    ceiling = egress.parse_ceiling(["Acme.example."])
    assert egress.within_ceiling(ceiling, "acme.example")
    assert egress.within_ceiling(ceiling, "a.b.acme.example")
    assert not egress.within_ceiling(ceiling, "evilacme.example")
    assert egress.within_ceiling(None, "anything.example")
    assert not egress.within_ceiling((), "anything.example")
    with pytest.raises(Invalid):
        egress.parse_ceiling(["*.acme.example"])


_LABEL = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
_HOST = st.lists(_LABEL, min_size=1, max_size=5).map(".".join)


@given(host=_HOST, below=st.lists(_LABEL, max_size=3), port=st.integers(1, 65_535), plain=st.booleans())
def test_a_wildcard_opens_everything_below_and_an_exact_entry_only_itself(
    host: str, below: list[str], port: int, *, plain: bool
) -> None:
    """For any host and any labels put before it."""
    scheme = "http" if plain else "https"
    start = "http://" if plain else ""
    deeper = ".".join([*below, host])
    exact, wildcard = egress.parse_entry(f"{start}{host}:{port}"), egress.parse_entry(f"{start}*.{host}:{port}")
    assert egress.allows([exact], scheme=scheme, host=deeper, port=port) is (not below)
    assert egress.allows([wildcard], scheme=scheme, host=deeper, port=port) is bool(below)


@given(st.text(max_size=60))
def test_whatever_is_accepted_is_a_host_that_no_resolver_reads_as_something_else(text: str) -> None:
    """A normal host is its own normal form, in plain ASCII, without anything a URL parser would split at."""
    host = egress.normal_host(text)
    if host is not None:
        assert egress.normal_host(host) == host
        assert host.isascii()
        assert not set(host) & set("/?#@\\%[] \t\r\n*")


@given(have=st.lists(_HOST, max_size=4), want=st.lists(_HOST, max_size=4), below=st.booleans())
def test_what_does_not_widen_opens_nothing_new(have: list[str], want: list[str], *, below: bool) -> None:
    """Consent is asked for every destination that was closed before."""
    approved = [egress.parse_entry(f"*.{host}" if below else host) for host in have]
    requested = [egress.parse_entry(host) for host in want]
    widening = egress.widening(approved, requested)
    for rule in requested:
        is_open = egress.allows(approved, scheme="https", host=rule.host, port=443)
        assert is_open is (rule not in widening)
