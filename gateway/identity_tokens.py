"""The host application's identity tokens (JWT): which keys sign them, what they must say, who they name.

Owns the key set (a JWKS file or URL), kept fresh, and the claims. What a principal may do is `gateway/access.py`'s.
Only asymmetric algorithms; issuer, audience, expiry, subject and tenant are required.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import msgspec
import orjson
import structlog
from jwt import PyJWK, PyJWKSet

from schemas import ids
from schemas.call import Principal, PrincipalKind, User
from schemas.errors import FleetError, Invalid, Unauthenticated, Unavailable
from schemas.ids import TenantId
from service.clock import Clock

log = structlog.get_logger()

ALGORITHMS = ("EdDSA", "ES256", "RS256")
LEEWAY_SECONDS = 30
REFRESH_SECONDS = 300.0
UNKNOWN_KEY_SECONDS = 30.0
"""An unknown key id may be a new key: the set is read again at most this often because of one."""
FETCH_SECONDS = 5.0
MAX_JWKS_BYTES = 256 * 1024
MAX_TOKEN_CHARACTERS = 8000
_ADDITIONAL = ("contact_id", "contactId", "username", "locale", "timezone")


class TokenSettings(msgspec.Struct, frozen=True, kw_only=True):
    """ALGA_JWT_*: where the keys are (one of `jwks_file` and `jwks_url`), and what tokens must be issued by and for."""

    issuer: str | None = None
    audience: str | None = None
    jwks_file: str | None = None
    jwks_url: str | None = None

    def check(self) -> bool:
        """Whether identity tokens are accepted at all; Invalid for half a configuration."""
        sources = [source for source in (self.jwks_file, self.jwks_url) if source]
        if not sources and not self.issuer and not self.audience:
            return False
        if len(sources) != 1 or not self.issuer or not self.audience:
            raise Invalid("ALGA_JWT_ISSUER, ALGA_JWT_AUDIENCE and one of ALGA_JWT_JWKS_FILE and _JWKS_URL go together")
        return True


class Claims(msgspec.Struct, frozen=True):
    """Who a token names, and the Unix second it ends."""

    tenant: TenantId
    principal: Principal
    expires: float


class KeySet:
    """The public keys of the issuer by key id, read again as they age or when a key id is unknown."""

    def __init__(self, settings: TokenSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._keys: dict[str, PyJWK] = {}
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def get(self, key_id: str) -> PyJWK:
        """The key, or Unauthenticated."""
        key = self._keys.get(key_id)
        if self._age() > (REFRESH_SECONDS if key is not None else UNKNOWN_KEY_SECONDS):
            await self.refresh()
            key = self._keys.get(key_id)
        if key is None:
            raise Unauthenticated("the identity token is signed by a key that is not known")
        return key

    async def refresh(self) -> None:
        """Read the set; a failure leaves the keys that are known in force, and is an error only without any."""
        before = self._read_at
        async with self._reading:
            if self._read_at != before:
                return
            self._read_at = self._clock.monotonic()
            try:
                self._keys = parse_keys(await self._read())
            except FleetError as error:
                log.warning("the keys for identity tokens could not be read", error=error.message, detail=error.detail)
                if not self._keys:
                    self._read_at = float("-inf")
                    raise

    def _age(self) -> float:
        return self._clock.monotonic() - self._read_at

    async def _read(self) -> bytes:
        if self._settings.jwks_file:
            return await asyncio.to_thread(_read_file, Path(self._settings.jwks_file))
        return await _fetch(str(self._settings.jwks_url))


class IdentityTokens:
    """Verifies identity tokens. About 0.1 ms each; `gateway/authentication.py` keeps what was verified."""

    def __init__(self, settings: TokenSettings, keys: KeySet) -> None:
        self._settings, self._keys = settings, keys

    async def verify(self, token: str) -> Claims:
        """Raises Unauthenticated for a token that is forged, expired, for somebody else, or names no tenant."""
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise Unauthenticated(f"the identity token is over the limit of {MAX_TOKEN_CHARACTERS} characters")
        try:
            header = jwt.get_unverified_header(token)
            key = await self._keys.get(str(header.get("kid", "")))
            payload = jwt.decode(
                token,
                key,
                algorithms=list(ALGORITHMS),
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"], "strict_aud": False},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated("the identity token is not valid", detail=repr(error)) from error
        return claims_of(payload)


def parse_keys(data: bytes) -> dict[str, PyJWK]:
    """The usable keys of a JWKS document, by key id; keys of other kinds are left out. Invalid without any."""
    try:
        document = orjson.loads(data)
        keys = PyJWKSet.from_dict(document).keys
    except (orjson.JSONDecodeError, jwt.PyJWTError, AttributeError, TypeError, ValueError) as error:
        raise Invalid("the JWKS document has no usable key", detail=repr(error)) from error
    usable = {key.key_id or "": key for key in keys if key.algorithm_name in ALGORITHMS}
    if not usable:
        raise Invalid(f"the JWKS document has no key for {', '.join(ALGORITHMS)}")
    return usable


def claims_of(payload: dict[str, Any]) -> Claims:
    """The tenant and the principal that verified claims name. Unauthenticated where they name no tenant or user."""
    try:
        tenant = ids.parse_tenant(_text(payload, "tenant"))
    except Invalid as error:
        raise Unauthenticated("the identity token names no tenant") from error
    user = User(
        user_id=_text(payload, "sub"),
        user_email=_text(payload, "email"),
        user_name=_text(payload, "name"),
        user_type=_text(payload, "user_type"),
        client_name=_text(payload, "client_name"),
        client_id=_text(payload, "client_id") or None,
        additional_fields={name: text for name in _ADDITIONAL if (text := _text(payload, name))},
    )
    if not user.user_id or user.user_type not in ("internal", "client"):
        raise Unauthenticated("the identity token names no user with user_type internal or client")
    kind = PrincipalKind.CLIENT if user.user_type == "client" else PrincipalKind.MSP
    permissions = frozenset(_permissions(payload.get("permissions")))
    return Claims(tenant, Principal(kind=kind, user=user, permissions=permissions), float(payload["exp"]))


def _text(payload: dict[str, Any], name: str) -> str:
    """A claim as text that can be sent on; half characters, which JSON lets through, are replaced."""
    value = payload.get(name)
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else ""


def _permissions(value: object) -> list[str]:
    """Permissions as a list of texts. A token cannot make its bearer an operator, nor grant all by a star."""
    if not isinstance(value, list):
        return []
    return [name for name in value if isinstance(name, str) and name not in ("*", "operator")]


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()[: MAX_JWKS_BYTES + 1]
    except OSError as error:
        raise Invalid(f"the JWKS file {path} cannot be read: {error.strerror}") from error


async def _fetch(url: str) -> bytes:
    timeout = aiohttp.ClientTimeout(total=FETCH_SECONDS)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(url, allow_redirects=False) as response,
        ):
            if response.status != 200:
                raise Unavailable(f"the JWKS address answered {response.status}")
            return await response.content.read(MAX_JWKS_BYTES)
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unavailable("the JWKS address does not answer", detail=repr(error), retry_after_seconds=5) from error
