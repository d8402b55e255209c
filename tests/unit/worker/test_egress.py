"""The rules of http.fetch that need no network: addresses, URLs, headers."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.supervisor import addresses, egress_rules
from worker.supervisor.addresses import may_dial, parse_networks
from worker.supervisor.egress_rules import Refused

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "2a00:1450::1"]


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_may_be_dialled(address: str) -> None:
    """The table denies what is special and nothing else."""
    assert may_dial(address)


@pytest.mark.parametrize("text", ["", "localhost", "127.1", "0x7f.1", "1.2.3", "1.2.3.4.5", "::1%lo", "１.1.1.1"])
def test_what_is_no_address_may_not(text: str) -> None:
    """A resolver gives addresses; anything else is refused unread."""
    assert not may_dial(text)


def test_an_operator_opens_exactly_the_network_named() -> None:
    """ALGA_WORKER_EGRESS_ALLOW_ADDRESSES opens a network, also inside nothing else."""
    allowed = parse_networks(["127.0.0.1/32"], field="x")

    assert may_dial("127.0.0.1", allowed=allowed)
    assert not may_dial("127.0.0.2", allowed=allowed)
    assert not may_dial("::ffff:127.0.0.1", allowed=allowed)
    assert not may_dial("10.0.0.1", allowed=allowed)


def test_an_opened_nat64_network_still_hides_no_private_address() -> None:
    """An address inside an address must itself be allowed."""
    allowed = parse_networks(["64:ff9b::/96"], field="x")

    assert may_dial("64:ff9b::808:808", allowed=allowed)
    assert not may_dial("64:ff9b::7f00:1", allowed=allowed)


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)))
@settings(max_examples=2_000, deadline=None)
def test_what_the_library_calls_private_is_never_dialled(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    """Our table denies at least what the standard library's does."""
    if may_dial(str(address)):
        assert address.is_global
        assert not address.is_multicast


@pytest.mark.parametrize(
    ("url", "destination"),
    [
        ("https://api.example", ("https", "api.example", 443, "/")),
        ("HTTPS://API.Example:8443/a/../b?x=1#frag", ("https", "api.example", 8443, "/a/../b?x=1")),
        ("http://api.example?x", ("http", "api.example", 80, "/?x")),
        ("https://[2606:4700::1]/x", ("https", "2606:4700::1", 443, "/x")),
    ],
)
def test_a_url_is_taken_apart_in_one_way(url: str, destination: tuple[str, str, int, str]) -> None:
    """Path and query stay as the guest wrote them; what follows # never leaves."""
    found = egress_rules.parse_url(url)

    assert (found.scheme, found.host, found.port, found.target) == destination


@pytest.mark.parametrize(
    ("url", "case"),
    [
        ("", "invalid-url"),
        ("/relative", "invalid-url"),
        ("ftp://api.example", "invalid-url"),
        ("https://", "invalid-url"),
        ("https://user:pass@api.example/", "invalid-url"),
        ("https://api.example@evil.example/", "invalid-url"),
        ("https://api.example\\@evil.example/", "invalid-url"),
        ("https://api.example:99999/", "invalid-url"),
        ("https://api.example:0/", "invalid-url"),
        ("https://api.example/a b", "invalid-url"),
        ("https://api.example/a\r\nx: y", "invalid-url"),
        ("https://api.example/\u00e9", "invalid-url"),
        ("https://2130706433/", "not-allowed"),
        ("https://127.1/", "not-allowed"),
        ("https://\u2460\u2461\u2466.0.0.1/", "not-allowed"),
    ],
)
def test_a_url_that_is_none_is_refused(url: str, case: str) -> None:
    """Each refusal is a case of `http-error`."""
    with pytest.raises(Refused) as refused:
        egress_rules.parse_url(url)
    assert refused.value.case == case


def request(**changes: object) -> dict[str, object]:
    return {"method": "GET", "url": "https://api.example/", "headers": [], "body": None, **changes}


@pytest.mark.parametrize(
    ("headers", "case"),
    [
        ([("host", "evil.example")], "not-allowed"),
        ([("Content-Length", "5")], "not-allowed"),
        ([("transfer-encoding", "chunked")], "not-allowed"),
        ([("Connection", "close")], "not-allowed"),
        ([("proxy-authorization", "x")], "not-allowed"),
        ([("X-Alga-Tenant", "other")], "not-allowed"),
        ([("a b", "x")], "not-allowed"),
        ([("x", "a\r\nb: c")], "not-allowed"),
        ([("x", "\u2603")], "not-allowed"),
        ([("x", "1")] * 101, "not-allowed"),
        ([("x", "1" * 40_000)], "not-allowed"),
    ],
)
def test_headers_that_would_cheat_are_refused(headers: list[tuple[str, str]], case: str) -> None:
    """Routing, framing and our own names are not the guest's to set."""
    given_headers = [{"name": name, "value": value} for name, value in headers]
    with pytest.raises(Refused) as refused:
        egress_rules.check(request(headers=given_headers))
    assert refused.value.case == case


@pytest.mark.parametrize(
    ("changes", "case"),
    [
        ({"method": "TRACE"}, "invalid-url"),
        ({"method": "CONNECT"}, "invalid-url"),
        ({"method": "GET /x HTTP/1.1\r\nx:"}, "invalid-url"),
        ({"body": bytes(2 * 1024 * 1024 + 1)}, "transport"),
        ({"headers": None}, "internal"),
    ],
)
def test_a_request_outside_the_rules_is_refused(changes: dict[str, object], case: str) -> None:
    """Method, size and shape."""
    with pytest.raises(Refused) as refused:
        egress_rules.check(request(**changes))
    assert refused.value.case == case


def test_the_headers_of_an_answer_are_bounded_and_lower_case() -> None:
    """Repeats are kept in order."""
    shown = egress_rules.check_answer_headers([("Set-Cookie", "a"), ("SET-COOKIE", "b")])

    assert shown == [{"name": "set-cookie", "value": "a"}, {"name": "set-cookie", "value": "b"}]
    with pytest.raises(Refused):
        egress_rules.check_answer_headers([("x", "y")] * 101)


def test_networks_of_a_setting_name_the_setting_when_they_are_wrong() -> None:
    """An operator reads which variable is wrong."""
    with pytest.raises(Exception, match="setting ALGA_X") as refused:
        addresses.parse_networks(["127.0.0.1/8"], field="ALGA_X")
    assert "127.0.0.1/8" in str(refused.value)
