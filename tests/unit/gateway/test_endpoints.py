"""Paths and endpoints: one normal form, literals before parameters; what is authorised is what is delivered."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import endpoints
from gateway.endpoints import EndpointTable
from schemas.errors import ErrorCode, Invalid, NotFound
from schemas.install import Endpoint


def endpoint(method: str, path: str) -> Endpoint:
    return Endpoint(method=method, path=path, handler="dist/main")


TABLE = EndpointTable(
    [
        endpoint("GET", "/"),
        endpoint("GET", "/reports/:id"),
        endpoint("GET", "/reports/latest"),
        endpoint("POST", "/reports"),
        endpoint("GET", "/a/:x/c"),
        endpoint("GET", "/a/b/:y"),
        endpoint("GET", "/:first/b/d"),
        endpoint("GET", "/caf%C3%A9"),
        endpoint("GET", "/bad/%zz"),
        endpoint("HEAD", "/only-head"),
        endpoint("OPTIONS", "/only-options"),
    ]
)


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("/", "/"),
        ("", "/"),
        ("//", "/"),
        ("/a/b", "/a/b"),
        ("/a/b/", "/a/b"),
        ("//a///b", "/a/b"),
        ("/%61", "/a"),
        ("/a%2fb", "/a%2Fb"),
        ("/a%2Fb", "/a%2Fb"),
        ("/a;b=c", "/a;b=c"),
        ("/a%3Bb", "/a;b"),
        ("/%252e%252e", "/%252e%252e"),
        ("/café", "/caf%C3%A9"),
        ("/caf%c3%a9", "/caf%C3%A9"),
        ("/%EF%BC%8E%EF%BC%8E", "/%EF%BC%8E%EF%BC%8E"),
        ("/．．", "/%EF%BC%8E%EF%BC%8E"),
        ("/%ff", "/%FF"),
        ("/a\\b", "/a%5Cb"),
        ("/...", "/..."),
        ("/.hidden", "/.hidden"),
        ("/a b", "/a%20b"),
        ("/:id", "/:id"),
    ],
)
def test_a_path_has_one_normal_form(raw: str, canonical: str) -> None:
    """Every spelling of a path becomes the same text, and that text stays as it is."""
    assert endpoints.canonical_path(raw) == canonical
    assert endpoints.canonical_path(canonical) == canonical


@pytest.mark.parametrize(
    "raw",
    [
        "/.",
        "/..",
        "/a/../b",
        "/a/./b",
        "/%2e%2e",
        "/%2E",
        "/a/%2e./b",
        "/.%2e/x",
        "/a%00",
        "/a%0d%0ab",
        "/%7f",
        "/a%",
        "/a%2",
        "/%zz",
    ],
)
def test_a_path_that_decodes_to_dots_or_controls_is_invalid(raw: str) -> None:
    """Decoded `.` or `..`, control characters and broken escapes are refused, not guessed at."""
    with pytest.raises(Invalid):
        endpoints.canonical_path(raw)


def test_a_path_of_ten_thousand_segments_is_invalid() -> None:
    """A path is bounded in segments, in the quick way and in the long one."""
    with pytest.raises(Invalid, match="10000 segments"):
        endpoints.canonical_path("/a" * 10_000)
    with pytest.raises(Invalid, match="10000 segments"):
        endpoints.canonical_path("/%61" * 10_000)


@given(st.text(alphabet="/.%2eE0aA;:~\\ é", max_size=40))
def test_what_is_canonical_stays_canonical_and_keeps_no_dots(raw: str) -> None:
    """The normal form is a fixed point, without empty segments, dots or trailing slash."""
    try:
        path = endpoints.canonical_path("/" + raw)
    except Invalid:
        return
    assert endpoints.canonical_path(path) == path
    assert "//" not in path
    assert path == "/" or not path.endswith("/")
    assert not {".", ".."} & set(path.split("/"))


@pytest.mark.parametrize(
    ("method", "path", "template"),
    [
        ("GET", "/", "/"),
        ("GET", "/reports/7", "/reports/:id"),
        ("HEAD", "/reports/7", "/reports/:id"),
        ("GET", "/reports/latest", "/reports/latest"),
        ("POST", "/reports", "/reports"),
        ("GET", "/a/b/c", "/a/b/:y"),
        ("GET", "/a/z/c", "/a/:x/c"),
        ("GET", "/a/b/d", "/a/b/:y"),
        ("GET", "/z/b/d", "/:first/b/d"),
        ("GET", "/reports/a%2Fb", "/reports/:id"),
        ("GET", "/reports/:id", "/reports/:id"),
        ("GET", "/caf%C3%A9", "/caf%C3%A9"),
    ],
)
def test_the_most_literal_endpoint_is_found(method: str, path: str, template: str) -> None:
    """Literals beat parameters from the left; HEAD is GET; an encoded slash is part of its segment."""
    match = TABLE.get(method, endpoints.canonical_path(path))
    assert match.endpoint.path == template
    assert match.path == path


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/"),
        ("GET", "/Reports/7"),
        ("GET", "/reports"),
        ("GET", "/reports/7/8"),
        ("DELETE", "/reports/7"),
        ("GET", "/reports%2Flatest"),
        ("HEAD", "/only-head"),
        ("OPTIONS", "/only-options"),
        ("BREW", "/"),
        ("GET", "/bad/%25zz"),
    ],
)
def test_what_is_not_declared_is_not_found(method: str, path: str) -> None:
    """No match is endpoint_not_found; HEAD and OPTIONS entries of a manifest match nothing."""
    with pytest.raises(NotFound) as caught:
        TABLE.get(method, endpoints.canonical_path(path))
    assert caught.value.code is ErrorCode.ENDPOINT_NOT_FOUND


def test_a_query_keeps_its_order_repeats_and_spelling() -> None:
    """The raw query reaches the guest as it came."""
    assert endpoints.canonical_query("b=2&a=1&a=%31&flag=false&x=a+b") == "b=2&a=1&a=%31&flag=false&x=a+b"


def test_a_query_is_bounded_and_has_no_control_characters() -> None:
    """8 KiB of query, no more; bytes beyond ASCII are escaped, controls refused."""
    with pytest.raises(Invalid, match="8192"):
        endpoints.canonical_query("a" * 8193)
    with pytest.raises(Invalid, match="control"):
        endpoints.canonical_query("a=\x01")
    assert endpoints.canonical_query("q=é") == "q=%C3%A9"
