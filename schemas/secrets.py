"""Writing an install's secrets: from the gateway to the registry process, the only holder of the key encryption key.

Reading them is the `secrets` host interface. Names and values are never logged.
"""

from __future__ import annotations

from schemas.codec import Wire
from schemas.errors import ErrorCode
from schemas.ids import InstallId, TenantId


class SecretsUpdate(Wire, frozen=True, tag="secrets-update"):
    """Set and delete keys of one install; all or nothing. The gateway authorised `principal` for `tenant`."""

    tenant: TenantId
    install: InstallId
    request_id: str
    principal: str
    put: dict[str, str] = {}
    delete: frozenset[str] = frozenset()
    expires_at: str | None = None


class SecretsUpdated(Wire, frozen=True, tag="secrets-updated"):
    """Stored. `names` are the keys there are now, `version` the new one."""

    names: tuple[str, ...]
    version: str


class SecretsRefused(Wire, frozen=True, tag="secrets-refused"):
    """Nothing was changed."""

    code: ErrorCode
    message: str


SecretsReply = SecretsUpdated | SecretsRefused
