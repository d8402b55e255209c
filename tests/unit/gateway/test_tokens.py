"""Service tokens that can be guessed, and key sets that are none, stop the start."""

from __future__ import annotations

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from gateway import identity_tokens
from gateway.identity_tokens import TokenSettings
from gateway.runner_tokens import RunnerTokens
from gateway.settings import EdgeSettings
from schemas.errors import Invalid, Unauthenticated

GOOD = "8f1c0b6e-a-good-token"


@pytest.mark.parametrize("token", ["", "short", "x" * 15, "changeme-changeme", "secret-secret-16", "password12345678"])
def test_a_token_that_can_be_guessed_is_refused_at_start(token: str) -> None:
    """Well-known defaults and short tokens never come to be accepted."""
    with pytest.raises(Invalid, match="ALGA_GATEWAY_RUNNER_TOKENS"):
        RunnerTokens((GOOD, token))


@pytest.mark.parametrize(
    ("given", "accepted"),
    [
        ((GOOD,), True),
        ((GOOD, GOOD), True),
        ((None, GOOD), True),
        ((), False),
        ((None, None), False),
        (("",), False),
        ((GOOD + " ",), False),
        ((GOOD, "another"), False),
        (("é\udcff",), False),
    ],
)
def test_one_valid_token_is_needed(given: tuple[str | None, ...], accepted: bool) -> None:
    """All that are sent must agree and be one of the accepted."""
    tokens = RunnerTokens((GOOD, "another-good-token-here"))
    if accepted:
        tokens.verify(*given)
        return
    with pytest.raises(Unauthenticated):
        tokens.verify(*given)


def test_without_tokens_nothing_is_accepted() -> None:
    """There is no unauthenticated mode."""
    with pytest.raises(Unauthenticated):
        RunnerTokens(()).verify("")


def test_a_key_set_keeps_what_can_sign_and_drops_the_rest() -> None:
    """Ed25519, P-256 and RSA are used; shared secrets and other curves are not."""
    keys = [
        {**OKPAlgorithm.to_jwk(Ed25519PrivateKey.generate().public_key(), as_dict=True), "kid": "ed", "alg": "EdDSA"},
        {**ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key(), as_dict=True), "kid": "p256"},
        {**ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key(), as_dict=True), "kid": "p384"},
        {**RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key(), as_dict=True), "kid": "rsa"},
        {"kty": "oct", "kid": "shared", "k": "c2VjcmV0", "alg": "HS256"},
    ]
    assert set(identity_tokens.parse_keys(json.dumps({"keys": keys}).encode())) == {"ed", "p256", "rsa"}


@pytest.mark.parametrize(
    "document", [b"", b"[]", b"{}", b'{"keys":[]}', b'{"keys":7}', b'{"keys":[{"kty":"oct","k":"YQ","alg":"HS256"}]}']
)
def test_a_key_set_without_a_usable_key_is_refused(document: bytes) -> None:
    """A start without keys would refuse everybody, or worse."""
    with pytest.raises(Invalid):
        identity_tokens.parse_keys(document)


@pytest.mark.parametrize(
    "settings",
    [
        TokenSettings(issuer="i"),
        TokenSettings(issuer="i", audience="a"),
        TokenSettings(issuer="i", jwks_file="f"),
        TokenSettings(jwks_file="f"),
        TokenSettings(issuer="i", audience="a", jwks_file="f", jwks_url="u"),
    ],
)
def test_half_a_configuration_of_tokens_is_refused(settings: TokenSettings) -> None:
    """Issuer, audience and one source of keys go together."""
    with pytest.raises(Invalid, match="ALGA_JWT"):
        settings.check()


def test_tokens_are_off_unless_configured() -> None:
    """Nothing set is a decision; all set is another."""
    assert TokenSettings().check() is False
    assert TokenSettings(issuer="i", audience="a", jwks_file="f").check() is True


@pytest.mark.parametrize("origin", ["*", "https://*.example", "app.example", "https://app.example/", "ftp://x", "null"])
def test_an_origin_is_exact_or_refused(origin: str) -> None:
    """No pattern ever stands in the list."""
    with pytest.raises(Invalid, match="ALGA_GATEWAY_ORIGINS"):
        EdgeSettings(origins=("https://app.example", origin)).check()
