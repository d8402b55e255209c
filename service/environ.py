"""The only reader of the environment: `ALGA_` names into a frozen settings struct, typed; unknown names fail.

A settings struct is a frozen msgspec.Struct of plain fields and of groups. The field `nats` of type `NatsSettings`
with a field `url` reads `ALGA_NATS_URL`. Kubernetes service links are ignored (`design.md`, Settings).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import msgspec
import orjson

from schemas.errors import Invalid

PREFIX = "ALGA_"
CLI_NAMES = frozenset(
    {
        "ALGA_API_KEY",
        "ALGA_TENANT",
        "ALGA_TENANT_ID",
        "ALGA_API_BASE_URL",
        "ALGA_EXTENSION_VERSION",
        "ALGA_DATA_DIRECTORY",
    }
)
"""What the command line reads; no process stops because its user's shell has them set."""
NAMES = Path(__file__).resolve().parents[1] / "schemas" / "json" / "settings.json"
"""Every name of every process, generated from their settings: one set of variables may serve all of them."""
_SERVICE_LINK = re.compile(r"_SERVICE_HOST$|_SERVICE_PORT|_PORT_[0-9]+_(TCP|UDP)")
_SECRET = re.compile(r"password|secret|token|key(?!_file|_directory|s_file)|dsn", re.ASCII)

T = TypeVar("T", bound=msgspec.Struct)


def read(settings_type: type[T], *, environ: Mapping[str, str] | None = None) -> T:
    """The settings of a process; names of the other processes may be present too (`NAMES`).

    Raises Invalid naming the variable that is unknown, missing or malformed.
    """
    values = {name: text for name, text in (environ or os.environ).items() if name.startswith(PREFIX)}
    names = dict(_names(settings_type))
    _refuse_unknown(values, frozenset(names) | CLI_NAMES | frozenset(orjson.loads(NAMES.read_bytes())["names"]))
    return _build(settings_type, values, PREFIX)


def variables(settings_type: type[msgspec.Struct]) -> frozenset[str]:
    """The names that a settings struct reads."""
    return frozenset(name for name, _ in _names(settings_type))


def get(name: str) -> str | None:
    """One of the command line's own names."""
    if name not in CLI_NAMES:
        raise ValueError(f"{name} is not a name of the command line")
    return os.environ.get(name) or None


def child(additions: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process of ours that we start: the caller's without its ALGA_ names, plus `additions`.

    RUST_BACKTRACE is dropped: it slows the engine's error path by a factor of forty.
    """
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(PREFIX)}
    inherited.pop("RUST_BACKTRACE", None)
    return {**inherited, **additions}


def masked(settings: msgspec.Struct) -> dict[str, Any]:
    """The settings as they may be printed: secrets are replaced."""
    shown: dict[str, Any] = {}
    for field in msgspec.structs.fields(settings):
        value = getattr(settings, field.name)
        if isinstance(value, msgspec.Struct):
            shown[field.name] = masked(value)
        else:
            shown[field.name] = "***" if value and _SECRET.search(field.name) else _without_password(value)
    return shown


def _without_password(value: object) -> object:
    return re.sub(r"://([^:/@]*):[^@/]*@", r"://\1:***@", value) if isinstance(value, str) else value


def _refuse_unknown(values: Mapping[str, str], known: frozenset[str]) -> None:
    for name, text in sorted(values.items()):
        if name in known or _SERVICE_LINK.search(name) or (name.endswith("_PORT") and text.startswith("tcp://")):
            continue
        raise Invalid(f"setting {name} is not known to this process")


def _names(settings_type: type[msgspec.Struct], prefix: str = PREFIX) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(settings_type)
    for field in msgspec.structs.fields(settings_type):
        group = _group(hints[field.name])
        name = prefix + field.encode_name.upper()
        if group is None:
            yield name, field
        else:
            yield from _names(group, f"{name}_")


def _group(annotation: Any) -> type[msgspec.Struct] | None:
    options = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    for option in options:
        if isinstance(option, type) and issubclass(option, msgspec.Struct):
            return option
    return None


def _build(settings_type: type[T], values: Mapping[str, str], prefix: str) -> T:
    hints = get_type_hints(settings_type)
    given: dict[str, Any] = {}
    for field in msgspec.structs.fields(settings_type):
        name = prefix + field.encode_name.upper()
        group = _group(hints[field.name])
        if group is not None:
            given[field.name] = _build(group, values, f"{name}_")
        elif values.get(name, "") != "":
            given[field.name] = _convert(name, values[name], hints[field.name])
        elif field.required:
            raise Invalid(f"setting {name} is required and not set")
    return settings_type(**given)


def _convert(name: str, text: str, annotation: Any) -> Any:
    wants_list = get_origin(annotation) is tuple
    raw: Any = [part.strip() for part in text.split(",") if part.strip()] if wants_list else text
    try:
        return msgspec.convert(raw, annotation, strict=False)
    except msgspec.ValidationError as error:
        raise Invalid(f"setting {name} is not acceptable: {error}") from error
