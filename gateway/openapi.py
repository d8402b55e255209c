"""The HTTP interface as an OpenAPI document, made from what serves it: `python -m gateway.openapi`.

Owns how operations and their models become a document. The routes that carry callers' own content have no model, and
are described here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from typing import Any

from pydantic.json_schema import models_json_schema

from gateway import api, errors
from gateway.json_bodies import Body
from gateway.operations import Access, Operation
from schemas.errors import ErrorCode

REFERENCE = "#/components/schemas/{model}"
_PARAMETER = re.compile(r"\{([a-z_]+)\}", re.ASCII)
_SECURITY: list[dict[str, list[str]]] = [{"apiKey": []}, {"bearer": []}, {"session": []}]
_CALL_METHODS = ("get", "post", "put", "patch", "delete")


def document() -> dict[str, Any]:
    """The whole document, the same for the same code."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in api.OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Alga Extension Fleet", "version": "1"},
        "paths": {**paths, **_content_paths()},
        "components": {
            "schemas": {**_schemas(operation.model for operation in api.OPERATIONS), "Error": _error_schema()},
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "session": {"type": "apiKey", "in": "cookie", "name": "alga_session"},
                "runner": {"type": "apiKey", "in": "header", "name": "x-runner-service-token"},
            },
        },
    }


def render() -> str:
    return json.dumps(document(), indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "summary": operation.summary,
        "operationId": operation.handler.__module__.rpartition(".")[2]
        + "_"
        + operation.handler.__name__
        + ("" if operation.method != "PATCH" else "_patch"),
        "security": _SECURITY if operation.access in (Access.READ, Access.WRITE) else [{"apiKey": []}],
        "x-access": operation.access.value,
        "parameters": [
            *map(_path_parameter, _PARAMETER.findall(operation.path)),
            *map(_query_parameter, operation.query),
        ],
        "responses": {
            str(operation.status): {"description": "Success"},
            "default": _error_response(),
        },
    }
    if operation.model is not None:
        schema = {"$ref": REFERENCE.format(model=operation.model.__name__)}
        described["requestBody"] = {"required": True, "content": {errors.JSON_TYPE: {"schema": schema}}}
    return described


def _content_paths() -> dict[str, Any]:
    """What extensions are called by, and the former runner's call."""
    parameters = [_path_parameter("extension"), _path_parameter("path")]
    call = {
        "parameters": parameters,
        "security": _SECURITY,
        "responses": {"default": {"description": "The extension's answer, or an error of the fleet's"}},
    }
    execute = {
        "summary": "Execute as the former HTTP runner did",
        "security": [{"runner": []}],
        "parameters": [],
        "requestBody": {"required": True, "content": {errors.JSON_TYPE: {"schema": {"type": "object"}}}},
        "responses": {"200": {"description": "The envelope"}, "default": _error_response()},
    }
    return {
        "/api/ext/{extension}/{path}": {
            method: {"summary": "Call an endpoint of an installed extension", **call} for method in _CALL_METHODS
        },
        "/api/ext-proxy/{extension}/{path}": {
            method: {"summary": "The same for bridges of iframes", **call} for method in _CALL_METHODS
        },
        "/v1/execute": {"post": execute},
        "/healthz": {
            "get": {"summary": "Whether this gateway can serve", "responses": {"200": {"description": "It can"}}}
        },
    }


def _schemas(models: Iterable[type[Body] | None]) -> dict[str, Any]:
    used = sorted({model for model in models if model is not None}, key=lambda model: model.__name__)
    _, definitions = models_json_schema([(model, "validation") for model in used], ref_template=REFERENCE)
    found: dict[str, Any] = definitions["$defs"]
    return found


def _error_schema() -> dict[str, Any]:
    fields = {
        "code": {"type": "string", "enum": [code.value for code in ErrorCode]},
        "message": {"type": "string"},
        "request_id": {"type": "string"},
    }
    error = {"type": "object", "required": sorted(fields), "properties": fields, "additionalProperties": True}
    return {"type": "object", "required": ["error"], "properties": {"error": error}}


def _error_response() -> dict[str, Any]:
    schema = {"$ref": REFERENCE.format(model="Error")}
    return {"description": "An error", "content": {errors.JSON_TYPE: {"schema": schema}}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameter(name: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": {"type": "string"}}


if __name__ == "__main__":
    sys.stdout.write(render())
