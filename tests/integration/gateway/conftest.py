"""A fleet whose gateway also hears a host application: identity tokens, sessions, service tokens."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import jwt
import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm

from deploy.embedded.processes import Options
from tests.fleet import Installed, TestFleet, open_fleet
from tests.guests import build

ISSUER, AUDIENCE, ORIGIN = "https://host.example", "alga-fleet", "https://app.example"
RUNNER_TOKEN = "the-runner-token-of-the-tests"


@dataclass(frozen=True)
class Door:
    """The fleet, and the host application's signing key."""

    fleet: TestFleet
    private_key: Ed25519PrivateKey

    def token(self, tenant: str, /, *, kid: str = "host-1", algorithm: str = "EdDSA", **claims: Any) -> str:
        """An identity token of an internal user with both permissions; `claims` replace, None removes."""
        payload = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "exp": time.time() + 60,
            "sub": "user-1",
            "tenant": tenant,
            "user_type": "internal",
            "email": "ann@example.com",
            "name": "Ann",
            "permissions": ["extension:read", "extension:write"],
            **claims,
        }
        kept = {name: value for name, value in payload.items() if value is not None}
        return jwt.encode(kept, self.private_key, algorithm=algorithm, headers={"kid": kid})

    async def echoing(self, **manifest: Any) -> Installed:
        """An install, of a new tenant, of the tiny guest that answers with the body it was sent."""
        extension = await self.fleet.publish_once(f"echo {json.dumps(manifest)}", build.component("echo"), **manifest)
        return await self.fleet.install(await self.fleet.tenant(), extension)

    async def asking(self, **manifest: Any) -> Installed:
        """An install, of a new tenant, of the guest that tells what it was asked."""
        extension = await self.fleet.publish_once(json.dumps(manifest), build.component("ask-qjs"), **manifest)
        return await self.fleet.install(await self.fleet.tenant(), extension)


@pytest_asyncio.fixture(scope="session")
async def door(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Door]:
    root = tmp_path_factory.mktemp("door")
    private_key = Ed25519PrivateKey.generate()
    jwks = root / "jwks.json"
    public = {**OKPAlgorithm.to_jwk(private_key.public_key(), as_dict=True), "kid": "host-1", "alg": "EdDSA"}
    symmetric = {"kty": "oct", "kid": "shared", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "alg": "HS256"}
    jwks.write_text(json.dumps({"keys": [public, symmetric]}))
    gateway = {
        "ALGA_JWT_ISSUER": ISSUER,
        "ALGA_JWT_AUDIENCE": AUDIENCE,
        "ALGA_JWT_JWKS_FILE": str(jwks),
        "ALGA_GATEWAY_ORIGINS": ORIGIN,
        "ALGA_GATEWAY_RUNNER_TOKENS": f"another-valid-token-here,{RUNNER_TOKEN}",
    }
    async with open_fleet(root / "fleet", Options(extra={"gateway": gateway})) as fleet:
        yield Door(fleet, private_key)
