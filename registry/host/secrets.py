"""The `secrets` interface: its words for what `registry/secrets.py` opens. The one place where values leave it."""

from __future__ import annotations

from registry.secrets import OpenSecrets, Secrets
from registry.serving import HostCall, HostFunction, Service
from schemas.capability import Err, Ok


def service(secrets: Secrets) -> Service:
    """The functions of `secrets`. What cannot be decrypted is raised: the guest gets `internal`, or no keys."""
    answers = _Answers(secrets)
    return {
        "get": HostFunction(tuple[str], answers.get),
        "list-keys": HostFunction(tuple[()], answers.list_keys),
    }


class _Answers:
    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets

    async def get(self, call: HostCall, key: str) -> Ok | Err:
        opened = await self._open(call)
        if opened.is_expired:
            return Err("expired")
        value = opened.values.get(key)
        return Err("missing") if value is None else Ok(value)

    async def list_keys(self, call: HostCall) -> list[str]:
        return list((await self._open(call)).names)

    async def _open(self, call: HostCall) -> OpenSecrets:
        ticket = call.ticket
        return await self._secrets.open(ticket.tenant, ticket.install, envelope=call.request.secret_envelope)
