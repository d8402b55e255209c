"""Publishing on the wire: a staged upload on its way to the registry process, and what became of it.

Owns the messages on `ext.publish` and `ext.precompile`. The asker listens on one inbox: `PublishAlive` every
second, then exactly one `Published` or `PublishFailed`. Both requests are single-flight and repeatable.
"""

from __future__ import annotations

from typing import Any

from schemas.codec import Wire
from schemas.errors import ErrorCode
from schemas.ids import ContentHash, PublisherId, TenantId, VersionId

PUBLISH_DEADLINE_SECONDS = 120.0
PUBLISH_ALIVE_EVERY_SECONDS = 1.0
PUBLISH_LOST_AFTER_SECONDS = 5.0
"""Nothing heard for so long: the registry process is gone, and finalize may be asked again with the same key."""


class PublishRequest(Wire, frozen=True, tag="publish"):
    """Publish what was staged under `staging_key`. Its publisher is who was authenticated, never what a body says.

    `declared_hash`, `size_bytes` and `manifest_json` must agree with the archive where they are given. `signature_text`
    is the `SIGNATURE` document, `algorithm` what the caller called it. `tenant` is the key's, None for an operator's.
    `principal` names the caller for the audit row.
    """

    staging_key: str
    publisher_id: PublisherId
    request_id: str
    principal: str
    tenant: TenantId | None = None
    declared_hash: ContentHash | None = None
    size_bytes: int | None = None
    manifest_json: str | None = None
    signature_text: str | None = None
    algorithm: str | None = None


class PublishAlive(Wire, frozen=True, tag="publish-alive"):
    """Still at it. `step`: which part of the pipeline runs, for people."""

    step: str = ""


class Published(Wire, frozen=True, tag="published"):
    """A version exists now; `version` is the resolved one. `imports`: the component's real host imports.

    `warnings` are sentences, for example imports beyond the manifest's capabilities. `canonical_key` is the bundle's
    key in the store.
    """

    extension_id: str
    name: str
    publisher: str
    version_id: VersionId
    version: str
    content_hash: ContentHash
    canonical_key: str
    imports: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class PublishFailed(Wire, frozen=True, tag="publish-failed"):
    """Nothing was published. The fields are those of `schemas.errors.FleetError`."""

    code: ErrorCode
    message: str
    extra: dict[str, Any] = {}
    retry_after_seconds: float | None = None


PublishReply = PublishAlive | Published | PublishFailed


class PrecompileRequest(Wire, frozen=True, tag="precompile"):
    """Make the cwasm of a published bundle for this engine again, from the canonical bundle, verified again.

    `refused_sha256`: of a cwasm that is what its load record says, and that an engine would not load all the same.
    """

    content_hash: ContentHash
    engine_fingerprint: str
    refused_sha256: str | None = None


class Precompiled(Wire, frozen=True, tag="precompiled"):
    """The cwasm and its load record are in the store. Failures are `PublishFailed`, signs of life `PublishAlive`."""

    content_hash: ContentHash
    engine_fingerprint: str


PrecompileReply = PublishAlive | Precompiled | PublishFailed
