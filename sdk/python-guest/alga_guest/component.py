"""The component's export over an App: generated types in, generated types out. Imported only inside a component."""

from typing import Any

from alga_guest.app import App
from alga_guest.host import Host
from alga_guest.messages import Request


def bind(app: App, imports: Any) -> Any:
    """The `handler` function of the world for this app. `imports` is the generated `wit_world.imports`."""
    host = Host(imports)
    types = imports.types

    def handler(request: Any) -> Any:
        response = app(_request(request.http), host)
        headers = [types.HttpHeader(name=name, value=value) for name, value in response.headers]
        return types.ExecuteResponse(status=response.status, headers=headers, body=response.body)

    return handler


def _request(http: Any) -> Request:
    headers = {header.name.lower(): header.value for header in http.headers}
    return Request(http.method, http.url, headers, bytes(http.body or b""))
