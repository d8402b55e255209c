"""A bundle on its way to become a version, and what its rows will say. Pure.

Owns the columns of `extension_version` and `extension_bundle`; `registry/bundles.py` writes them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

from registry.archive import Archive
from registry.publishers import Publisher
from registry.signing import Verified, encode_signature
from schemas import bundle, capability
from schemas.bundle import COMPONENT_PATH
from schemas.ids import ContentHash, RegistryId, VersionId
from schemas.manifest import Manifest

_IMPORT_PREFIX = "alga:extension/"


class Build(msgspec.Struct, frozen=True, kw_only=True):
    """A component compiled for one engine, in the store with its load record. `imports`: the component's real ones.

    `sha256` and `size_bytes` are the cwasm's, `signature` is the load record's, in base64.
    """

    content_hash: ContentHash
    engine_fingerprint: str
    sha256: str
    size_bytes: int
    signature: str
    build_key_id: str
    built_at: datetime
    imports: tuple[str, ...]


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """A bundle that was read, verified and compiled: all that its rows say. `build` None: there is no code."""

    version_id: VersionId
    publisher: Publisher
    archive: Archive
    manifest: Manifest
    verified: Verified
    verified_at: datetime
    build: Build | None

    @property
    def imports(self) -> tuple[str, ...]:
        return self.build.imports if self.build else ()


def version_row(registry: RegistryId, version: str, candidate: Candidate) -> tuple[object, ...]:
    """The arguments of `insert_version`."""
    manifest = candidate.manifest
    has_component = COMPONENT_PATH in candidate.archive.files
    return (
        candidate.version_id,
        registry,
        version,
        manifest.runtime,
        manifest.document.get("entry", COMPONENT_PATH) if has_component else None,
        manifest.document.get("api"),
        manifest.document.get("ui"),
        sorted(manifest.capabilities),
        _endpoints(manifest),
        manifest.document,
        manifest.sha256,
        [msgspec.to_builtins(event) for event in manifest.events],
        list(manifest.egress),
        msgspec.to_builtins(manifest.limits),
        list(candidate.imports),
    )


def bundle_row(candidate: Candidate) -> tuple[object, ...]:
    """The arguments of `insert_bundle`."""
    archive, signature = candidate.archive, candidate.verified.signature
    return (
        candidate.version_id,
        archive.content_hash,
        encode_signature(signature).decode(),
        candidate.manifest.precompiled or None,
        bundle.bundle_key(archive.content_hash),
        archive.packed_bytes,
        msgspec.to_builtins(candidate.verified.statement),
        signature.algorithm,
        signature.key_id,
        candidate.verified_at,
        msgspec.to_builtins(archive.files),
    )


def warnings_of(imports: tuple[str, ...], asked: frozenset[str]) -> tuple[str, ...]:
    """What an author should know: imports whose capabilities the manifest does not ask for. They grant nothing."""
    unasked = []
    for name in imports:
        interface = capability.INTERFACES.get(name.removeprefix(_IMPORT_PREFIX))
        if interface is not None and interface.capability not in asked | capability.DEFAULTS:
            unasked.append(interface.name)
    if not unasked:
        return ()
    return (f"the component imports {', '.join(unasked)} without asking for it; such calls will be refused",)


def _endpoints(manifest: Manifest) -> list[dict[str, Any]]:
    """As the manifest has them, further keys too, with what we read in its normal form."""
    written = (manifest.document.get("api") or {}).get("endpoints", ())
    return [{**raw, **msgspec.to_builtins(endpoint)} for raw, endpoint in zip(written, manifest.endpoints, strict=True)]
