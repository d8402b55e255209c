"""The catalogue of capabilities: their names, interfaces, functions, and who answers each.

Owns what a refusal looks like to a guest. Whether a capability is granted is in the ticket.
A host value is the Python form of a component value: records are dicts with snake_case keys, enums their kebab-case
names, `list<u8>` is bytes, options are the value or None, tuples and lists are lists, a `result` is `Ok` or `Err`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import msgspec

from schemas.errors import ErrorCode, Unprocessable


class Ok(msgspec.Struct, frozen=True, tag="ok", array_like=True):
    """The ok case of a component `result`."""

    value: Any = None


class Err(msgspec.Struct, frozen=True, tag="err", array_like=True):
    """The error case of a component `result`."""

    value: Any = None


class Answerer(StrEnum):
    """Where a host call is answered."""

    EXECUTOR = "executor"
    SUPERVISOR = "supervisor"
    HOST_SERVICE = "host service"
    HOST_APPLICATION = "host application"


class Function(msgspec.Struct, frozen=True):
    """One host function: the value a guest gets when it is not granted, and when nobody could answer in time."""

    name: str
    denied: Any
    failed: Any


class Interface(msgspec.Struct, frozen=True):
    """One interface of the world, the capability that opens it, and who answers."""

    name: str
    capability: str
    answerer: Answerer
    functions: tuple[Function, ...]

    def function(self, name: str) -> Function:
        """KeyError for a name that is not in the world."""
        for function in self.functions:
            if function.name == name:
                return function
        raise KeyError(f"{self.name}.{name}")


CONTEXT_READ = "cap:context.read"
LOG_EMIT = "cap:log.emit"
USER_READ = "cap:user.read"
SECRETS_GET = "cap:secrets.get"
HTTP_FETCH = "cap:http.fetch"
STORAGE_KV = "cap:storage.kv"
UI_PROXY = "cap:ui.proxy"
SCHEDULER_MANAGE = "cap:scheduler.manage"
INVOICE_CREATE = "cap:invoice.manual.create"
CLIENT_READ = "cap:client.read"
SERVICE_READ = "cap:service.read"
METRICS_EMIT = "cap:metrics.emit"
EVENTS_EMIT = "cap:events.emit"
EVENTS_SUBSCRIBE = "cap:events.subscribe"

DEFAULTS = frozenset({CONTEXT_READ, LOG_EMIT, USER_READ})
REQUESTABLE = frozenset(
    {
        SECRETS_GET,
        HTTP_FETCH,
        STORAGE_KV,
        UI_PROXY,
        SCHEDULER_MANAGE,
        INVOICE_CREATE,
        CLIENT_READ,
        SERVICE_READ,
        METRICS_EMIT,
        EVENTS_EMIT,
        EVENTS_SUBSCRIBE,
    }
)
ALL = DEFAULTS | REQUESTABLE
ALIASES = {
    "log": LOG_EMIT,
    "secrets.get": SECRETS_GET,
    "http.fetch": HTTP_FETCH,
    "storage.kv": STORAGE_KV,
    "metrics": METRICS_EMIT,
    "events.emit": EVENTS_EMIT,
    "events.subscribe": EVENTS_SUBSCRIBE,
}


def _results(denied: object, failed: object, *names: str) -> tuple[Function, ...]:
    return tuple(Function(name, Err(denied), Err(failed)) for name in names)


def _outcome_record(message: str, *absent: str) -> dict[str, object]:
    return {"success": False, "error": message, **dict.fromkeys(absent)}


def _scheduler() -> tuple[Function, ...]:
    denied, failed = f"Permission denied: {SCHEDULER_MANAGE}", "The scheduler is not available"
    shapes = {
        "create-schedule": ("schedule_id", "field_errors"),
        "update-schedule": ("field_errors",),
        "delete-schedule": (),
    }
    writes = tuple(
        Function(name, _outcome_record(denied, *absent), _outcome_record(failed, *absent))
        for name, absent in shapes.items()
    )
    return _results("denied", "internal", "list-schedules", "get-schedule", "get-endpoints") + writes


def _invoicing() -> tuple[Function, ...]:
    absent = ("invoice_id", "invoice_number", "status", "subtotal", "tax", "total", "field_errors")
    denied = _outcome_record(f"Permission denied: {INVOICE_CREATE}", *absent)
    failed = _outcome_record("The invoicing service is not available", *absent)
    return (Function("create-manual-invoice", denied, failed),)


def _storage_failure(code: str, message: str) -> dict[str, object]:
    return {"code": code, "message": message, "key": None, "revision": None}


_STORAGE_V2 = (
    "get",
    "get-many",
    "put",
    "put-many",
    "delete",
    "delete-many",
    "list-entries",
    "get-usage",
)

INTERFACES: dict[str, Interface] = {
    interface.name: interface
    for interface in (
        Interface("context", CONTEXT_READ, Answerer.EXECUTOR, (Function("get-context", None, None),)),
        Interface(
            "context-v2",
            CONTEXT_READ,
            Answerer.EXECUTOR,
            tuple(
                Function(name, None, None)
                for name in ("get-context", "get-config", "remaining-ms", "now-unix-ms", "random-hex")
            ),
        ),
        Interface(
            "secrets",
            SECRETS_GET,
            Answerer.HOST_SERVICE,
            (Function("get", Err("denied"), Err("internal")), Function("list-keys", [], [])),
        ),
        Interface("http", HTTP_FETCH, Answerer.SUPERVISOR, _results("not-allowed", "transport", "fetch")),
        Interface(
            "storage",
            STORAGE_KV,
            Answerer.HOST_SERVICE,
            _results("denied", "internal", "get", "put", "delete", "list-entries"),
        ),
        Interface(
            "storage-v2",
            STORAGE_KV,
            Answerer.HOST_SERVICE,
            _results(
                _storage_failure("denied", f"capability {STORAGE_KV} is not granted"),
                _storage_failure("unavailable", "the storage service did not answer in time"),
                *_STORAGE_V2,
            ),
        ),
        Interface(
            "logging",
            LOG_EMIT,
            Answerer.SUPERVISOR,
            tuple(Function(name, None, None) for name in ("log-info", "log-warn", "log-error")),
        ),
        Interface("ui-proxy", UI_PROXY, Answerer.HOST_APPLICATION, _results("denied", "internal", "call-route")),
        Interface("user", USER_READ, Answerer.EXECUTOR, _results("not-allowed", "not-available", "get-user")),
        Interface("user-v2", USER_READ, Answerer.EXECUTOR, _results("not-allowed", "not-available", "get-user")),
        Interface("scheduler", SCHEDULER_MANAGE, Answerer.HOST_SERVICE, _scheduler()),
        Interface("invoicing", INVOICE_CREATE, Answerer.HOST_APPLICATION, _invoicing()),
        Interface(
            "clients",
            CLIENT_READ,
            Answerer.HOST_APPLICATION,
            _results("not-allowed", "internal", "list-clients", "get-client"),
        ),
        Interface(
            "services",
            SERVICE_READ,
            Answerer.HOST_APPLICATION,
            _results("not-allowed", "internal", "list-services", "get-service"),
        ),
        Interface(
            "metrics",
            METRICS_EMIT,
            Answerer.SUPERVISOR,
            tuple(Function(name, None, None) for name in ("add-counter", "set-gauge", "record-histogram")),
        ),
        Interface("events", EVENTS_EMIT, Answerer.HOST_SERVICE, _results("denied", "unavailable", "emit")),
    )
}


def parse_capability(text: str) -> str:
    """A capability's canonical name from the manifest's spelling: trimmed, lower-cased, alias rewritten.

    Raises Unprocessable (manifest_invalid) for an unknown name.
    """
    name = text.strip().lower()
    name = ALIASES.get(name, name)
    if name not in ALL:
        raise Unprocessable(f"unknown capability {text[:80]!r}", code=ErrorCode.MANIFEST_INVALID)
    return name


def effective(*, requested: frozenset[str], approved: frozenset[str]) -> frozenset[str]:
    """What an install may do: the defaults, and what the manifest asks for and an admin approved."""
    return DEFAULTS | (requested & approved & REQUESTABLE)
