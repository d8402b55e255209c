"""Context, configuration, clock and the person behind the invocation."""

from dataclasses import dataclass
from typing import Any

from alga_guest.host.calling import call, text_of


@dataclass(frozen=True)
class EventRef:
    """The event a delivery carries; `time` is ISO 8601, `depth` counts causation."""

    id: str
    topic: str
    source: str
    subject: str | None
    time: str
    delivery_id: str
    depth: int


@dataclass(frozen=True)
class ScheduleRef:
    id: str
    name: str | None
    scheduled_for: str


@dataclass(frozen=True)
class Context:
    """One invocation. `trigger` is http, event or schedule; `attempt` counts from 1."""

    request_id: str
    invocation_id: str
    tenant_id: str
    extension_id: str
    install_id: str
    version_id: str
    extension_name: str
    version: str
    content_hash: str
    trigger: str
    attempt: int
    idempotency_key: str | None
    traceparent: str | None
    capabilities: tuple[str, ...]
    egress_hosts: tuple[str, ...]
    timeout_ms: int
    memory_mb: int
    max_body_bytes: int
    config: dict[str, str]
    event: EventRef | None
    schedule: ScheduleRef | None

    @staticmethod
    def read(imports: Any) -> "Context":
        raw = imports.context_v2.get_context()
        plain = ("request_id", "invocation_id", "tenant_id", "extension_id", "install_id", "version_id")
        named = ("extension_name", "version", "content_hash", "attempt", "idempotency_key", "traceparent")
        limits = ("timeout_ms", "memory_mb", "max_body_bytes")
        return Context(
            **{name: getattr(raw, name) for name in (*plain, *named)},
            **{name: getattr(raw.limits, name) for name in limits},
            trigger=text_of(raw.trigger),
            capabilities=tuple(raw.capabilities),
            egress_hosts=tuple(raw.egress_hosts),
            config=dict(raw.config),
            event=_event(raw.event),
            schedule=_schedule(raw.schedule),
        )


def _event(raw: Any) -> EventRef | None:
    if raw is None:
        return None
    return EventRef(raw.id, raw.topic, raw.source, raw.subject, raw.time, raw.delivery_id, raw.depth)


def _schedule(raw: Any) -> ScheduleRef | None:
    return None if raw is None else ScheduleRef(raw.id, raw.name, raw.scheduled_for)


@dataclass(frozen=True)
class User:
    """The person behind a call. `user_type` is internal or client."""

    tenant_id: str
    client_name: str
    user_id: str
    user_email: str
    user_name: str
    user_type: str
    client_id: str | None
    additional_fields: dict[str, str]


class Users:
    def __init__(self, imports: Any) -> None:
        self._imports = imports

    def get(self) -> User:
        """Raises Missing where nobody is behind this invocation (events, schedules, API keys)."""
        raw = call("user", self._imports.user_v2.get_user)
        return User(
            raw.tenant_id,
            raw.client_name,
            raw.user_id,
            raw.user_email,
            raw.user_name,
            raw.user_type,
            raw.client_id,
            dict(raw.additional_fields),
        )


class Config:
    """The install's configuration: text by name, other JSON values as JSON text."""

    def __init__(self, imports: Any) -> None:
        self._imports = imports

    def find(self, key: str) -> str | None:
        return self._imports.context_v2.get_config(key)  # type: ignore[no-any-return]


class Clock:
    """Live time and randomness, also where a component has none of its own."""

    def __init__(self, imports: Any) -> None:
        self._imports = imports

    def now_unix_ms(self) -> int:
        return int(self._imports.context_v2.now_unix_ms())

    def remaining_ms(self) -> int:
        """What is left of this invocation's deadline."""
        return int(self._imports.context_v2.remaining_ms())

    def random_hex(self, count: int) -> str:
        """Two digits per byte; at most 1024 bytes."""
        return str(self._imports.context_v2.random_hex(count))
