"""Tickets: minted once per install and validity, refused for any changed byte."""

from dataclasses import dataclass

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from schemas import ids
from schemas.call import User
from schemas.errors import Unauthenticated
from schemas.install import Resolved
from schemas.invocation import Limits
from service.tickets import Minter, Verifier, key_id

KEY = Ed25519PrivateKey.generate()
RESOLVED = Resolved(
    tenant=ids.TenantId("acme"),
    install=ids.InstallId("0b0e6bd1-0000-4000-8000-000000000001"),
    registry=ids.RegistryId("0b0e6bd1-0000-4000-8000-000000000002"),
    version_id=ids.VersionId("0b0e6bd1-0000-4000-8000-000000000003"),
    name="com.acme.reports",
    publisher="Acme",
    version="1.0.0",
    content_hash=ids.ContentHash("sha256:" + "a" * 64),
    has_component=True,
    grants=frozenset({"cap:context.read", "cap:storage.kv"}),
    egress=("api.acme.example",),
    limits=Limits(),
    endpoints=(),
    client_portal=False,
    config={},
    shard=7,
)


@dataclass
class HeldClock:
    """Time that the test moves."""

    seconds: float = 1_000_000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds


def _pair() -> tuple[HeldClock, Minter, Verifier]:
    clock = HeldClock()
    public = KEY.public_key()
    return clock, Minter(KEY, clock), Verifier({key_id(public): public}, clock)


def _mint(minter: Minter, resolved: Resolved = RESOLVED) -> bytes:
    return minter.mint(resolved, longest_seconds=60, needed_seconds=5)


def test_a_minted_ticket_says_who_runs_and_what_it_may_do() -> None:
    """Workers read identity, grants and limits from nowhere else."""
    _, minter, verifier = _pair()
    ticket = verifier.verify(_mint(minter))
    assert (ticket.tenant, ticket.install, ticket.shard) == (RESOLVED.tenant, RESOLVED.install, 7)
    assert (ticket.grants, ticket.egress) == (RESOLVED.grants, RESOLVED.egress)


def test_one_ticket_serves_until_its_life_is_too_short() -> None:
    """Signing is dear; a ticket that could end before its call is minted anew."""
    clock, minter, _ = _pair()
    first = _mint(minter)
    clock.seconds += 100
    assert _mint(minter) == first
    clock.seconds += 15
    assert _mint(minter) != first


def test_a_changed_install_gets_another_ticket() -> None:
    """A revoked grant counts from the next invocation."""
    _, minter, verifier = _pair()
    _mint(minter)
    narrowed = msgspec.structs.replace(RESOLVED, grants=frozenset({"cap:context.read"}))
    assert verifier.verify(_mint(minter, narrowed)).grants == frozenset({"cap:context.read"})


def test_an_expired_ticket_is_refused_though_it_was_verified_before() -> None:
    """The kept answer ends with the ticket."""
    clock, minter, verifier = _pair()
    data = _mint(minter)
    verifier.verify(data)
    clock.seconds += 121
    with pytest.raises(Unauthenticated, match="expired"):
        verifier.verify(data)
    assert verifier.verify(data, grace_seconds=3600).tenant == "acme"


@given(st.data())
def test_a_changed_byte_anywhere_is_refused(data: st.DataObject) -> None:
    """Nothing in a ticket can be altered, not even its key id or version."""
    _, minter, verifier = _pair()
    minted = bytearray(_mint(minter))
    position = data.draw(st.integers(0, len(minted) - 1))
    minted[position] ^= data.draw(st.integers(1, 255))
    with pytest.raises(Unauthenticated):
        verifier.verify(bytes(minted))


def test_another_keys_ticket_is_refused() -> None:
    """Only keys of the fleet's fronts count."""
    clock, _, verifier = _pair()
    with pytest.raises(Unauthenticated, match="not trusted"):
        verifier.verify(_mint(Minter(Ed25519PrivateKey.generate(), clock)))


def test_a_user_statement_counts_only_for_its_invocation_and_install() -> None:
    """A user cannot be carried over to another call or tenant."""
    _, minter, verifier = _pair()
    ticket = verifier.verify(_mint(minter))
    statement = minter.mint_user(RESOLVED, "call-1", User(user_id="u1"), lifetime_seconds=60)
    assert verifier.verify_user(statement, ticket, "call-1").user_id == "u1"
    with pytest.raises(Unauthenticated, match="this invocation"):
        verifier.verify_user(statement, ticket, "call-2")
    foreign = msgspec.structs.replace(ticket, tenant=ids.TenantId("other"))
    with pytest.raises(Unauthenticated, match="this invocation"):
        verifier.verify_user(statement, foreign, "call-1")


def test_a_user_statement_is_no_ticket_and_a_ticket_no_user_statement() -> None:
    """The two kinds are signed under different domains."""
    _, minter, verifier = _pair()
    statement = minter.mint_user(RESOLVED, "call-1", User(user_id="u1"), lifetime_seconds=60)
    with pytest.raises(Unauthenticated):
        verifier.verify(statement)
    with pytest.raises(Unauthenticated):
        verifier.verify_user(_mint(minter), verifier.verify(_mint(minter)), "call-1")
