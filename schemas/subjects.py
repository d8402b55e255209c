"""Every NATS subject of the fleet, in its publish and its subscribe form, and the shard of a tenant.

No subject is spelled anywhere else. Raw names never enter a subject: ids become fixed tokens.
"""

from __future__ import annotations

import hashlib
import re

from schemas.ids import InstallId, TenantId, Token, WorkerId, token

DEFAULT_SHARD_COUNT = 64
WORKERS_QUEUE = "workers"
HOST_QUEUE = "host"
REGISTRY_QUEUE = "registry"
EVENTS_QUEUE = "events"

INTAKE = "ext.intake"
PUBLISH = "ext.publish"
PRECOMPILE = "ext.precompile"
SECRETS = "ext.secrets"
"""Writes of an install's secrets, gateway to registry process: only that one holds the key encryption key."""
DUE = "ext.due"
EXECUTE_ALL = "ext.exec.*"
WORKER_EXECUTE_ALL = "ext.worker.*.exec"
LOG_ALL = "ext.log.>"
RECORDS_ALL = "ext.record.>"
EVENTS_ALL = "ext.event.>"
SCHEDULES_ALL = "ext.schedule.>"
HOST_ALL = "ext.host.>"
CONTROL_INSTALL_ALL = "ext.control.install.*"
CANCEL_ALL = "ext.cancel.*"

_WORKER = re.compile(r"[a-z0-9]{8,32}", re.ASCII)


def shard_of(tenant: TenantId, count: int = DEFAULT_SHARD_COUNT) -> int:
    """First 8 bytes of SHA-256(tenant), big-endian, mod count. The count is fixed when a cluster is made."""
    return int.from_bytes(hashlib.sha256(tenant.encode()).digest()[:8]) % count


def execute(shard: int) -> str:
    return f"ext.exec.{shard}"


def worker_execute(worker: WorkerId) -> str:
    if not _WORKER.fullmatch(worker):
        raise ValueError(f"worker id {worker!r} is not 8 to 32 of a-z 0-9")
    return f"ext.worker.{worker}.exec"


def cancel(shard: int) -> str:
    return f"ext.cancel.{shard}"


def host(interface: str, function: str) -> str:
    """`interface` and `function` come from the catalogue in `schemas/capability.py`, never from a guest."""
    return f"ext.host.{interface}.{function}"


def host_interface(interface: str) -> str:
    """All functions of one interface, to subscribe to."""
    return f"ext.host.{interface}.*"


def record(shard: int) -> str:
    return f"ext.record.{shard}"


def control_install(tenant: TenantId) -> str:
    return f"ext.control.install.{token(tenant)}"


def log(tenant: TenantId, install: InstallId) -> str:
    return f"ext.log.{token(tenant)}.{token(install)}"


def log_of_tenant(tenant: TenantId) -> str:
    return f"ext.log.{token(tenant)}.*"


def event(tenant: TenantId, topic: str) -> str:
    """`topic` is already checked against its own grammar (`schemas/event.py`)."""
    return f"ext.event.{token(tenant)}.{topic}"


def schedule_at(tenant: TenantId, schedule: Token) -> str:
    return f"ext.schedule.at.{token(tenant)}.{schedule}"


def schedule_fired(tenant: TenantId, schedule: Token) -> str:
    return f"ext.schedule.fired.{token(tenant)}.{schedule}"
