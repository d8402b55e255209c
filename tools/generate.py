"""Writes what is generated and checked in: JSON Schemas and the OpenAPI document. `--check` only compares.

Not part of any process: `make generate` and `make check` run it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import orjson

from gateway import openapi
from schemas import bundle, host, install, invocation, manifest, publishing, record, ticket

DIRECTORY = Path(__file__).resolve().parents[1] / "schemas" / "json"
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


DOCUMENTS: dict[str, Callable[[], dict[str, object]]] = {
    "manifest.json": manifest.json_schema,
    "wire.json": _wire,
    "openapi.json": openapi.document,
}


def main(arguments: list[str]) -> int:
    stale = []
    for name, document in DOCUMENTS.items():
        path, text = DIRECTORY / name, _render(document())
        if path.exists() and path.read_bytes() == text:
            continue
        stale.append(name)
        if "--check" not in arguments:
            path.write_bytes(text)
    if stale and "--check" in arguments:
        print(f"stale in schemas/json: {', '.join(stale)}; run `make generate`", file=sys.stderr)
        return 1
    return 0


def _render(document: dict[str, object]) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
