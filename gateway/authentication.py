"""Credentials to an identity: exactly one of an API key, a bearer token, a session cookie. Nothing falls through.

Owns who is asking and for which tenant. An identity verified a moment ago is kept by the hash of its credential, so
the steady state pays one SHA-256. What the identity may do is `gateway/access.py`'s.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import NamedTuple

from multidict import CIMultiDictProxy

from gateway.identity import Identity
from gateway.identity_tokens import IdentityTokens
from registry.keys import KeyRow, Keys
from schemas import headers
from schemas.call import Principal, PrincipalKind
from schemas.errors import Forbidden, Unauthenticated
from service.clock import Clock

KEPT_SECONDS = 10.0
"""A revoked key or a lost permission counts after this long at most."""
MAX_KEPT = 10_000
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class _Credential(NamedTuple):
    kind: str
    text: str


class Authenticator:
    """Identifies callers."""

    def __init__(self, keys: Keys, tokens: IdentityTokens | None, *, origins: frozenset[str], clock: Clock) -> None:
        self._keys, self._tokens, self._origins, self._clock = keys, tokens, origins, clock
        self._kept: OrderedDict[bytes, tuple[Identity, float]] = OrderedDict()

    async def identify(self, method: str, given: CIMultiDictProxy[str]) -> Identity:
        """The identity behind the headers of a request. Raises Unauthenticated, or Forbidden for a foreign origin."""
        credential = credential_of(given)
        if credential.kind == "session" and method not in SAFE_METHODS:
            check_origin(given.get("origin"), self._origins)
        slot = hashlib.sha256(f"{credential.kind}\0{credential.text}".encode()).digest()
        kept = self._kept.get(slot)
        now = self._clock.monotonic()
        if kept is not None and now < kept[1]:
            return kept[0]
        identity, seconds = await self._verify(credential)
        self._keep(slot, identity, now + seconds)
        return identity

    async def _verify(self, credential: _Credential) -> tuple[Identity, float]:
        """The identity and for how many seconds it may be kept."""
        if credential.kind == "key":
            row = await self._keys.find(credential.text)
            if row is None:
                raise Unauthenticated("the API key is not known, has expired or was revoked")
            return identity_of_key(row), KEPT_SECONDS
        if self._tokens is None:
            raise Unauthenticated("this fleet accepts no identity tokens")
        claims = await self._tokens.verify(credential.text)
        left = claims.expires - self._clock.now()
        return Identity(claims.tenant, claims.principal), min(KEPT_SECONDS, max(0.0, left))

    def _keep(self, slot: bytes, identity: Identity, until: float) -> None:
        self._kept[slot] = (identity, until)
        self._kept.move_to_end(slot)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)


def credential_of(given: CIMultiDictProxy[str]) -> _Credential:
    """The one credential of a request; none, two kinds, or one kind twice is Unauthenticated."""
    found = [_Credential("key", text) for text in given.getall(headers.API_KEY, ())]
    found += [_bearer(text) for text in given.getall("authorization", ())]
    for cookie in given.getall("cookie", ()):
        found += _sessions(cookie)
    if not found:
        raise Unauthenticated("this needs an API key, a bearer token or a session")
    if len(found) > 1:
        raise Unauthenticated("exactly one credential is allowed, not several at once")
    if not found[0].text:
        raise Unauthenticated("the credential is empty")
    if not found[0].text.isascii():
        raise Unauthenticated("the credential has characters that no key and no token has")
    return found[0]


def check_origin(origin: str | None, allowed: frozenset[str]) -> None:
    """A state-changing call on a session must come from a page of the host application."""
    if origin is None or origin not in allowed:
        raise Forbidden("a state-changing call on a session needs an allowed Origin")


def identity_of_key(row: KeyRow) -> Identity:
    """A key acts as a service: of its tenant, or of the platform where it has none."""
    return Identity(
        row.tenant,
        Principal(
            kind=PrincipalKind.SERVICE,
            key_id=row.id,
            permissions=row.permissions,
            publisher_id=row.publisher_id,
        ),
    )


def _bearer(text: str) -> _Credential:
    scheme, _, token = text.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated("authorization must be Bearer and a token")
    return _Credential("bearer", token.strip())


def _sessions(cookie: str) -> list[_Credential]:
    if headers.SESSION_COOKIE not in cookie:
        return []
    pairs = (part.strip().partition("=") for part in cookie.split(";"))
    return [_Credential("session", value.strip('"')) for name, _, value in pairs if name == headers.SESSION_COOKIE]
