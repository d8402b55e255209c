"""Started and finished records: what the RECORDS stream carries and one row of the execution log is made of.

Either record alone makes the row: each carries the ticket, the origin and the start. Never bodies, headers,
config, secrets or query values.
"""

from __future__ import annotations

from enum import StrEnum

from schemas.codec import Wire
from schemas.errors import ErrorCode
from schemas.invocation import Origin, Outcome, OutcomeKind, Usage

LOST_AFTER_DEADLINE_SECONDS = 60


class LogStatus(StrEnum):
    """`extension_execution_log.status`."""

    STARTED = "started"
    OK = "ok"
    UPSTREAM_ERROR = "upstream_error"
    ERROR = "error"
    TIMEOUT = "timeout"
    OOM = "oom"
    POLICY_DENIED = "policy_denied"
    LOST = "lost"


class Record(Wire, frozen=True, tag="record"):
    """One record. `status` STARTED, or how it ended, with `finished_unix_ms`, `usage`, and the guest's `http_status`.

    `deadline_unix_ms`: after it and `LOST_AFTER_DEADLINE_SECONDS` a row that is still `started` becomes `lost`.
    `billed`: it began in an executor.
    """

    invocation: str
    ticket: bytes
    origin: Origin
    started_unix_ms: int
    deadline_unix_ms: int
    status: LogStatus
    finished_unix_ms: int | None = None
    http_status: int | None = None
    error: ErrorCode | None = None
    usage: Usage = Usage()
    billed: bool = False


class RecordBatch(Wire, frozen=True, tag="records"):
    """What gathered while the last publish was under way. All of one shard."""

    records: tuple[Record, ...]


_LIMIT_STATUS = {
    ErrorCode.DEADLINE_EXCEEDED: LogStatus.TIMEOUT,
    ErrorCode.GUEST_MEMORY: LogStatus.OOM,
}
_POLICY = frozenset(
    {
        ErrorCode.CAPABILITY_DENIED,
        ErrorCode.FORBIDDEN,
        ErrorCode.RATE_LIMITED,
        ErrorCode.QUOTA_EXCEEDED,
        ErrorCode.CONCURRENCY_EXCEEDED,
    }
)


def status_of(outcome: Outcome) -> LogStatus:
    """The word the execution log uses for an outcome."""
    if outcome.kind is OutcomeKind.COMPLETED and outcome.response is not None:
        return LogStatus.OK if outcome.response.status < 400 else LogStatus.UPSTREAM_ERROR
    if outcome.code in _POLICY:
        return LogStatus.POLICY_DENIED
    return _LIMIT_STATUS.get(outcome.code, LogStatus.ERROR) if outcome.code else LogStatus.ERROR
