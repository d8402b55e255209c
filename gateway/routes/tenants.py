"""`/api/v1/tenants`: who is a customer here. For operators."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from pydantic import Field

from gateway import keys
from gateway.json_bodies import Body
from gateway.operations import Access, Call, Operation
from registry.tenants import Tenant, TenantState
from schemas import ids


class NewTenant(Body):
    """`id`: 1 to 64 of A-Z a-z 0-9 . _ -; `shard` pins the tenant's calls, else its hash decides."""

    id: Annotated[str, Field(min_length=1, max_length=64)]
    name: Annotated[str, Field(min_length=1, max_length=200)]
    shard: Annotated[int, Field(ge=0)] | None = None


class TenantChange(Body):
    """A suspended tenant's keys open nothing and its installs do not resolve."""

    state: Literal["active", "suspended"]


async def create(call: Call) -> object:
    body: NewTenant = call.body
    tenants = call.request.app[keys.TENANTS]
    return {"data": _shown(await tenants.create(call.context, body.id, name=body.name, shard=body.shard))}


async def list_tenants(call: Call) -> object:
    found = await call.request.app[keys.TENANTS].list_tenants(after=call.request.query.get("after", ""))
    return {"data": [_shown(tenant) for tenant in found]}


async def get(call: Call) -> object:
    return {"data": _shown(await call.request.app[keys.TENANTS].get(_tenant(call)))}


async def change(call: Call) -> object:
    body: TenantChange = call.body
    tenants = call.request.app[keys.TENANTS]
    return {"data": _shown(await tenants.set_state(call.context, _tenant(call), TenantState(body.state)))}


def _tenant(call: Call) -> ids.TenantId:
    return ids.parse_tenant(call.request.match_info["tenant"])


def _shown(tenant: Tenant) -> Any:
    return msgspec.to_builtins(tenant)


OPERATIONS = (
    Operation("POST", "/api/v1/tenants", Access.OPERATOR, create, "Create a tenant", model=NewTenant, status=201),
    Operation("GET", "/api/v1/tenants", Access.OPERATOR, list_tenants, "List tenants by id", query=("after",)),
    Operation("GET", "/api/v1/tenants/{tenant}", Access.OPERATOR, get, "Show a tenant"),
    Operation(
        "PATCH", "/api/v1/tenants/{tenant}", Access.OPERATOR, change, "Suspend or reactivate", model=TenantChange
    ),
)
