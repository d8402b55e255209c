"""Write an Alga extension in Python.

    from alga_guest import App, Host, Request

    app = App()

    @app.get("/tickets/{ticket_id}")
    def show(request: Request, host: Host, ticket_id: str) -> dict[str, str]:
        return {"id": ticket_id, "note": host.storage.get("notes", ticket_id).text}

Owns what authors import. `alga_guest.testing` calls an app in plain CPython; `alga_guest.build` makes the component.
"""

from alga_guest.app import App
from alga_guest.host import Host
from alga_guest.host.errors import Conflict, Denied, HostError, Invalid, Missing, Unavailable
from alga_guest.messages import HttpError, Request, Response

__all__ = [
    "App",
    "Conflict",
    "Denied",
    "Host",
    "HostError",
    "HttpError",
    "Invalid",
    "Missing",
    "Request",
    "Response",
    "Unavailable",
]
