"""Who may say and hear what on NATS: one user per role, and the table of its subjects.

Owns least privilege on the wire, for the embedded stack and for real clusters alike: both render the same template.
Passwords and TLS are the caller's. A role never reads another role's inbox, and answers only through
`allow_responses`, long enough for the `alive` messages of a call of 15 minutes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import jinja2

from registry.install_changes import FRONTS_BUCKET
from schemas import capability, subjects
from schemas.capability import Answerer
from service.dispatch import WORKERS_BUCKET
from service.streams import EVENTS, RECORDS, SCHEDULES

CLUSTER_BUCKET = "cluster"
"""KV: what is fixed when a cluster is made, such as its shard count."""

_TEMPLATE = Path(__file__).with_name("accounts.conf.j2")


class Role(StrEnum):
    """A user of the NATS account: one per process, one for the host application, one for operators."""

    GATEWAY = "gateway"
    WORKER = "worker"
    EVENTS = "events"
    REGISTRY = "registry"
    PLATFORM = "platform"
    OPS = "ops"


@dataclass(frozen=True)
class Permissions:
    """Subjects a role may publish to and subscribe to; `subject queue` allows only members of that queue group."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


def inbox_prefix(role: Role) -> str:
    """What a client of this role passes as its inbox prefix, without the final dot."""
    return f"_INBOX_{role}"


def permissions(role: Role) -> Permissions:
    """All that `role` may do besides answering requests it was sent."""
    own = _TABLE[role]
    return Permissions(tuple(dict.fromkeys(own.publish)), (f"{inbox_prefix(role)}.>", *own.subscribe))


def render(passwords: Mapping[Role, str]) -> str:
    """The `authorization` block of a server's configuration. A password that starts with `$` is left to the server,
    which reads the environment variable of that name. Raises KeyError when a role has none."""
    environment = jinja2.Environment(  # noqa: S701 - no HTML
        undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    roles = [{"name": role.value, "password": _quoted(passwords[role]), "may": permissions(role)} for role in Role]
    return environment.from_string(_TEMPLATE.read_text()).render(roles=roles)


def _quoted(password: str) -> str:
    return password if password.startswith("$") else f'"{password}"'


def _declare(stream: str) -> tuple[str, ...]:
    return tuple(f"$JS.API.STREAM.{verb}.{stream}" for verb in ("CREATE", "UPDATE", "INFO"))


def _consume(stream: str) -> tuple[str, ...]:
    return (
        f"$JS.API.STREAM.INFO.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}",
        f"$JS.API.CONSUMER.CREATE.{stream}.>",
        f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.*",
        f"$JS.API.CONSUMER.INFO.{stream}.*",
        f"$JS.API.CONSUMER.DELETE.{stream}.*",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*",
        f"$JS.ACK.{stream}.>",
        f"$JS.FC.{stream}.>",
    )


def _read_bucket(bucket: str) -> tuple[str, ...]:
    stream = _bucket_stream(bucket)
    return (*_consume(stream), f"$JS.API.DIRECT.GET.{stream}.>", f"$JS.API.STREAM.MSG.GET.{stream}")


def _bucket_stream(bucket: str) -> str:
    return f"KV_{bucket}"


def _write_bucket(bucket: str) -> str:
    return f"$KV.{bucket}.>"


def _host_services(answerer: Answerer) -> tuple[str, ...]:
    return tuple(
        f"{subjects.host_interface(interface.name)} {subjects.HOST_QUEUE}"
        for interface in capability.INTERFACES.values()
        if interface.answerer is answerer
    )


_ANY_CLIENT = ("$JS.API.INFO", "$JS.API.STREAM.NAMES", *_read_bucket(WORKERS_BUCKET), *_read_bucket(CLUSTER_BUCKET))
# A front keeps its own key among the fronts, and waits for the others' when an install changed.
_FRONT = (
    *_read_bucket(FRONTS_BUCKET),
    *_declare(_bucket_stream(FRONTS_BUCKET)),
    _write_bucket(FRONTS_BUCKET),
    subjects.CONTROL_INSTALL_ALL,
)
_DISPATCH = (
    subjects.EXECUTE_ALL,
    subjects.WORKER_EXECUTE_ALL,
    subjects.CANCEL_ALL,
    *_declare(_bucket_stream(WORKERS_BUCKET)),
)
_DECLARE_STREAMS = tuple(subject for stream in (EVENTS, SCHEDULES, RECORDS) for subject in _declare(stream))
_RECORD = (subjects.RECORDS_ALL, f"$JS.API.STREAM.INFO.{RECORDS}")

_TABLE: Mapping[Role, Permissions] = {
    Role.GATEWAY: Permissions(
        publish=(
            *_DISPATCH,
            *_RECORD,
            *_ANY_CLIENT,
            subjects.INTAKE,
            subjects.PUBLISH,
            subjects.PRECOMPILE,
            subjects.SECRETS,
            *_FRONT,
        ),
        subscribe=(subjects.LOG_ALL, subjects.CONTROL_INSTALL_ALL),
    ),
    # A worker may not make the bucket it writes to: whoever makes a stream may have it copy any other stream.
    Role.WORKER: Permissions(
        publish=(
            *_RECORD,
            *_ANY_CLIENT,
            _write_bucket(WORKERS_BUCKET),
            subjects.HOST_ALL,
            subjects.PRECOMPILE,
            subjects.LOG_ALL,
        ),
        subscribe=(
            f"{subjects.EXECUTE_ALL} {subjects.WORKERS_QUEUE}",
            subjects.WORKER_EXECUTE_ALL,
            subjects.CANCEL_ALL,
        ),
    ),
    Role.EVENTS: Permissions(
        publish=(
            *_DISPATCH,
            *_RECORD,
            *_ANY_CLIENT,
            subjects.EVENTS_ALL,
            subjects.SCHEDULES_ALL,
            subjects.DUE,
            *_DECLARE_STREAMS,
            *_consume(EVENTS),
            *_consume(SCHEDULES),
            # Purging a schedule's subject is how an armed timer is disarmed.
            f"$JS.API.STREAM.PURGE.{SCHEDULES}",
            *_FRONT,
        ),
        subscribe=(f"{subjects.INTAKE} {subjects.EVENTS_QUEUE}", subjects.DUE, subjects.CONTROL_INSTALL_ALL),
    ),
    Role.REGISTRY: Permissions(
        publish=(
            *_ANY_CLIENT,
            *_DECLARE_STREAMS,
            *_consume(RECORDS),
            *_declare(_bucket_stream(WORKERS_BUCKET)),
            *_declare(_bucket_stream(CLUSTER_BUCKET)),
            _write_bucket(CLUSTER_BUCKET),
            subjects.INTAKE,
            *_FRONT,
        ),
        subscribe=(
            f"{subjects.PUBLISH} {subjects.REGISTRY_QUEUE}",
            f"{subjects.PRECOMPILE} {subjects.REGISTRY_QUEUE}",
            f"{subjects.SECRETS} {subjects.REGISTRY_QUEUE}",
            *_host_services(Answerer.HOST_SERVICE),
        ),
    ),
    Role.PLATFORM: Permissions(
        publish=(subjects.INTAKE,),
        subscribe=_host_services(Answerer.HOST_APPLICATION),
    ),
    Role.OPS: Permissions(
        publish=("$JS.API.>", "$JS.ACK.>", "$JS.FC.>"),
        subscribe=("$JS.EVENT.>",),
    ),
}
