"""What a handler is asked and what it answers, as Python values."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

JSON_TYPE = "application/json"


class HttpError(Exception):
    """Raise it in a handler to answer with a status and a JSON body {"error": message}."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Request:
    """One request. `headers` has lower-case names; of a repeated one, the last value."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.url.split("?", 1)[0]

    @property
    def query(self) -> dict[str, str]:
        """Query parameters by name; of a repeated one, the last value (`query_list` has all)."""
        return dict(self.query_list)

    @property
    def query_list(self) -> list[tuple[str, str]]:
        return parse_qsl(self.url.partition("?")[2], keep_blank_values=True)

    def json(self) -> Any:
        """The body as JSON. Raises HttpError 400 where it is not."""
        try:
            return json.loads(self.body)
        except ValueError:
            raise HttpError(400, "the body is not JSON") from None

    def segments(self) -> list[str]:
        return [unquote(segment) for segment in self.path.split("/") if segment]


@dataclass(frozen=True)
class Response:
    """One answer. Header names repeat where the list says so."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()

    @staticmethod
    def of_json(value: object, *, status: int = 200, headers: Iterable[tuple[str, str]] = ()) -> "Response":
        body = json.dumps(value, separators=(",", ":")).encode()
        return Response(status, body, (("content-type", JSON_TYPE), *headers))

    @staticmethod
    def of_text(text: str, *, status: int = 200) -> "Response":
        return Response(status, text.encode(), (("content-type", "text/plain; charset=utf-8"),))

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


def to_response(answer: object) -> Response:
    """What a handler may return: a Response, None (204), bytes, text, or anything JSON can say."""
    match answer:
        case Response():
            return answer
        case None:
            return Response(204)
        case bytes():
            return Response(200, answer, (("content-type", "application/octet-stream"),))
        case str():
            return Response.of_text(answer)
    return Response.of_json(answer)
