"""An install's secrets over HTTP: names can be read, values only written. For a tenant's admins.

The gateway holds no key encryption key: it authorises, and the registry process writes (`ext.secrets`).
"""

from __future__ import annotations

import datetime
from typing import Annotated

from pydantic import Field

from gateway import keys
from gateway.json_bodies import Body
from gateway.operations import Access, Call, Operation
from registry.install_cache import not_installed
from schemas import codec, errors, subjects
from schemas.errors import Invalid, Unavailable
from schemas.ids import InstallId
from schemas.secrets import SecretsRefused, SecretsReply, SecretsUpdate
from service.messaging import NoResponders

ANSWER_SECONDS = 10.0
MAX_NAMES = 64
MAX_REFERENCE_CHARACTERS = 400
_PATH = "/api/v1/extensions/installs/{install}/secrets"


class SecretsChange(Body):
    """Names to set and names to delete; the others stay. `expiresAt` counts for all of the install's secrets."""

    put: Annotated[dict[str, str], Field(alias="set", max_length=MAX_NAMES)] = {}
    delete: Annotated[list[str], Field(max_length=MAX_NAMES)] = []
    expires_at: Annotated[datetime.datetime | None, Field(alias="expiresAt", strict=False)] = None


async def change(call: Call) -> object:
    body: SecretsChange = call.body
    if both := sorted(set(body.put) & set(body.delete)):
        raise Invalid(f"set and delete name the same secret {both[0][:80]!r}")
    if body.expires_at is not None and body.expires_at.tzinfo is None:
        raise Invalid("expiresAt: the time needs an offset, such as Z")
    expires = None if body.expires_at is None else body.expires_at.isoformat()
    return await _ask(call, put=body.put, delete=frozenset(body.delete), expires_at=expires)


async def names(call: Call) -> object:
    """A change of nothing answers with the names."""
    return await _ask(call, put={}, delete=frozenset(), expires_at=None)


async def _ask(call: Call, *, put: dict[str, str], delete: frozenset[str], expires_at: str | None) -> dict[str, object]:
    request = SecretsUpdate(
        tenant=call.context.tenant,
        install=await _install(call),
        request_id=call.context.request_id,
        principal=_principal(call),
        put=put,
        delete=delete,
        expires_at=expires_at,
    )
    try:
        answer = await call.request.app[keys.MESSAGING].request(
            subjects.SECRETS, codec.encode(request), timeout_seconds=ANSWER_SECONDS
        )
    except NoResponders as error:
        raise Unavailable("the secrets service is not running", retry_after_seconds=5) from error
    reply: SecretsReply = codec.decode(SecretsReply, answer)
    if isinstance(reply, SecretsRefused):
        raise errors.from_code(reply.code, reply.message)
    return {"data": {"names": list(reply.names), "version": reply.version}}


async def _install(call: Call) -> InstallId:
    """The install the path names, among the caller's own."""
    reference = call.request.match_info["install"]
    if not 0 < len(reference) <= MAX_REFERENCE_CHARACTERS or not reference.isprintable():
        raise not_installed()
    return (await call.request.app[keys.INSTALLS].get(call.context, reference)).id


def _principal(call: Call) -> str:
    principal = call.context.principal
    return (principal.user.user_id if principal.user else principal.key_id) or principal.kind.value


OPERATIONS = (
    Operation("GET", _PATH, Access.WRITE, names, "Names of an install's secrets"),
    Operation("PUT", _PATH, Access.WRITE, change, "Set and delete secrets", model=SecretsChange),
    Operation("PATCH", _PATH, Access.WRITE, change, "Set and delete secrets", model=SecretsChange),
)
