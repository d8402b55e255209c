"""What an error of Postgres means to us: one table, by SQLSTATE and by constraint name. Pure.

Owns no connection; `database.py` is the seam that uses it. `detail` has what is for the log: the SQLSTATE, the
constraint's name and the server's words. Nothing of them reaches `message`.
"""

from __future__ import annotations

import msgspec

from schemas.errors import Conflict, ErrorCode, FleetError, Internal, Invalid, NotFound, Unavailable

RETRY_AFTER_SECONDS = 1.0

UNIQUE_VIOLATION = "23505"
FOREIGN_KEY_VIOLATION = "23503"

_CONFLICTS: dict[str, tuple[str, ErrorCode]] = {
    "tenant_pkey": ("a tenant with this id exists", ErrorCode.CONFLICT),
    "service_credential_name_key": ("a service credential with this name exists", ErrorCode.CONFLICT),
    "extension_publisher_name_key": ("a publisher with this name exists", ErrorCode.CONFLICT),
    "extension_publisher_key_key_id_key": ("this public key is registered", ErrorCode.CONFLICT),
    "extension_registry_name_key": ("an extension with this name exists", ErrorCode.CONFLICT),
    "extension_registry_publisher_name_key": ("an extension with this name exists", ErrorCode.CONFLICT),
    "extension_version_registry_id_version_key": ("this version is published", ErrorCode.VERSION_EXISTS),
    "extension_bundle_version_id_content_hash_key": ("this bundle is published", ErrorCode.VERSION_EXISTS),
    "tenant_extension_install_tenant_id_registry_id_key": ("the extension is installed", ErrorCode.CONFLICT),
    "tenant_extension_schedule_name": ("a schedule with this name exists for this install", ErrorCode.CONFLICT),
    "ext_storage_schemas_active": ("the namespace has an active schema", ErrorCode.CONFLICT),
}
"""Unique constraint -> what a caller is told. Constraints not named here say that it exists, no more."""

_INVALID = frozenset({"22001", "22003", "22021", "22P02", "22P05", "23514"})
"""A value that no column takes and nobody refused earlier: too long, out of range, NUL, not a UUID, a failed check."""

_UNAVAILABLE_CLASSES = frozenset({"08", "28", "40", "53", "57", "58"})
_UNAVAILABLE = frozenset({"25006", "25P03", "55P03"})
"""Lost, refused, full, in recovery or read-only, too slow, or a race lost to another transaction: later may work."""


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error as the server or the driver told it. `sqlstate` None: the server had no word in it."""

    text: str
    sqlstate: str | None = None
    constraint: str | None = None
    server_detail: str = ""
    is_connection_lost: bool = False
    is_bad_value: bool = False


def meaning(failure: Failure) -> FleetError:
    """The FleetError that the caller of a statement gets."""
    detail = " ".join(part for part in (failure.sqlstate, failure.constraint, failure.text) if part)
    if failure.sqlstate == UNIQUE_VIOLATION:
        message, code = _CONFLICTS.get(failure.constraint or "", ("it exists", ErrorCode.CONFLICT))
        return Conflict(message, code=code, detail=detail)
    if failure.sqlstate == FOREIGN_KEY_VIOLATION:
        if "still referenced" in failure.server_detail:
            return Conflict("it is still in use", detail=detail)
        return NotFound("what it refers to does not exist", detail=detail)
    if failure.is_bad_value or failure.sqlstate in _INVALID:
        return Invalid("a value is not one that can be stored", detail=detail)
    if failure.is_connection_lost or _is_unavailable(failure.sqlstate):
        message = "the database cannot be used now"
        return Unavailable(message, detail=detail, retry_after_seconds=RETRY_AFTER_SECONDS)
    return Internal("the database refused the operation", detail=detail)


def _is_unavailable(sqlstate: str | None) -> bool:
    return sqlstate is not None and (sqlstate in _UNAVAILABLE or sqlstate[:2] in _UNAVAILABLE_CLASSES)
