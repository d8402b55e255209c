"""`wasi:http` as far as a guest needs it to be told no: requests can be put together, none can be sent.

`outgoing-handler` is not here on purpose: the table refuses whatever it has no function for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from schemas.capability import Err, Ok
from worker.executor.crossing import Resource
from worker.executor.running import Running
from worker.executor.wasi import resources

MAX_FIELDS: Final = 256
Field = list[Any]
"""Name and value, as a tuple of the component model comes out of a guest."""


def _fields(running: Running) -> Resource:
    return resources.new(running, "fields", [])


def _from_list(running: Running, entries: list[Field]) -> Ok | Err:
    if len(entries) > MAX_FIELDS:
        return Err(("forbidden", None))
    return Ok(resources.new(running, "fields", [[name.lower(), value] for name, value in entries]))


def _entries(running: Running, fields: int) -> list[Field]:
    return list(resources.get(running, "fields", fields))


def _get(running: Running, fields: int, name: str) -> list[bytes]:
    return [value for key, value in _entries(running, fields) if key == name.lower()]


def _has(running: Running, fields: int, name: str) -> bool:
    return bool(_get(running, fields, name))


def _delete(running: Running, fields: int, name: str) -> Ok:
    kept = resources.get(running, "fields", fields)
    kept[:] = [entry for entry in kept if entry[0] != name.lower()]
    return Ok()


def _append(running: Running, fields: int, name: str, value: bytes) -> Ok | Err:
    kept = resources.get(running, "fields", fields)
    if len(kept) >= MAX_FIELDS:
        return Err(("forbidden", None))
    kept.append([name.lower(), value])
    return Ok()


def _set(running: Running, fields: int, name: str, new: list[bytes]) -> Ok | Err:
    _delete(running, fields, name)
    if len(_entries(running, fields)) + len(new) > MAX_FIELDS:
        return Err(("forbidden", None))
    for value in new:
        _append(running, fields, name, value)
    return Ok()


def _clone(running: Running, fields: int) -> Resource:
    return resources.new(running, "fields", _entries(running, fields))


def _request(running: Running, headers: int) -> Resource:
    fields = resources.take(running, "fields", headers)
    return resources.new(running, "outgoing-request", {"headers": fields, "method": ("get", None)})


def _headers(running: Running, request: int) -> Resource:
    return resources.new(running, "fields", list(resources.get(running, "outgoing-request", request)["headers"]))


def _body(running: Running, request: int) -> Ok:
    resources.get(running, "outgoing-request", request)
    return Ok(resources.new(running, "outgoing-body", None))


def _write(running: Running, body: int) -> Ok:
    resources.get(running, "outgoing-body", body)
    return Ok(resources.new(running, "output-stream", None))


def _finish(running: Running, body: int, _: Any) -> Ok:
    resources.take(running, "outgoing-body", body)
    return Ok()


def _options(running: Running) -> Resource:
    return resources.new(running, "request-options", {})


def _accessors(kind: str, *names: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in names:
        found[f"wasi:http/types [method]{kind}.{name}"] = _reader(kind, name)
        found[f"wasi:http/types [method]{kind}.set-{name}"] = _writer(kind, name)
    return found


def _reader(kind: str, name: str) -> Any:
    return lambda running, rep: resources.get(running, kind, rep).get(name)


def _writer(kind: str, name: str) -> Any:
    def write(running: Running, rep: int, value: Any) -> Ok:
        resources.get(running, kind, rep)[name] = value
        return Ok()

    return write


_OF_FIELDS: Final = "wasi:http/types [method]fields."
FUNCTIONS: Final[Mapping[str, Any]] = {
    "wasi:http/types [constructor]fields": _fields,
    "wasi:http/types [static]fields.from-list": _from_list,
    f"{_OF_FIELDS}get": _get,
    f"{_OF_FIELDS}has": _has,
    f"{_OF_FIELDS}set": _set,
    f"{_OF_FIELDS}delete": _delete,
    f"{_OF_FIELDS}append": _append,
    f"{_OF_FIELDS}entries": _entries,
    f"{_OF_FIELDS}clone": _clone,
    "wasi:http/types [constructor]outgoing-request": _request,
    "wasi:http/types [method]outgoing-request.headers": _headers,
    "wasi:http/types [method]outgoing-request.body": _body,
    "wasi:http/types [method]outgoing-body.write": _write,
    "wasi:http/types [static]outgoing-body.finish": _finish,
    "wasi:http/types [constructor]request-options": _options,
    **_accessors("outgoing-request", "method", "path-with-query", "scheme", "authority"),
    **_accessors("request-options", "connect-timeout", "first-byte-timeout", "between-bytes-timeout"),
}
