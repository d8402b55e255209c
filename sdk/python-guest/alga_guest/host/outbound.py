"""HTTP to the install's approved egress hosts, and calls to the host application's own routes."""

import json
from collections.abc import Mapping
from typing import Any

from alga_guest.host.calling import call
from alga_guest.messages import Response


class Http:
    """Answers of any status are Responses; Denied, Invalid and Unavailable say why there is none."""

    def __init__(self, imports: Any) -> None:
        self._imports = imports

    def fetch(
        self,
        url: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
    ) -> Response:
        types = self._imports.types
        request = types.HttpRequest(
            method=method,
            url=url,
            headers=[types.HttpHeader(name=name, value=value) for name, value in (headers or {}).items()],
            body=body.encode() if isinstance(body, str) else body,
        )
        raw = call("http", self._imports.http.fetch, request)
        return Response(raw.status, bytes(raw.body or b""), tuple((h.name, h.value) for h in raw.headers))

    def post_json(self, url: str, value: object, *, headers: Mapping[str, str] | None = None) -> Response:
        given = {"content-type": "application/json", **(headers or {})}
        return self.fetch(url, method="POST", headers=given, body=json.dumps(value))


class UiProxy:
    def __init__(self, imports: Any) -> None:
        self._imports = imports

    def call(self, route: str, payload: object = None) -> Any:
        """POST with a payload, GET without; the JSON answer, None where it was empty."""
        body = None if payload is None else json.dumps(payload).encode()
        answer = bytes(call("ui-proxy", self._imports.ui_proxy.call_route, route, body))
        return json.loads(answer) if answer else None
