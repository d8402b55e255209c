"""Which function answers which request.

Owns routing and the turning of what a handler returns, or raises, into a response. An exception that is neither
HttpError nor HostError goes on to the platform: the invocation ends as guest failed, and an event is attempted again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from alga_guest.host import Host
from alga_guest.host.errors import Denied, HostError, Unavailable
from alga_guest.messages import HttpError, Request, Response, to_response

Handler = Callable[..., object]
Decorator = Callable[[Handler], Handler]


@dataclass(frozen=True)
class Route:
    method: str
    segments: tuple[str, ...]
    handler: Handler

    def match(self, method: str, segments: list[str]) -> dict[str, str] | None:
        """The path parameters, or None where this is another route's request."""
        if method != self.method or len(segments) != len(self.segments):
            return None
        parameters = {}
        for expected, given in zip(self.segments, segments, strict=True):
            if expected.startswith("{"):
                parameters[expected.strip("{}")] = given
            elif expected != given:
                return None
        return parameters

    @property
    def literals(self) -> int:
        return sum(not segment.startswith("{") for segment in self.segments)


class App:
    """An extension's routes. Handlers are called as `handler(request, host, **path_parameters)`."""

    def __init__(self) -> None:
        self._routes: list[Route] = []

    def route(self, method: str, path: str) -> Decorator:
        def register(handler: Handler) -> Handler:
            segments = tuple(segment for segment in path.split("/") if segment)
            self._routes.append(Route(method.upper(), segments, handler))
            return handler

        return register

    def get(self, path: str) -> Decorator:
        return self.route("GET", path)

    def post(self, path: str) -> Decorator:
        return self.route("POST", path)

    def put(self, path: str) -> Decorator:
        return self.route("PUT", path)

    def patch(self, path: str) -> Decorator:
        return self.route("PATCH", path)

    def delete(self, path: str) -> Decorator:
        return self.route("DELETE", path)

    def event(self, topic_or_path: str) -> Decorator:
        """A handler of events: the manifest's handler path, or a topic, which is delivered to /events/{topic}."""
        path = topic_or_path if topic_or_path.startswith("/") else f"/events/{topic_or_path}"
        return self.route("POST", path)

    def __call__(self, request: Request, host: Host) -> Response:
        try:
            return to_response(self._answer(request, host))
        except HttpError as error:
            return Response.of_json({"error": error.message}, status=error.status)
        except HostError as error:
            host.log.error(f"host refused: {error}")
            return Response.of_json({"error": error.code, "interface": error.interface}, status=_status_of(error))

    def _answer(self, request: Request, host: Host) -> object:
        segments = request.segments()
        matches = [(route, route.match(request.method, segments)) for route in self._routes]
        found = [(route, parameters) for route, parameters in matches if parameters is not None]
        if not found:
            raise HttpError(404, "no such route")
        route, parameters = max(found, key=lambda match: match[0].literals)
        return route.handler(request, host, **parameters)


def _status_of(error: HostError) -> int:
    if isinstance(error, Denied):
        return 403
    return 503 if isinstance(error, Unavailable) else 502
