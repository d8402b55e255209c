"""The structure of `manifest.json` as people write it; the JSON Schema of the manifest is generated from it.

Owns which fields there are and which rule holds each. The rules are `schemas/manifest_rules.py`'s; wording of
structural problems and rules across fields are `schemas/manifest.py`'s.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from schemas import capability, egress, manifest_rules, versions
from schemas.errors import Invalid
from schemas.invocation import MAX_ASYNC_TIMEOUT_MS, MAX_HTTP_TIMEOUT_MS

MAX_ENDPOINTS = 200
MAX_EVENTS = 50
MAX_FILTERS = 16
MAX_PUBLISHER = 100
MAX_EGRESS = egress.MAX_ENTRIES

T = TypeVar("T")


def _raising_value_errors(rule: Callable[[T], T]) -> Callable[[T], T]:
    """Our rules raise Invalid; pydantic collects ValueErrors."""

    def checked(value: T) -> T:
        try:
            return rule(value)
        except Invalid as problem:
            raise ValueError(problem.message) from problem

    return checked


def _rule(rule: Callable[[str], str]) -> AfterValidator:
    return AfterValidator(_raising_value_errors(rule))


def _size(maximum: int, pattern: str | None = None) -> FieldInfo:
    """Of a string that is not empty. `pattern` is for the JSON Schema only, the rule decides."""
    schema: dict[str, Any] = {"pattern": f"^(?:{pattern})$"} if pattern else {}
    info: FieldInfo = Field(min_length=1, max_length=maximum, json_schema_extra=schema)
    return info


def _version(text: str) -> str:
    return str(versions.parse_reference(text, field="it"))


def _egress(text: str) -> str:
    return egress.parse_entry(text, field="the entry").text


_PATH = manifest_rules.MAX_PATH
Name = Annotated[str, _size(manifest_rules.MAX_NAME, manifest_rules.NAME_PATTERN), _rule(manifest_rules.name)]
Publisher = Annotated[str, _size(MAX_PUBLISHER), _rule(manifest_rules.publisher)]
Version = Annotated[str, _size(versions.MAX_CHARACTERS), _rule(_version)]
Capability = Annotated[str, _size(_PATH), _rule(capability.parse_capability)]
Egress = Annotated[str, _size(egress.MAX_ENTRY_CHARACTERS), _rule(_egress)]
Label = Annotated[str, _size(_PATH), _rule(manifest_rules.label)]
Method = Annotated[str, _size(_PATH), _rule(manifest_rules.method)]
EndpointPath = Annotated[str, _size(_PATH), _rule(manifest_rules.endpoint_path)]
Handler = Annotated[str, _size(_PATH), _rule(manifest_rules.handler)]
EventHandler = Annotated[str, _size(_PATH), _rule(manifest_rules.event_handler)]
Topic = Annotated[
    str, _size(manifest_rules.MAX_TOPIC, manifest_rules.TOPIC_PATTERN), _rule(manifest_rules.topic_pattern)
]
FilterPath = Annotated[str, _size(manifest_rules.MAX_TOPIC), _rule(manifest_rules.filter_path)]
FilterValue = Annotated[Any, BeforeValidator(_raising_value_errors(manifest_rules.filter_value))]
FilePath = Annotated[str, _size(_PATH), _rule(manifest_rules.file_path)]
UiFile = Annotated[str, _size(_PATH, "ui/.+"), _rule(manifest_rules.ui_file)]
Entry = Annotated[str, _size(_PATH, manifest_rules.ENTRY_PATTERN), _rule(manifest_rules.entry)]


class _Tolerant(BaseModel):
    """Fields nobody knows are kept: existing manifests have some."""

    model_config = ConfigDict(strict=True, extra="allow")


class _Closed(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class HookShape(_Tolerant):
    label: Label


class HooksShape(_Tolerant):
    appMenu: HookShape | None = None
    clientPortalMenu: HookShape | None = None


class UiShape(_Tolerant):
    type: Literal["iframe"]
    entry: UiFile
    hooks: HooksShape | None = None
    routes: list[dict[str, Any]] = []


class EndpointShape(_Tolerant):
    method: Method
    path: EndpointPath
    handler: Handler
    idempotent: bool = False


class ApiShape(_Tolerant):
    endpoints: Annotated[list[EndpointShape], Field(max_length=MAX_ENDPOINTS)]


class EventShape(_Tolerant):
    topic: Topic
    handler: EventHandler
    filter: Annotated[dict[FilterPath, FilterValue], Field(max_length=MAX_FILTERS)] = {}


class LimitsShape(_Closed):
    timeout_ms: Annotated[int, Field(ge=100, le=MAX_HTTP_TIMEOUT_MS)] | None = None
    async_timeout_ms: Annotated[int, Field(ge=100, le=MAX_ASYNC_TIMEOUT_MS)] | None = None
    memory_mb: Annotated[int, Field(ge=16, le=256)] | None = None
    concurrency: Annotated[int, Field(ge=1, le=64)] | None = None
    reuse: Annotated[int, Field(ge=1, le=1_000)] | None = None


class ManifestShape(_Closed):
    """Manifest v2 of an Alga extension; fields that start with `x-` are ignored."""

    name: Name
    publisher: Publisher
    version: Version
    runtime: Literal["wasm-js@1", "wasm-component@1"]
    capabilities: list[Capability] = []
    ui: UiShape | None = None
    api: ApiShape | None = None
    events: Annotated[list[EventShape], Field(max_length=MAX_EVENTS)] = []
    egress: Annotated[list[Egress], Field(max_length=MAX_EGRESS)] = []
    limits: LimitsShape = LimitsShape()
    assets: list[str] = []
    sbom: FilePath | None = None
    precompiled: dict[str, FilePath] = {}
    entry: Entry | None = None
