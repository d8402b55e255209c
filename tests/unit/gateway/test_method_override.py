"""`__method` of the ext-proxy alias: which method a bridged POST stands for."""

from __future__ import annotations

import pytest

from gateway import method_override
from gateway.method_override import Bridged
from schemas.errors import Invalid


@pytest.mark.parametrize(
    ("query", "body", "expected"),
    [
        ("", None, Bridged("POST", "", None, False)),
        ("", b"", Bridged("POST", "", None, False)),
        ("a=1", b"raw", Bridged("POST", "a=1", b"raw", False)),
        ("__method=PUT", b'{"a":1}', Bridged("PUT", "", b'{"a":1}', True)),
        ("a=1&__method=put&b=2", None, Bridged("PUT", "a=1&b=2", None, True)),
        ("%5F%5Fmethod=DELETE", None, Bridged("DELETE", "", None, True)),
        ("__method=GET", b'{"a":1}', Bridged("GET", "", None, True)),
        ("", b'{"__method":"PATCH","a":[1,2.5,"x"]}', Bridged("PATCH", "", b'{"a":[1,2.5,"x"]}', True)),
        ("", b'{"__method":"delete"}', Bridged("DELETE", "", None, True)),
        ("__method=PUT", b'{"__method":"DELETE","a":1}', Bridged("PUT", "", b'{"a":1}', True)),
        ("", b'{"a":{"__method":"DELETE"}}', Bridged("POST", "", b'{"a":{"__method":"DELETE"}}', False)),
        ("", b'["__method"]', Bridged("POST", "", b'["__method"]', False)),
        ("", b'"__method" not json', Bridged("POST", "", b'"__method" not json', False)),
        ("method=PUT", None, Bridged("POST", "method=PUT", None, False)),
        ("", '{"__method":"PUT","name":"Zoë"}'.encode(), Bridged("PUT", "", '{"name":"Zoë"}'.encode(), True)),
        (
            "",
            b'{"__method":"PUT","big":123456789012345678901234567890}',
            Bridged("PUT", "", b'{"big":123456789012345678901234567890}', True),
        ),
    ],
)
def test_a_bridged_post_stands_for_the_stated_method(query: str, body: bytes | None, expected: Bridged) -> None:
    """The query wins over the body, the key is taken out of both, and a GET carries no body."""
    assert method_override.apply(query, body) == expected


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("__method=TRACE", None),
        ("__method=", None),
        ("__method=HEAD", None),
        ("__method=OPTIONS", None),
        ("__method=PUT&__method=DELETE", None),
        ("", b'{"__method":7}'),
        ("", b'{"__method":null}'),
        ("", b'{"__method":"PUT","a":NaN}'),
        ("", b'{"__method":"PUT","a":1e999}'),
    ],
)
def test_an_unknown_or_contradictory_method_is_invalid(query: str, body: bytes | None) -> None:
    """Nothing is guessed: an unknown method, two that differ, or a body that cannot be written again is refused."""
    with pytest.raises(Invalid):
        method_override.apply(query, body)
