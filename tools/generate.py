"""Writes what is generated and checked in: JSON Schemas, the OpenAPI document, reference pages. `--check` compares.

Not part of any process: `make generate` and `make check` run it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import orjson

from gateway import openapi
from gateway.settings import GatewaySettings
from registry.settings import RegistrySettings
from schemas import bundle, host, install, invocation, manifest, publishing, record, ticket
from service import environ
from tools import settings_page, status_page
from worker.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[1]
_WIRE: tuple[type, ...] = (
    invocation.ExecuteRequest,
    invocation.Accepted,
    invocation.Alive,
    invocation.Refused,
    invocation.Finished,
    invocation.Cancel,
    host.HostRequest,
    host.HostAnswer,
    host.HostFailure,
    install.InstallChanged,
    record.RecordBatch,
    ticket.Ticket,
    ticket.UserStatement,
    bundle.Statement,
    bundle.Signature,
    bundle.LoadRecord,
    bundle.SignedLoadRecord,
    publishing.PublishRequest,
    publishing.Published,
    publishing.PublishFailed,
)


def _wire() -> dict[str, object]:
    """Shapes that cross process boundaries; MessagePack `bin` shows as base64 text, as JSON Schema has no bytes."""
    _, components = msgspec.json.schema_components(_WIRE, ref_template="#/$defs/{name}")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": components}


def _settings() -> dict[str, object]:
    """Every ALGA_ name of every process."""
    names = environ.variables(GatewaySettings) | environ.variables(RegistrySettings) | environ.variables(WorkerSettings)
    return {"names": sorted(names)}


def _json(document: Callable[[], Mapping[str, object]]) -> Callable[[], bytes]:
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    return lambda: orjson.dumps(document(), option=options)


DOCUMENTS: dict[str, Callable[[], bytes]] = {
    "schemas/json/manifest.json": _json(manifest.json_schema),
    "schemas/json/wire.json": _json(_wire),
    "schemas/json/openapi.json": _json(openapi.document),
    "schemas/json/settings.json": _json(_settings),
    "docs/reference/settings.md": lambda: settings_page.render().encode(),
    "docs/reference/status-codes.md": lambda: status_page.render().encode(),
}
"""Path in the tree -> what it must hold."""


def main(arguments: list[str]) -> int:
    current = {name: document() for name, document in DOCUMENTS.items()}
    stale = [name for name, text in current.items() if not _holds(ROOT / name, text)]
    if "--check" in arguments:
        if stale:
            print(f"stale: {', '.join(stale)}; run `make generate`", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (ROOT / name).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / name).write_bytes(current[name])
        print(f"wrote {name}", file=sys.stderr)
    return 0


def _holds(path: Path, text: bytes) -> bool:
    return path.exists() and path.read_bytes() == text


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
