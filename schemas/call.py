"""Who is asking, for which tenant, until when: the first argument of everything below the door.

Owns no authentication; `gateway/authentication.py` makes principals, everybody else only reads them.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from schemas.errors import DeadlineExceeded
from schemas.ids import PublisherId, TenantId


class PrincipalKind(StrEnum):
    """Who acts. The values are those of `metrics.principal_kind` in the execution log."""

    MSP = "msp"
    CLIENT = "client"
    SERVICE = "service"
    EVENT = "event"
    SCHEDULE = "schedule"


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, omit_defaults=True):
    """A person of the host application, as its identity token or `/v1/execute` stated it."""

    user_id: str
    user_email: str = ""
    user_name: str = ""
    user_type: str = "internal"
    client_name: str = ""
    client_id: str | None = None
    additional_fields: dict[str, str] = {}


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """The authenticated caller. `permissions` such as `extension:read`; `publisher_id` where a key may publish."""

    kind: PrincipalKind
    key_id: str | None = None
    user: User | None = None
    permissions: frozenset[str] = frozenset()
    publisher_id: PublisherId | None = None

    def has(self, permission: str) -> bool:
        return permission in self.permissions or "*" in self.permissions


class Deadline(msgspec.Struct, frozen=True):
    """The instant, on this process's monotonic clock, by which a call must be answered."""

    at: float

    @classmethod
    def after(cls, seconds: float, *, now: float) -> Deadline:
        return cls(now + seconds)

    def left(self, now: float) -> float:
        """Seconds left; negative when over."""
        return self.at - now

    def left_ms(self, now: float) -> int:
        return max(0, int((self.at - now) * 1000))

    def check(self, now: float) -> float:
        """Seconds left, or DeadlineExceeded."""
        left = self.at - now
        if left <= 0:
            raise DeadlineExceeded("the deadline of the call has passed")
        return left


class CallContext(msgspec.Struct, frozen=True, kw_only=True):
    """What every registry method is told first: for whom, by whom, under which request id, until when."""

    tenant: TenantId
    principal: Principal
    request_id: str
    deadline: Deadline
    traceparent: str | None = None
