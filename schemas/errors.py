"""Every way a platform operation can fail, as one family of exceptions and one list of codes.

The class says what a caller can do about it, the code says what happened. HTTP statuses are not here: they
stand in one table, `gateway/errors.py`. A guest that fails is not an exception but an `Outcome`
(`schemas/invocation.py`); it uses the `guest_*` codes below.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class ErrorCode(StrEnum):
    """The stable, public name of a failure; part of the HTTP interface."""

    INVALID_REQUEST = "invalid_request"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    BUNDLE_INVALID = "bundle_invalid"
    MANIFEST_INVALID = "manifest_invalid"
    SIGNATURE_INVALID = "signature_invalid"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    TENANT_MISMATCH = "tenant_mismatch"
    CAPABILITY_DENIED = "capability_denied"
    NOT_FOUND = "not_found"
    EXTENSION_NOT_INSTALLED = "extension_not_installed"
    ENDPOINT_NOT_FOUND = "endpoint_not_found"
    CONFLICT = "conflict"
    VERSION_EXISTS = "version_exists"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXCEEDED = "quota_exceeded"
    CONCURRENCY_EXCEEDED = "concurrency_exceeded"
    NO_WORKER = "no_worker"
    OVERLOADED = "overloaded"
    DRAINING = "draining"
    DEPENDENCY_UNAVAILABLE = "dependency_unavailable"
    BUNDLE_INTEGRITY = "bundle_integrity"
    DEADLINE_EXCEEDED = "deadline_exceeded"
    INTERNAL = "internal"
    GUEST_TRAP = "guest_trap"
    GUEST_MEMORY = "guest_memory"
    GUEST_BAD_RESPONSE = "guest_bad_response"


class FleetError(Exception):
    """A platform failure.

    `message` may be shown to the caller: it names the field, the limit and the value. `detail` is for the log
    and has no way out. `retry_after_seconds` accompanies 429 and 503. `extra` is added to the public error body.
    """

    codes: ClassVar[tuple[ErrorCode, ...]] = (ErrorCode.INTERNAL,)
    """Codes of this class; the first is its default."""

    def __init__(
        self,
        message: str,
        *,
        code: ErrorCode | None = None,
        detail: str | None = None,
        retry_after_seconds: float | None = None,
        extra: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = self.codes[0] if code is None else code
        if self.code not in self.codes:
            raise ValueError(f"{self.code} is not a code of {type(self).__name__}")
        self.message = message
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
        self.extra = extra or {}


class Invalid(FleetError):
    """The request is wrong as it stands; repeating it will not help."""

    codes: ClassVar[tuple[ErrorCode, ...]] = (ErrorCode.INVALID_REQUEST,)


class TooLarge(Invalid):
    """A part of the request is over its limit."""

    codes: ClassVar[tuple[ErrorCode, ...]] = (ErrorCode.PAYLOAD_TOO_LARGE,)


class Unprocessable(Invalid):
    """A bundle, manifest or signature that was read but is not acceptable."""

    codes: ClassVar[tuple[ErrorCode, ...]] = (
        ErrorCode.BUNDLE_INVALID,
        ErrorCode.MANIFEST_INVALID,
        ErrorCode.SIGNATURE_INVALID,
    )


class Unauthenticated(FleetError):
    """Nobody we know is asking."""

    codes: ClassVar[tuple[ErrorCode, ...]] = (ErrorCode.UNAUTHENTICATED,)


class Forbidden(FleetError):
    """We know who is asking, and may not do it for them."""

    codes: ClassVar[tuple[ErrorCode, ...]] = (
        ErrorCode.FORBIDDEN,
        ErrorCode.TENANT_MISMATCH,
        ErrorCode.CAPABILITY_DENIED,
    )


class NotFound(FleetError):
    """It does not exist, or the caller may not know that it does."""

    codes: ClassVar[tuple[ErrorCode, ...]] = (
        ErrorCode.NOT_FOUND,
        ErrorCode.EXTENSION_NOT_INSTALLED,
        ErrorCode.ENDPOINT_NOT_FOUND,
    )


class Conflict(FleetError):
    """The state is not what the request assumed."""

    codes: ClassVar[tuple[ErrorCode, ...]] = (ErrorCode.CONFLICT, ErrorCode.VERSION_EXISTS)


class Exhausted(FleetError):
    """A rate, a quota or a concurrency limit is used up; later is fine."""

    codes: ClassVar[tuple[ErrorCode, ...]] = (
        ErrorCode.RATE_LIMITED,
        ErrorCode.QUOTA_EXCEEDED,
        ErrorCode.CONCURRENCY_EXCEEDED,
    )


class Unavailable(FleetError):
    """Nothing is wrong with the request; we cannot serve it now."""

    codes: ClassVar[tuple[ErrorCode, ...]] = (
        ErrorCode.DEPENDENCY_UNAVAILABLE,
        ErrorCode.NO_WORKER,
        ErrorCode.OVERLOADED,
        ErrorCode.DRAINING,
    )


class Corrupt(FleetError):
    """Stored bytes are not what was signed."""

    codes: ClassVar[tuple[ErrorCode, ...]] = (ErrorCode.BUNDLE_INTEGRITY,)


class DeadlineExceeded(FleetError):
    """The time of the call is over."""

    codes: ClassVar[tuple[ErrorCode, ...]] = (ErrorCode.DEADLINE_EXCEEDED,)


class Internal(FleetError):
    """A bug of ours; also what anything that is not a FleetError becomes."""

    codes: ClassVar[tuple[ErrorCode, ...]] = (ErrorCode.INTERNAL,)


_CLASSES: tuple[type[FleetError], ...] = (
    Invalid,
    TooLarge,
    Unprocessable,
    Unauthenticated,
    Forbidden,
    NotFound,
    Conflict,
    Exhausted,
    Unavailable,
    Corrupt,
    DeadlineExceeded,
    Internal,
)
_BY_CODE = {code: cls for cls in _CLASSES for code in cls.codes}


def from_code(
    code: str,
    message: str,
    *,
    retry_after_seconds: float | None = None,
    extra: dict[str, object] | None = None,
) -> FleetError:
    """Rebuild the exception from its public code, as clients and callers over NATS do; unknown codes are Internal."""
    try:
        known = ErrorCode(code)
        cls = _BY_CODE[known]
    except (ValueError, KeyError):
        return Internal(message, detail=f"unknown error code {code!r}")
    return cls(message, code=known, retry_after_seconds=retry_after_seconds, extra=extra)
