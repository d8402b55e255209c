"""Minting tickets (gateway, events) and verifying them (workers, host services).

Minting and verifying cost 45 and 138 microseconds, so both keep what they did: a front one ticket per install while
it has life enough, a verifier one answer per ticket until it expires. Shapes are `schemas/ticket.py`'s.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from schemas import ticket as tickets
from schemas.call import User
from schemas.errors import Invalid, Unauthenticated
from schemas.ids import InstallId, TenantId
from schemas.install import Resolved
from schemas.ticket import MARGIN_SECONDS, Sealed, Ticket, UserStatement
from service.clock import Clock

MAX_KEPT = 20_000
SPARE_SECONDS = 5
"""A ticket is minted anew when less than the call's deadline and this is left of it."""
SKEW_SECONDS = 30
"""How far the clocks of two of our machines may differ."""

PublicKeys = dict[bytes, Ed25519PublicKey]


def key_id(key: Ed25519PublicKey) -> bytes:
    """First 8 bytes of the SHA-256 of the SPKI."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()[:8]


def load_private_key(path: Path, *, setting: str) -> Ed25519PrivateKey:
    """An Ed25519 key in PEM (PKCS8). Invalid names the setting."""
    key = _load(path, setting, load_pem_private_key, password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise Invalid(f"setting {setting}: {path} is not an Ed25519 private key")
    return key


def load_public_keys(path: Path, *, setting: str) -> PublicKeys:
    """One or more Ed25519 public keys in one PEM file, by key id. Several are valid at once."""
    blocks = _read(path, setting).split(b"-----BEGIN PUBLIC KEY-----")[1:]
    keys: PublicKeys = {}
    for block in blocks:
        key = _parse(b"-----BEGIN PUBLIC KEY-----" + block, path, setting)
        keys[key_id(key)] = key
    if not keys:
        raise Invalid(f"setting {setting}: {path} has no public key in it")
    return keys


class Minter:
    """Signs tickets and user statements with one private key."""

    def __init__(self, key: Ed25519PrivateKey, clock: Clock) -> None:
        self._key, self._clock = key, clock
        self._key_id = key_id(key.public_key())
        self._kept: OrderedDict[tuple[TenantId, InstallId, int], tuple[Resolved, int, bytes]] = OrderedDict()

    def mint(self, resolved: Resolved, *, longest_seconds: int, needed_seconds: float) -> bytes:
        """A ticket for this install, kept while it outlives `needed_seconds`.

        `longest_seconds`: the longest deadline of the trigger; the ticket lives that and a margin.
        """
        now = self._clock.now()
        slot = (resolved.tenant, resolved.install, longest_seconds)
        kept = self._kept.get(slot)
        if kept and (kept[0] is resolved or kept[0] == resolved) and kept[1] - now > needed_seconds + SPARE_SECONDS:
            return kept[2]
        statement = _statement(resolved, int(now), int(now) + longest_seconds + MARGIN_SECONDS)
        data = self._seal(tickets.TICKET_DOMAIN, tickets.encode_payload(statement))
        self._kept[slot] = (resolved, statement.expires, data)
        self._kept.move_to_end(slot)
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return data

    def drop(self, tenant: TenantId) -> None:
        """Forget the tenant's tickets: an install changed."""
        for slot in [slot for slot in self._kept if slot[0] == tenant]:
            del self._kept[slot]

    def mint_user(self, resolved: Resolved, invocation: str, user: User, *, lifetime_seconds: int) -> bytes:
        """A statement that `user` is behind this one invocation."""
        statement = UserStatement(
            tenant=resolved.tenant,
            install=resolved.install,
            invocation=invocation,
            user=user,
            expires=int(self._clock.now()) + lifetime_seconds + MARGIN_SECONDS,
        )
        return self._seal(tickets.USER_DOMAIN, tickets.encode_payload(statement))

    def _seal(self, domain: bytes, payload: bytes) -> bytes:
        unsigned = Sealed(self._key_id, b"", payload)
        return tickets.pack(Sealed(self._key_id, self._key.sign(domain + unsigned.signed), payload))


class Verifier:
    """Verifies tickets and user statements against the fleet's public keys."""

    def __init__(self, keys: PublicKeys, clock: Clock) -> None:
        self._keys, self._clock = keys, clock
        self._kept: OrderedDict[bytes, Ticket] = OrderedDict()

    def verify(self, data: bytes, *, grace_seconds: float = 0) -> Ticket:
        """The ticket, or Unauthenticated when forged, malformed or expired more than `grace_seconds` ago."""
        ticket = self._kept.get(data)
        if ticket is None:
            ticket = tickets.decode_ticket(self._open(tickets.TICKET_DOMAIN, data))
            self._keep(data, ticket)
        now = self._clock.now()
        if now > ticket.expires + grace_seconds:
            raise Unauthenticated("the ticket has expired")
        if ticket.issued > now + SKEW_SECONDS:
            raise Unauthenticated("the ticket is not valid yet")
        return ticket

    def verify_user(self, data: bytes, ticket: Ticket, invocation: str) -> User:
        """The user behind this invocation of this install, or Unauthenticated."""
        statement = tickets.decode_user(self._open(tickets.USER_DOMAIN, data))
        bound = (statement.tenant, statement.install, statement.invocation)
        if bound != (ticket.tenant, ticket.install, invocation):
            raise Unauthenticated("the user statement is not of this invocation")
        if self._clock.now() > statement.expires:
            raise Unauthenticated("the user statement has expired")
        return statement.user

    def _open(self, domain: bytes, data: bytes) -> bytes:
        sealed = tickets.unpack(data)
        key = self._keys.get(sealed.key_id)
        if key is None:
            raise Unauthenticated("the ticket is signed by a key that is not trusted")
        try:
            key.verify(sealed.signature, domain + sealed.signed)
        except InvalidSignature:
            raise Unauthenticated("the signature of the ticket does not verify") from None
        return sealed.payload

    def _keep(self, data: bytes, ticket: Ticket) -> None:
        self._kept[bytes(data)] = ticket
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)


def _statement(resolved: Resolved, issued: int, expires: int) -> Ticket:
    return Ticket(
        tenant=resolved.tenant,
        install=resolved.install,
        registry=resolved.registry,
        version_id=resolved.version_id,
        name=resolved.name,
        version=resolved.version,
        content_hash=resolved.content_hash,
        grants=resolved.grants,
        egress=resolved.egress,
        limits=resolved.limits,
        issued=issued,
        expires=expires,
        shard=resolved.shard,
    )


def _read(path: Path, setting: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Invalid(f"setting {setting}: {path} cannot be read: {error.strerror}") from error


def _load(path: Path, setting: str, loader: object, **options: object) -> object:
    try:
        return loader(_read(path, setting), **options)  # type: ignore[operator]
    except (ValueError, TypeError) as error:
        raise Invalid(f"setting {setting}: {path} is not a key in PEM") from error


def _parse(block: bytes, path: Path, setting: str) -> Ed25519PublicKey:
    try:
        key = load_pem_public_key(block)
    except ValueError as error:
        raise Invalid(f"setting {setting}: {path} has a block that is not a public key") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Invalid(f"setting {setting}: {path} has a key that is not Ed25519")
    return key
