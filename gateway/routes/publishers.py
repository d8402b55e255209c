"""`/api/v1/publishers`: who may publish, and the public keys their signatures are checked against. For operators."""

from __future__ import annotations

import base64
import datetime
from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from gateway import keys, pages
from gateway.json_bodies import Body
from gateway.operations import Access, Call, Operation
from registry.publishers import PublisherState
from registry.signing import PublisherKey
from schemas import ids
from schemas.errors import Invalid
from schemas.ids import PublisherId

Time = Annotated[datetime.datetime, Field(strict=False)]


class NewPublisher(Body):
    """`name` is what manifests say in `publisher`."""

    name: Annotated[str, Field(min_length=1, max_length=100)]


class PublisherChange(Body):
    """A suspended publisher publishes nothing, and nothing of theirs is installed."""

    state: Literal["active", "suspended"]


class NewPublisherKey(Body):
    """`publicKey`: Ed25519, PEM or base64 of the SPKI. Valid from now unless `notBefore` says otherwise."""

    public_key: Annotated[str, Field(alias="publicKey", min_length=1, max_length=4000)]
    not_before: Annotated[Time | None, Field(alias="notBefore")] = None
    not_after: Annotated[Time | None, Field(alias="notAfter")] = None


async def create(call: Call) -> object:
    body: NewPublisher = call.body
    return {"data": _shown(await call.request.app[keys.PUBLISHERS].create(call.context, body.name))}


async def list_publishers(call: Call) -> object:
    limit = pages.limit_of(call.request)
    found = await call.request.app[keys.PUBLISHERS].list_publishers(after=pages.cursor_of(call.request), limit=limit)
    return {"data": [_shown(one) for one in found], "cursor": found[-1].name if len(found) == limit else None}


async def change(call: Call) -> object:
    body: PublisherChange = call.body
    publishers = call.request.app[keys.PUBLISHERS]
    return {"data": _shown(await publishers.set_state(call.context, _publisher(call), PublisherState(body.state)))}


async def add_key(call: Call) -> object:
    body: NewPublisherKey = call.body
    publishers = call.request.app[keys.PUBLISHERS]
    await publishers.get(_publisher(call))
    made = await publishers.add_key(
        call.context,
        _publisher(call),
        body.public_key,
        not_before=_time(body.not_before, "notBefore"),
        not_after=_time(body.not_after, "notAfter"),
    )
    return {"data": _shown_key(made)}


async def list_keys(call: Call) -> object:
    publishers = call.request.app[keys.PUBLISHERS]
    await publishers.get(_publisher(call))
    return {"data": [_shown_key(key) for key in await publishers.list_keys(_publisher(call))]}


async def revoke_key(call: Call) -> object:
    await call.request.app[keys.PUBLISHERS].revoke_key(call.context, _publisher(call), call.request.match_info["key"])
    return None


def _publisher(call: Call) -> PublisherId:
    return PublisherId(ids.parse_uuid(call.request.match_info["publisher"], field="publisher"))


def _time(value: datetime.datetime | None, name: str) -> datetime.datetime | None:
    if value is not None and value.tzinfo is None:
        raise Invalid(f"{name}: the time needs an offset, such as Z")
    return value


def _shown(publisher: msgspec.Struct) -> Any:
    return msgspec.to_builtins(publisher)


def _shown_key(key: PublisherKey) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "public_key": base64.b64encode(key.public_key).decode(),
        "not_before": key.not_before,
        "not_after": key.not_after,
        "revoked_at": key.revoked_at,
    }


_ALL, _ONE = "/api/v1/publishers", "/api/v1/publishers/{publisher}"
OPERATIONS = (
    Operation("POST", _ALL, Access.OPERATOR, create, "Create a publisher", model=NewPublisher, status=201),
    Operation("GET", _ALL, Access.OPERATOR, list_publishers, "List publishers", query=("limit", "cursor")),
    Operation("PATCH", _ONE, Access.OPERATOR, change, "Suspend or reactivate", model=PublisherChange),
    Operation("POST", f"{_ONE}/keys", Access.OPERATOR, add_key, "Register a key", model=NewPublisherKey, status=201),
    Operation("GET", f"{_ONE}/keys", Access.OPERATOR, list_keys, "List a publisher's keys"),
    Operation("DELETE", f"{_ONE}/keys/{{key}}", Access.OPERATOR, revoke_key, "Revoke a key", status=204),
)
