"""Which credential a request has: one, readable, or none."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from gateway import authentication
from schemas.errors import Unauthenticated

SESSION = "alga_session"


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


@pytest.mark.parametrize(
    ("pair", "kind", "text"),
    [
        (("X-Api-Key", "alga_1"), "key", "alga_1"),
        (("authorization", "bearer  a.b.c "), "bearer", "a.b.c"),
        (("cookie", f"x=1; {SESSION}=a.b.c; y=2"), "session", "a.b.c"),
    ],
)
def test_one_credential_is_found_wherever_it_stands(pair: tuple[str, str], kind: str, text: str) -> None:
    """A key, a bearer token, a session cookie among others."""
    found = authentication.credential_of(headers(pair))
    assert (found.kind, found.text) == (kind, text)


@pytest.mark.parametrize(
    "given",
    [
        [],
        [("x-api-key", "")],
        [("x-api-key", "a"), ("x-api-key", "b")],
        [("x-api-key", "a"), ("authorization", "Bearer b")],
        [("authorization", "Basic b")],
        [("cookie", f"{SESSION}=a; {SESSION}=b")],
        [("x-api-key", "alga_\udcff")],
        [("authorization", "Bearer \udcff")],
        [("cookie", f"{SESSION}=\udcff")],
        [("x-api-key", "schlüssel")],
    ],
)
def test_no_credential_several_or_unreadable_bytes_are_unauthenticated(given: list[tuple[str, str]]) -> None:
    """Header bytes that are no text come as lone surrogates, and are refused before anything hashes them."""
    with pytest.raises(Unauthenticated):
        authentication.credential_of(headers(*given))
