"""Who is asking, once that is settled."""

from __future__ import annotations

import msgspec

from schemas.call import Principal
from schemas.ids import TenantId


class Identity(msgspec.Struct, frozen=True):
    """`tenant` None: a service credential of the platform or an operator, which belongs to no tenant."""

    tenant: TenantId | None
    principal: Principal
