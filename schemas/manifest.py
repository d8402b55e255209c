"""Manifest v2: the one parser, the same for `alga pack`, publish and gateway.

Owns the order of the checks, the wording of structural problems, the rules across fields and the parsed form. It
answers all problems at once. Whether the publisher owns the name, and whether the files named are in the bundle, are
the publish pipeline's to check.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import msgspec
from pydantic import ValidationError

from schemas import strict_json
from schemas.capability import EVENTS_SUBSCRIBE
from schemas.errors import ErrorCode, Invalid, Unprocessable
from schemas.install import Endpoint
from schemas.manifest_rules import endpoint_path
from schemas.manifest_shape import ManifestShape

MAX_BYTES = 256 * 1024
MAX_PROBLEMS = 100
UNMATCHED_METHODS = frozenset({"HEAD", "OPTIONS"})
"""Accepted in `api.endpoints`, never matched: the gateway answers them by itself."""
_LEGACY = frozenset(
    {
        "id",
        "main",
        "extensionPoints",
        "extension_points",
        "permissions",
        "settings",
        "descriptor",
        "descriptors",
        "components",
        "navigation",
        "routes",
        "pages",
        "autoRegister",
        "autoRegisterExtensionPoints",
        "minAlgaVersion",
        "manifestVersion",
        "manifest_version",
    }
)
_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong: where, as `api.endpoints[0].path` (`$` is the document), and a sentence without its subject."""

    path: str
    message: str


class EventWish(msgspec.Struct, frozen=True, kw_only=True):
    """One declared subscription. `handler` as written; `request_path` says what it means."""

    topic: str
    handler: str
    filter: dict[str, Any] = {}


class Ui(msgspec.Struct, frozen=True, kw_only=True):
    """`entry` is a file below `ui/`. `hooks` as written; unknown ones are kept."""

    entry: str
    hooks: dict[str, Any] = {}


class RequestedLimits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a manifest asks for; None: it does not ask. Milliseconds and MiB."""

    timeout_ms: int | None = None
    async_timeout_ms: int | None = None
    memory_mb: int | None = None
    concurrency: int | None = None
    reuse: int | None = None


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """A valid manifest.

    `version` is its text, possibly `X.Y.*`. `capabilities` are canonical names, `cap:events.subscribe` among them
    where events are declared. `egress` are canonical entries. `endpoints` include those with UNMATCHED_METHODS.
    `document` is the whole JSON value, unknown fields too; `sha256` the hex digest of its bytes as in the archive.
    """

    name: str
    publisher: str
    version: str
    runtime: str
    capabilities: frozenset[str]
    endpoints: tuple[Endpoint, ...]
    events: tuple[EventWish, ...]
    egress: tuple[str, ...]
    limits: RequestedLimits
    ui: Ui | None
    sbom: str | None
    precompiled: dict[str, str]
    document: dict[str, Any]
    sha256: str

    @property
    def client_portal(self) -> bool:
        """Whether it opts in to client-portal users."""
        return self.ui is not None and self.ui.hooks.get("clientPortalMenu") is not None

    @property
    def needs_component(self) -> bool:
        """Whether something can call its code."""
        return bool(self.endpoints or self.events)


def parse(data: bytes) -> Manifest:
    """The manifest behind the bytes of `manifest.json`.

    Raises Unprocessable (manifest_invalid) with every problem in `extra["problems"]`, each `{path, message}`.
    """
    try:
        document = strict_json.read(data, max_bytes=MAX_BYTES, what="manifest.json")
    except Invalid as error:
        raise _refusal([Problem("$", error.message)]) from error
    problems = find_problems(document)
    if problems:
        raise _refusal(problems)
    return _parsed(document, hashlib.sha256(data).hexdigest())


def find_problems(document: Any) -> list[Problem]:
    """All that is wrong with a manifest's JSON value; empty when it is valid."""
    if not isinstance(document, dict):
        return [Problem("$", f"must be an object, not {_kind(document)}")]
    legacy = sorted(_LEGACY & document.keys()) if "runtime" not in document else []
    hint = [Problem("$", _LEGACY_HINT.format(", ".join(legacy)))] if legacy else []
    return [*hint, *_shape_problems(document), *_repeated_endpoints(document)]


def same_document(data: bytes, other: bytes) -> bool:
    """Whether two documents are one JSON value, whatever their spelling. Raises Invalid where one is not JSON."""
    ours, theirs = (strict_json.read(text, max_bytes=MAX_BYTES, what="manifest") for text in (data, other))
    return strict_json.canonical(ours) == strict_json.canonical(theirs)


def request_path(handler: str, topic: str) -> str:
    """The path on which an event of this topic (no pattern) calls a declared handler."""
    return endpoint_path(handler) if handler.startswith("/") else f"/events/{topic}"


def json_schema() -> dict[str, Any]:
    """The JSON Schema of `manifest.json`, for editors. It states structure; `parse` decides."""
    schema = ManifestShape.model_json_schema()
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Alga extension manifest v2",
        "patternProperties": {"^x-": True},
    }


_LEGACY_HINT = (
    "looks like a legacy v1 descriptor manifest (it has {}); manifest v2 has name, publisher, version and runtime, "
    "its UI in ui, its endpoints in api.endpoints, its permissions in capabilities, its subscriptions in events"
)


def _parsed(document: dict[str, Any], sha256: str) -> Manifest:
    shape = ManifestShape.model_validate(_known(document))
    events = tuple(EventWish(topic=e.topic, handler=e.handler, filter=e.filter) for e in shape.events)
    implied = {EVENTS_SUBSCRIBE} if events else set()
    hooks = shape.ui.hooks.model_dump(exclude_none=True) if shape.ui and shape.ui.hooks else {}
    return Manifest(
        name=shape.name,
        publisher=shape.publisher,
        version=shape.version,
        runtime=shape.runtime,
        capabilities=frozenset(shape.capabilities) | implied,
        endpoints=tuple(
            Endpoint(method=e.method, path=e.path, handler=e.handler, idempotent=e.idempotent)
            for e in (shape.api.endpoints if shape.api else ())
        ),
        events=events,
        egress=tuple(dict.fromkeys(shape.egress)),
        limits=RequestedLimits(**shape.limits.model_dump()),
        ui=Ui(entry=shape.ui.entry, hooks=hooks) if shape.ui else None,
        sbom=shape.sbom,
        precompiled=shape.precompiled,
        document=document,
        sha256=sha256,
    )


def _known(document: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in document.items() if not key.startswith("x-")}


def _shape_problems(document: dict[str, Any]) -> list[Problem]:
    try:
        ManifestShape.model_validate(_known(document))
    except ValidationError as error:
        return [Problem(_path(e["loc"]), _message(e["type"], e["input"], e.get("ctx", {}))) for e in error.errors()]
    return []


def _repeated_endpoints(document: dict[str, Any]) -> Iterator[Problem]:
    """Two endpoints that the gateway could not tell apart; entries with problems of their own are passed over."""
    first: dict[tuple[str, str], int] = {}
    for index, key in _endpoint_keys(document):
        if key in first:
            where = f"api.endpoints[{first[key]}]"
            yield Problem(f"api.endpoints[{index}]", f"has the method and path of {where}: {key[0]} {key[1]}")
        first.setdefault(key, index)


def _endpoint_keys(document: dict[str, Any]) -> Iterator[tuple[int, tuple[str, str]]]:
    api = document.get("api")
    endpoints = api.get("endpoints") if isinstance(api, dict) else None
    for index, endpoint in enumerate(endpoints if isinstance(endpoints, list) else ()):
        if not isinstance(endpoint, dict):
            continue
        method, path = endpoint.get("method"), endpoint.get("path")
        if not (isinstance(method, str) and isinstance(path, str)):
            continue
        try:
            blanked = re.sub(r"/:[^/]+", "/:", endpoint_path(path))
        except Invalid:
            continue
        yield index, (method.upper(), blanked)


def _path(location: tuple[int | str, ...]) -> str:
    path = ""
    for part in location:
        if part == "[key]":
            continue
        if isinstance(part, str) and _PLAIN_KEY.fullmatch(part):
            path += f".{part}"
        else:
            path += f"[{part}]" if isinstance(part, int) else f'["{part[:80]}"]'
    return path.removeprefix(".") or "$"


def _message(kind: str, value: Any, context: dict[str, Any]) -> str:
    """Our sentence for pydantic's kind of error; a new kind of theirs still gets a true, if plain, one."""
    if kind == "value_error":
        return str(context["error"])
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}, not {_kind(value)}"
    if kind in _BOUNDS:
        return _BOUNDS[kind].format(value=value, **context)
    if kind == "literal_error":
        shown = repr(value[:80]) if isinstance(value, str) else _kind(value)
        return f"must be {context['expected']}, not {shown}"
    return _FIXED.get(kind, "is not valid")


_FIXED = {"missing": "is required", "extra_forbidden": "is not a field of manifest v2"}
_WANTED = {
    "string_type": "a string",
    "int_type": "an integer",
    "bool_type": "true or false",
    "list_type": "an array",
    "dict_type": "an object",
    "model_type": "an object",
}
_BOUNDS = {
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters",
    "too_long": "must have at most {max_length} entries, not {actual_length}",
    "greater_than_equal": "must be at least {ge}, not {value}",
    "less_than_equal": "must be at most {le}, not {value}",
}


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "null" if value is None else "an array" if isinstance(value, list) else "an object"


def _refusal(problems: list[Problem]) -> Unprocessable:
    shown = problems[:MAX_PROBLEMS]
    if len(problems) > MAX_PROBLEMS:
        shown.append(Problem("$", f"has {len(problems) - MAX_PROBLEMS} further problems"))
    first = f"{shown[0].path} {shown[0].message}" if shown[0].path != "$" else f"manifest {shown[0].message}"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return Unprocessable(
        first + more,
        code=ErrorCode.MANIFEST_INVALID,
        extra={"problems": [msgspec.to_builtins(problem) for problem in shown]},
    )
