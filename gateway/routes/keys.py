"""`/api/v1/keys`: API keys of tenants, and service credentials of operators and platforms. For operators.

A key's text is in the answer to its creation and nowhere else.
"""

from __future__ import annotations

import datetime
from typing import Annotated, Any

import msgspec
from pydantic import Field

from gateway import keys
from gateway.json_bodies import Body
from gateway.operations import Access, Call, Operation
from registry.keys import KeyRow, NewKey
from schemas import ids
from schemas.errors import Invalid
from schemas.ids import PublisherId, TenantId


class NewApiKey(Body):
    """With `tenant` a key of that tenant, which may publish if `publisher_id` is given; else a service credential."""

    tenant: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    name: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    permissions: Annotated[list[str], Field(max_length=20)] = []
    publisher_id: str | None = None
    expires_at: Annotated[datetime.datetime, Field(strict=False)] | None = None


async def create(call: Call) -> object:
    body: NewApiKey = call.body
    made = await (_tenant_key(call, body) if body.tenant is not None else _service_credential(call, body))
    return {"data": {"id": made.id, "key": made.text, "tenant": body.tenant, "permissions": sorted(body.permissions)}}


async def list_keys(call: Call) -> object:
    tenant = call.request.query.get("tenant")
    store = call.request.app[keys.KEYS]
    rows = await (store.list_keys(ids.parse_tenant(tenant)) if tenant else store.list_service_credentials())
    return {"data": [_shown(row) for row in rows]}


async def revoke(call: Call) -> object:
    key_id = ids.parse_uuid(call.request.match_info["key"], field="key")
    tenant = call.request.query.get("tenant")
    store = call.request.app[keys.KEYS]
    if tenant:
        await store.revoke(call.context, ids.parse_tenant(tenant), key_id)
    else:
        await store.revoke_service_credential(call.context, key_id)
    return None


async def _tenant_key(call: Call, body: NewApiKey) -> NewKey:
    tenant = ids.parse_tenant(body.tenant or "")
    publisher = None
    if body.publisher_id is not None:
        publisher = PublisherId(ids.parse_uuid(body.publisher_id, field="publisher_id"))
    await call.request.app[keys.TENANTS].get(tenant)
    return await call.request.app[keys.KEYS].create(
        call.context,
        TenantId(tenant),
        permissions=frozenset(body.permissions),
        name=body.name,
        publisher_id=publisher,
        expires_at=_expiry(body),
    )


async def _service_credential(call: Call, body: NewApiKey) -> NewKey:
    if body.name is None:
        raise Invalid("name: a service credential needs a name")
    if body.publisher_id is not None:
        raise Invalid("publisher_id: only a tenant's key can belong to a publisher")
    return await call.request.app[keys.KEYS].create_service_credential(
        call.context, name=body.name, permissions=frozenset(body.permissions), expires_at=_expiry(body)
    )


def _expiry(body: NewApiKey) -> datetime.datetime | None:
    if body.expires_at is not None and body.expires_at.tzinfo is None:
        raise Invalid("expires_at: the time needs an offset, such as Z")
    return body.expires_at


def _shown(row: KeyRow) -> Any:
    return msgspec.to_builtins(row)


OPERATIONS = (
    Operation("POST", "/api/v1/keys", Access.OPERATOR, create, "Create a key; shown once", model=NewApiKey, status=201),
    Operation("GET", "/api/v1/keys", Access.OPERATOR, list_keys, "List keys", query=("tenant",)),
    Operation("DELETE", "/api/v1/keys/{key}", Access.OPERATOR, revoke, "Revoke a key", query=("tenant",), status=204),
)
