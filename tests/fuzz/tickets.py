"""Target `tickets`: no change to a signed statement verifies, and none is taken for one of the other kind."""

from __future__ import annotations

import random

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from schemas import ticket as statements
from schemas.call import User
from schemas.errors import Unauthenticated
from schemas.ids import ContentHash, InstallId, RegistryId, TenantId, VersionId, new_id, new_invocation_id
from schemas.install import Resolved
from schemas.invocation import Limits
from schemas.ticket import HEAD_BYTES, Sealed, Ticket
from service import tickets
from service.clock import SystemClock
from service.tickets import Minter, Verifier
from tests.fuzz.mutation import mutate
from tests.fuzz.report import Report

ORDER = 2**252 + 27742317777372353535851937790883648493
"""Of the curve's group: a signature whose second half grows by it must not verify."""
_INVOCATION = new_invocation_id()


class Mint:
    """A trusted key, another one that is not, and statements of both kinds."""

    def __init__(self) -> None:
        clock, trusted = SystemClock(), Ed25519PrivateKey.generate()
        public = trusted.public_key()
        self.key_id = tickets.key_id(public)
        self.minter, self.stranger = Minter(trusted, clock), Minter(Ed25519PrivateKey.generate(), clock)
        self.verifier = Verifier({self.key_id: public}, clock)
        self.installs = [_install(), _install()]
        self.tickets = [self._ticket(self.minter, install) for install in self.installs]
        self.users = [self._user(self.minter, install) for install in self.installs]
        self.foreign = self._ticket(self.stranger, self.installs[0])

    def _ticket(self, minter: Minter, install: Resolved) -> bytes:
        return minter.mint(install, longest_seconds=3600, needed_seconds=60)

    def _user(self, minter: Minter, install: Resolved) -> bytes:
        user = User(user_id="u-1")
        return minter.mint_user(install, _INVOCATION, user, lifetime_seconds=3600)


async def run(report: Report) -> None:
    """Nothing verifies but what was minted, for its own purpose, unchanged."""
    mint = Mint()
    minted = {bytes(data): mint.verifier.verify(data) for data in mint.tickets}
    ticket = minted[mint.tickets[0]]
    mint.verifier.verify_user(mint.users[0], ticket, _INVOCATION)
    for rng in report.inputs_of():
        data = _forged(rng, mint)
        # A verifier that has never seen the statement: a kept answer proves nothing.
        verifier = Verifier(mint.verifier._keys, SystemClock())
        with report.catching(data):
            _try_ticket(report, verifier, data, minted)
            _try_user(report, verifier, data, ticket, unchanged=data == mint.users[0])


def _try_ticket(report: Report, verifier: Verifier, data: bytes, minted: dict[bytes, Ticket]) -> None:
    try:
        found = verifier.verify(data)
    except Unauthenticated as error:
        report.refused[error.code] += 1
        return
    report.accepted["unchanged"] += 1
    if minted.get(data) != found:
        report.fail(f"verified as {found}", data)


def _try_user(report: Report, verifier: Verifier, data: bytes, ticket: Ticket, *, unchanged: bool) -> None:
    try:
        found = verifier.verify_user(data, ticket, _INVOCATION)
    except Unauthenticated:
        return
    if not unchanged:
        report.fail(f"verified as the statement of user {found}", data)


def _forged(rng: random.Random, mint: Mint) -> bytes:
    data = rng.choice(mint.tickets + mint.users)
    sealed = statements.unpack(data)
    match rng.randrange(9):
        case 0:
            return data[:HEAD_BYTES] + _edited(rng, sealed.payload)
        case 1:
            return statements.pack(Sealed(sealed.key_id, sealed.signature, statements.unpack(mint.tickets[1]).payload))
        case 2:
            return statements.pack(Sealed(mint.key_id, statements.unpack(mint.foreign).signature, sealed.payload))
        case 3:
            return mint.foreign
        case 4:
            return statements.pack(Sealed(sealed.key_id, _other_form(sealed.signature), sealed.payload))
        case 5:
            return statements.pack(Sealed(sealed.key_id, rng.randbytes(64), sealed.payload))
        case 6:
            return statements.pack(Sealed(sealed.key_id, bytes(64), sealed.payload))
        case 7:
            return bytes((rng.randrange(256),)) + data[1:]
        case _:
            return mutate(rng, data, most=3)


def _edited(rng: random.Random, payload: bytes) -> bytes:
    """The payload of someone who wants more than he was given."""
    fields = orjson.loads(payload)
    name = rng.choice(sorted(fields))
    fields[name] = rng.choice(
        [None, "", 0, 2**40, [], {}, "t-2", ["cap:http.fetch", "cap:storage.kv"], {"timeout_ms": 900_000}, new_id()]
    )
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS)


def _other_form(signature: bytes) -> bytes:
    """The same point with another number: valid to a careless verifier."""
    scalar = int.from_bytes(signature[32:], "little") + ORDER
    return signature[:32] + scalar.to_bytes(32, "little")


def _install() -> Resolved:
    return Resolved(
        tenant=TenantId(f"t-{new_id()[:8]}"),
        install=InstallId(new_id()),
        registry=RegistryId(new_id()),
        version_id=VersionId(new_id()),
        name="com.example.fuzz",
        publisher="Fuzz",
        version="1.0.0",
        content_hash=ContentHash("sha256:" + "0" * 64),
        has_component=True,
        grants=frozenset({"cap:log.emit"}),
        egress=(),
        limits=Limits(),
        endpoints=(),
        client_portal=False,
        config={},
        shard=0,
    )
