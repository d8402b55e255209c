"""`/api/ext-bundles/*`: an upload into the staging area, its publication, its end; and what became of versions.

Owns the upload's bounds: it streams to the store, is counted on the way and never held whole. What a
bundle must be, and who may publish under which name, is decided by the registry process.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import uuid4

import msgspec
from pydantic import Field

from gateway import access, bodies, callers, keys, publish_client
from gateway.json_bodies import Body
from gateway.operations import Access, Call, Operation
from registry.bundle_directory import Written
from schemas import bundle, ids
from schemas.errors import Invalid, NotFound, TooLarge
from schemas.ids import RegistryId, VersionId
from schemas.publishing import PUBLISH_DEADLINE_SECONDS, PublishRequest

CANONICAL_PREFIXES = ("sha256/", "cwasm/")
MAX_FILENAME_CHARACTERS = 255
UPLOAD_SECONDS = bodies.LONGEST_SECONDS + 60


class SignatureBody(Body):
    """`text` is the `SIGNATURE` document, `algorithm` ed25519 or x509."""

    text: Annotated[str, Field(min_length=1, max_length=bundle.MAX_SIGNATURE_BYTES)]
    algorithm: Annotated[str, Field(max_length=32)] | None = None


class Finalize(Body):
    """`declaredHash` is bare hex; `manifestJson` must equal the archive's own manifest, as JSON."""

    key: Annotated[str, Field(min_length=1, max_length=400)]
    size: Annotated[int, Field(ge=1)] | None = None
    declared_hash: Annotated[str | None, Field(alias="declaredHash", max_length=80)] = None
    manifest_json: Annotated[str | None, Field(alias="manifestJson", max_length=512 * 1024)] = None
    signature: SignatureBody | None = None


class Abort(Body):
    """Give up a staged upload."""

    key: Annotated[str, Field(min_length=1, max_length=400)]
    reason: Annotated[str, Field(max_length=500)] | None = None


class VersionState(Body):
    """Withdrawn: nobody installs it any more. Quarantined: it runs nowhere; an operator's to say and to lift."""

    state: Literal["active", "withdrawn", "quarantined"]


async def upload(call: Call) -> object:
    request = call.request
    limit = request.app[keys.SETTINGS].gateway.max_upload_bytes
    declared = _declared(request.query.get("declaredHash"))
    filename = _filename(request.query.get("filename", ""))
    size = _size(request.query.get("size"), limit)
    bodies.check_length(request, limit=limit)
    key = bundle.staging_key(callers.tenant_of(call.identity), str(uuid4()))
    store = request.app[keys.STORE]
    written = await store.put_stream(key, bodies.chunks(request, limit=limit), max_bytes=limit)
    problem = _problem_of(written, size, declared)
    if problem is not None:
        await store.delete(key)
        raise Invalid(problem)
    answer: dict[str, Any] = {
        "upload": {"key": key, "strategy": "staging"},
        "filename": filename,
        "size": written.size,
    }
    return answer if declared is None else {**answer, "declaredHash": ids.hex_of(declared)}


async def finalize(call: Call) -> object:
    body: Finalize = call.body
    request = call.request
    principal = call.identity.principal
    published = await publish_client.publish(
        request.app[keys.MESSAGING],
        PublishRequest(
            staging_key=_own_staging_key(call, body.key),
            publisher_id=access.check_publisher(principal),
            request_id=call.context.request_id,
            principal=principal.key_id or "",
            tenant=call.identity.tenant,
            declared_hash=_declared(body.declared_hash),
            size_bytes=body.size,
            manifest_json=body.manifest_json,
            signature_text=None if body.signature is None else body.signature.text,
            algorithm=None if body.signature is None else body.signature.algorithm,
        ),
        clock=request.app[keys.CLOCK],
    )
    return {
        "extension": {"id": published.extension_id, "name": published.name, "publisher": published.publisher},
        "version": {"id": published.version_id, "version": published.version},
        "contentHash": ids.hex_of(published.content_hash),
        "canonicalKey": published.canonical_key,
        "imports": list(published.imports),
        "warnings": list(published.warnings),
    }


async def abort(call: Call) -> object:
    body: Abort = call.body
    if body.key.startswith(CANONICAL_PREFIXES):
        return {"status": "noop", "key": body.key, "area": "canonical"}
    key = _own_staging_key(call, body.key)
    existed = await call.request.app[keys.STORE].delete(key)
    return {"status": "deleted" if existed else "noop", "key": key, "area": "staging"}


async def list_versions(call: Call) -> object:
    registry = ids.parse_uuid(call.request.match_info["extension"], field="extension")
    found = await call.request.app[keys.BUNDLES].list_versions(RegistryId(registry))
    items: list[Any] = [msgspec.to_builtins(version) for version in found]
    return {"data": items}


async def set_state(call: Call) -> object:
    body: VersionState = call.body
    version = ids.parse_uuid(call.request.match_info["version"], field="version")
    await call.request.app[keys.BUNDLES].set_state(call.context, VersionId(version), body.state)
    return {"data": {"version_id": version, "state": body.state}}


def _own_staging_key(call: Call, key: str) -> str:
    """The key, if it is of an upload of the caller's tenant; others' uploads do not exist for them."""
    upload_id = key.removeprefix(f"tenants/{callers.tenant_of(call.identity)}/_staging/").removesuffix(
        "/bundle.tar.zst"
    )
    if not ids.is_uuid(upload_id) or key != bundle.staging_key(callers.tenant_of(call.identity), upload_id):
        raise NotFound("key: there is no such staged upload")
    return key


def _problem_of(written: Written, size: int | None, declared: ids.ContentHash | None) -> str | None:
    """Why what came is not what was announced, or None."""
    if written.size == 0:
        return "request body is empty, a bundle was expected"
    if size is not None and written.size != size:
        return f"size: {size} bytes were announced, {written.size} came"
    if declared is not None and written.sha256 != ids.hex_of(declared):
        return f"declaredHash: the bytes that came have {written.sha256}"
    return None


def _declared(text: str | None) -> ids.ContentHash | None:
    return None if text is None else ids.parse_content_hash(text, field="declaredHash")


def _filename(text: str) -> str:
    if len(text) > MAX_FILENAME_CHARACTERS or not text.isprintable():
        raise Invalid(f"filename must be printable and at most {MAX_FILENAME_CHARACTERS} characters")
    return text or "bundle.tar.zst"


def _size(text: str | None, limit: int) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise Invalid(f"size must be a number of bytes, not {text[:20]!r}")
    if int(text) > limit:
        raise TooLarge(f"size: the bundle has {text} bytes, over the limit of {limit}")
    return int(text)


OPERATIONS = (
    Operation(
        "POST",
        "/api/ext-bundles/upload-proxy",
        Access.PUBLISHER,
        upload,
        "Stage a bundle; the body is its bytes",
        query=("filename", "size", "declaredHash"),
        deadline_seconds=UPLOAD_SECONDS,
    ),
    Operation(
        "POST",
        "/api/ext-bundles/finalize",
        Access.PUBLISHER,
        finalize,
        "Publish a staged bundle",
        model=Finalize,
        deadline_seconds=PUBLISH_DEADLINE_SECONDS,
    ),
    Operation("POST", "/api/ext-bundles/abort", Access.PUBLISHER, abort, "Give up a staged bundle", model=Abort),
    Operation(
        "GET", "/api/v1/extensions/{extension}/versions", Access.READ, list_versions, "List an extension's versions"
    ),
    Operation(
        "PATCH",
        "/api/v1/versions/{version}",
        Access.CURATOR,
        set_state,
        "Withdraw, quarantine or reactivate a version",
        model=VersionState,
    ),
)
