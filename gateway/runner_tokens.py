"""Service tokens of `POST /v1/execute`: several valid at once, compared in constant time.

Owns what a token may be: long enough, and none of those that examples and old deployments carry.
"""

from __future__ import annotations

import hashlib
import hmac

from schemas.errors import Invalid, Unauthenticated

MIN_CHARACTERS = 16
WELL_KNOWN = frozenset(
    {"changeme", "change-me", "secret", "password", "runner-token", "test", "dev", "default", "token"}
)


class RunnerTokens:
    """The accepted tokens, kept as hashes. With none, nothing is accepted."""

    def __init__(self, tokens: tuple[str, ...]) -> None:
        for token in tokens:
            check(token)
        self._hashes = tuple(_hash(token) for token in tokens)

    def verify(self, *given: str | None) -> None:
        """One of the headers that carry the token, all present ones alike; Unauthenticated for anything else."""
        present = {text for text in given if text is not None}
        if len(present) != 1:
            raise Unauthenticated("this needs one service token")
        candidate = _hash(present.pop())
        matches = [hmac.compare_digest(candidate, known) for known in self._hashes]
        if not any(matches):
            raise Unauthenticated("the service token is not valid")


def check(token: str) -> None:
    """Raises Invalid for a token that can be guessed."""
    lowered = token.lower()
    if len(token) < MIN_CHARACTERS or any(lowered.startswith(known) and len(token) < 24 for known in WELL_KNOWN):
        raise Invalid(
            f"ALGA_GATEWAY_RUNNER_TOKENS: a token is shorter than {MIN_CHARACTERS} characters or a well-known one"
        )


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
