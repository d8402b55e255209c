"""The body of `POST /v1/execute` and its answer, as host applications have always sent and read them. Pure.

Owns the reading of a lenient format: unknown keys are ignored, limits are clamped and never refused. Everything
that decides whose call it is must be consistent, and is checked here against the routing headers.
"""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any
from urllib.parse import urlencode

import msgspec
from multidict import CIMultiDictProxy

from gateway import endpoints
from schemas import capability, headers, ids
from schemas.call import User
from schemas.errors import Conflict, ErrorCode, Forbidden, Invalid, NotFound, Unprocessable
from schemas.guest_http import GuestRequest, GuestResponse
from schemas.ids import TenantId
from schemas.install import Resolved
from schemas.invocation import MAX_HTTP_TIMEOUT_MS, Limits, SecretEnvelope, Trigger

MISSING_ROUTING = "missing_routing_headers"


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """Whose call it is, as the host application says."""

    tenant_id: str
    extension_id: str
    request_id: str | None = None
    install_id: str | None = None
    version_id: str | None = None
    content_hash: str | None = None
    config: dict[str, Any] | None = None
    trigger: str | None = None
    schedule_id: str | None = None


class Http(msgspec.Struct, frozen=True, kw_only=True):
    """The request for the guest. Query values may be repeated as a list."""

    method: Annotated[str, msgspec.Meta(min_length=1, max_length=16)]
    path: Annotated[str, msgspec.Meta(max_length=4096)]
    query: dict[str, Any] | None = None
    headers: dict[str, str] | None = None
    body_b64: str | None = None


class WantedLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Limits the host application asks for; they only lower what is granted."""

    timeout_ms: float | None = None
    memory_mb: float | None = None
    fuel: float | None = None


class HostUser(msgspec.Struct, frozen=True, kw_only=True):
    """The acting user as the host application states it."""

    user_id: str
    user_email: str = ""
    user_name: str = ""
    user_type: str = "internal"
    client_name: str | None = None
    company_name: str | None = None
    client_id: str | None = None
    additional_fields: dict[str, str] | None = None


class ExecuteBody(msgspec.Struct, frozen=True, kw_only=True):
    """The whole body."""

    context: Context
    http: Http
    limits: WantedLimits | None = None
    providers: list[str] | None = None
    secret_envelope: dict[str, Any] | None = None
    user: HostUser | None = None


_decoder = msgspec.json.Decoder(ExecuteBody)


def parse(data: bytes) -> ExecuteBody:
    """Raises Invalid for what is not JSON of this shape."""
    try:
        return _decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Invalid(f"request body: {error}") from error


def check_routing(body: Context, given: CIMultiDictProxy[str]) -> TenantId:
    """The tenant that headers and body agree on. Raises Invalid, or Forbidden (tenant_mismatch)."""
    tenants, extensions = given.getall(headers.TENANT, ()), given.getall(headers.EXTENSION, ())
    if not tenants or not extensions:
        raise Invalid(MISSING_ROUTING)
    if set(tenants) != {body.tenant_id} or {name.lower() for name in extensions} != {body.extension_id.lower()}:
        raise Forbidden("routing headers and body name different tenants", code=ErrorCode.TENANT_MISMATCH)
    for stated in given.getall(headers.LEGACY_TENANT, ()):
        if stated != body.tenant_id:
            raise Forbidden("headers name different tenants", code=ErrorCode.TENANT_MISMATCH)
    return ids.parse_tenant(body.tenant_id, field="context.tenant_id")


def reference_of(body: Context, given: CIMultiDictProxy[str]) -> str:
    """The install to run: by its own id where one is given, else by the extension's."""
    return body.install_id or given.get(headers.INSTALL_ID) or body.extension_id


def check_resolved(body: Context, given: CIMultiDictProxy[str], resolved: Resolved) -> None:
    """Raises NotFound or Conflict where body or headers name other ids than the registry holds for the tenant."""
    stated = (
        (body.extension_id, resolved.registry),
        (given.get(headers.REGISTRY_ID), resolved.registry),
        (body.install_id, resolved.install),
        (given.get(headers.INSTALL_ID), resolved.install),
    )
    if any(text and text.lower() != held for text, held in stated):
        raise NotFound("the extension is not installed", code=ErrorCode.EXTENSION_NOT_INSTALLED)
    for version in (body.version_id, given.get(headers.VERSION_ID)):
        if version and version.lower() != resolved.version_id:
            raise Conflict("version_id is not the installed version")
    if body.content_hash and ids.parse_content_hash(body.content_hash) != resolved.content_hash:
        raise Conflict("content_hash is not that of the installed version")


def guest_request(http: Http) -> GuestRequest:
    """What the guest sees: `path`, `?` and the query form-encoded, headers as given."""
    path = http.path if http.path.startswith("/") else f"/{http.path}"
    query = urlencode(_query(http.query or {}), doseq=True)
    encoded = endpoints.canonical_query(path.replace("?", "%3F").replace("#", "%23"))
    return GuestRequest(
        method=http.method.upper(),
        url=f"{encoded}?{endpoints.canonical_query(query)}" if query else encoded,
        headers=tuple((http.headers or {}).items()),
        body=_decode_body(http.body_b64),
    )


def limits_of(wanted: WantedLimits | None, resolved: Resolved) -> Limits | None:
    """The limits of this call: clamped to what is granted; None where none were asked for."""
    if wanted is None:
        return None
    granted, fuel = resolved.limits, _positive(wanted.fuel)
    timeout_ms = min(_positive(wanted.timeout_ms) or granted.timeout_ms, MAX_HTTP_TIMEOUT_MS)
    return msgspec.structs.replace(
        granted,
        timeout_ms=min(timeout_ms, granted.timeout_ms),
        async_timeout_ms=min(timeout_ms, granted.async_timeout_ms),
        memory_mb=min(_positive(wanted.memory_mb) or granted.memory_mb, granted.memory_mb),
        fuel=granted.fuel if fuel is None else min(fuel, granted.fuel or fuel),
    )


def providers_of(names: list[str] | None) -> frozenset[str] | None:
    """The capabilities this call is narrowed to; None: not narrowed. Raises Invalid naming all unknown ones."""
    if names is None:
        return None
    known, unknown = set(capability.DEFAULTS), []
    for name in names:
        try:
            known.add(capability.parse_capability(name))
        except Unprocessable:
            unknown.append(name[:80])
    if unknown:
        raise Invalid(f"unknown_capabilities: {', '.join(unknown)}")
    return frozenset(known)


def envelope_of(given: dict[str, Any] | None) -> SecretEnvelope | None:
    """The secrets that came along, still closed; whether they are used is the secrets service's to say."""
    if not given or not isinstance(given.get("ciphertext_b64"), str):
        return None
    known = {field: given.get(field) for field in SecretEnvelope.__struct_fields__}
    return SecretEnvelope(**{name: value for name, value in known.items() if isinstance(value, str)})


def user_of(given: HostUser | None) -> User | None:
    if given is None:
        return None
    return User(
        user_id=given.user_id,
        user_email=given.user_email,
        user_name=given.user_name,
        user_type=given.user_type,
        client_name=given.client_name or given.company_name or "",
        client_id=given.client_id,
        additional_fields=given.additional_fields or {},
    )


def config_of(given: dict[str, Any] | None) -> dict[str, str]:
    """The host's configuration as texts; what the install has itself wins over it."""
    if not given:
        return {}
    return {name: "" if value is None else _text(value) for name, value in given.items()}


def trigger_of(text: str | None) -> Trigger:
    return Trigger(text) if text in ("event", "schedule") else Trigger.HTTP


def answer_of(response: GuestResponse) -> dict[str, Any]:
    """The envelope of a completed call; repeats of a header are joined, cookies dropped."""
    joined: dict[str, str] = {}
    for name, value in response.headers:
        lowered = name.lower()
        if lowered != "set-cookie":
            joined[lowered] = f"{joined[lowered]}, {value}" if lowered in joined else value
    envelope: dict[str, Any] = {"status": response.status, "headers": joined}
    if response.body is not None:
        envelope["body_b64"] = base64.b64encode(response.body).decode()
    return envelope


def error_text(code: ErrorCode, message: str) -> str:
    """The `error` string hosts know for a code; codes they never had stand for themselves."""
    match code:
        case ErrorCode.INVALID_REQUEST:
            return message
        case ErrorCode.BUNDLE_INTEGRITY | ErrorCode.DEPENDENCY_UNAVAILABLE:
            return f"bundle_fetch_failed: {message}"
        case ErrorCode.INTERNAL:
            return f"engine_init_failed: {message}"
        case ErrorCode.GUEST_TRAP | ErrorCode.GUEST_MEMORY | ErrorCode.GUEST_BAD_RESPONSE | ErrorCode.DEADLINE_EXCEEDED:
            return f"execute_failed: {code.value}"
        case _:
            return code.value


def _decode_body(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Invalid("http.body_b64 is not base64") from error


def _query(given: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [_text(one) for one in value] if isinstance(value, list) else _text(value)
        for name, value in given.items()
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _positive(value: float | None) -> int | None:
    """A number of a host as a whole one; absent, zero and negative mean the default, never "at once"."""
    if value is None or not 1 <= value <= 1e15:
        return None
    return int(value)
