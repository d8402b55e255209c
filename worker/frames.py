"""Length-prefixed frames on a socketpair: all that the two halves of a worker share.

A frame is a 4-byte big-endian length and a message in the fleet's wire format (`schemas/codec.py`). A descriptor
travels beside a frame by SCM_RIGHTS: the sealed cwasm beside `Load`, the executor's socket and pidfd beside
`Spawned`. Both halves are on one machine, so deadlines are instants of CLOCK_MONOTONIC.

Zygote:    supervisor -> Spawn            zygote   -> Spawned (+2 descriptors), Exited
Executor:  supervisor -> Load (+1), Run, Answer
           executor   -> Ready, Loaded, LoadFailed, Call (waits for Answer), Note (waits for nothing), Done
One call at a time: between Run and Done only Call, Note and Answer travel.
"""

from __future__ import annotations

import struct
from typing import Any

from schemas.codec import Wire
from schemas.errors import ErrorCode
from schemas.guest_http import GuestRequest, GuestResponse
from schemas.invocation import OutcomeKind

HEADER = struct.Struct(">I")
MAX_FRAME_BYTES = 8 * 1024 * 1024
"""Two bodies of 2 MiB and all else; a longer frame is a broken or hostile peer."""


class Spawn(Wire, frozen=True, tag="spawn"):
    """Fork one executor; `executor` is the supervisor's number for it."""

    executor: int


class Spawned(Wire, frozen=True, tag="spawned"):
    """Forked; its socket and its pidfd come beside this frame, in that order."""

    executor: int
    pid: int


class Exited(Wire, frozen=True, tag="exited"):
    """Reaped. `status` as of waitpid: negative is a signal."""

    executor: int
    pid: int
    status: int


class Ready(Wire, frozen=True, tag="ready"):
    """Confined and able to load. `walls` names what holds it: `network namespace`, `landlock 7`, `seccomp`, …"""

    engine_fingerprint: str
    walls: tuple[str, ...]


class Load(Wire, frozen=True, tag="load"):
    """Deserialise the sealed memfd beside this frame and keep it under `content_hash`."""

    content_hash: str


class Loaded(Wire, frozen=True, tag="loaded"):
    content_hash: str
    milliseconds: float


class LoadFailed(Wire, frozen=True, tag="load-failed"):
    """The engine refused it (other settings, damaged); `detail` is for the log only."""

    content_hash: str
    detail: str


class Run(Wire, frozen=True, tag="run"):
    """One invocation. `context`, `context_v2` and `user` are host values (`schemas/capability.py`).

    `grants`: what the guest may call; a call outside it is answered in the executor with the denied value.
    `user` None: there is none, or it is not granted.
    """

    invocation: str
    content_hash: str
    request: GuestRequest
    deadline: float
    """CLOCK_MONOTONIC seconds."""
    timeout_ms: int
    memory_mb: int
    fuel: int
    max_body_bytes: int
    grants: frozenset[str]
    context: dict[str, Any]
    context_v2: dict[str, Any]
    config: dict[str, str] = {}
    user: dict[str, Any] | None = None
    reuse: int = 1


class Call(Wire, frozen=True, tag="call"):
    """The guest asks the platform and waits. `ordinal` counts from 1 within the invocation."""

    ordinal: int
    interface: str
    function: str
    arguments: list[Any]


class Note(Wire, frozen=True, tag="note"):
    """The guest tells the platform something that has no answer: logging, metrics, captured stdout and stderr."""

    interface: str
    function: str
    arguments: list[Any]


class Answer(Wire, frozen=True, tag="answer"):
    """The host value for the `Call` of this ordinal."""

    ordinal: int
    value: Any


class Done(Wire, frozen=True, tag="done"):
    """How the call ended. `recycle`: the executor must not serve again. `detail` is for the log only."""

    invocation: str
    kind: OutcomeKind
    cpu_ms: float
    memory_mb: float
    fuel: int
    host_calls: int
    response: GuestResponse | None = None
    code: ErrorCode | None = None
    message: str = ""
    recycle: bool = False
    detail: str = ""


ToZygote = Spawn
FromZygote = Spawned | Exited
ToExecutor = Load | Run | Answer
FromExecutor = Ready | Loaded | LoadFailed | Call | Note | Done
