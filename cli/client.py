"""HTTP to the gateway: JSON in and out, failures rebuilt as the FleetError their code names."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import orjson
import tenacity

from cli.connection import Connection, key_for
from schemas import errors, headers
from schemas.errors import ErrorCode, FleetError, Unavailable

CONNECT_ATTEMPTS = 4
CONNECT_SECONDS = 5.0
T = TypeVar("T")


class Client:
    """One session with the gateway, as one key."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    @classmethod
    @asynccontextmanager
    async def open(cls, connection: Connection, *, key: str = "tenant_key") -> AsyncIterator[Client]:
        """`key` names the development key to use where none was given."""
        sent = {headers.API_KEY: key_for(connection, key)}
        if connection.tenant and key == "tenant_key":
            sent[headers.LEGACY_TENANT] = connection.tenant
        timeout = aiohttp.ClientTimeout(total=connection.timeout_seconds, sock_connect=CONNECT_SECONDS)
        async with aiohttp.ClientSession(connection.base_url, headers=sent, timeout=timeout) as session:
            yield cls(session)

    async def get(self, path: str, *, params: Mapping[str, str] | None = None) -> Any:
        return await self.send("GET", path, params=params)

    async def post(self, path: str, body: Any = None, *, params: Mapping[str, str] | None = None) -> Any:
        data = b"" if body is None else orjson.dumps(body)
        return await self.send("POST", path, data=data, params=params, sent={"content-type": "application/json"})

    async def put(self, path: str, body: Any) -> Any:
        return await self.send("PUT", path, data=orjson.dumps(body), sent={"content-type": "application/json"})

    async def send(
        self,
        method: str,
        path: str,
        *,
        data: Any = None,
        params: Mapping[str, str] | None = None,
        sent: Mapping[str, str] | None = None,
    ) -> Any:
        """The decoded JSON answer; None for an empty one. Raises the FleetError of the answer's code."""
        status, received, body = await self.exchange(method, path, data=data, params=params, sent=sent)
        if status >= 400:
            raise _failure(status, received, body)
        return orjson.loads(body) if body else None

    async def exchange(
        self,
        method: str,
        path: str,
        *,
        data: Any = None,
        params: Mapping[str, str] | None = None,
        sent: Mapping[str, str] | None = None,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body as they come. A connection that was never made is tried again."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(aiohttp.ClientConnectorError),
            stop=tenacity.stop_after_attempt(CONNECT_ATTEMPTS),
            wait=tenacity.wait_exponential_jitter(initial=0.2, max=2),
            reraise=True,
        )
        try:
            return await retrying(self._once, method, path, data, params, sent)
        except aiohttp.ClientError as error:
            raise Unavailable("the gateway cannot be reached", detail=str(error)) from error
        except TimeoutError as error:
            raise errors.DeadlineExceeded("the gateway did not answer in time") from error

    async def _once(
        self, method: str, path: str, data: Any, params: Mapping[str, str] | None, sent: Mapping[str, str] | None
    ) -> tuple[int, dict[str, str], bytes]:
        async with self._session.request(method, path, data=data, params=params, headers=sent) as answer:
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, await answer.read()


def run(work: Coroutine[Any, Any, T]) -> T:
    """A command's asynchronous part."""
    return asyncio.run(work)


def code_of(body: bytes) -> ErrorCode | None:
    """The code in an error body of ours; None for anything else, such as a guest's own answer."""
    try:
        return ErrorCode(orjson.loads(body)["error"]["code"])
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
        return None


def _failure(status: int, received: Mapping[str, str], body: bytes) -> FleetError:
    """The FleetError that an answer of 400 and up describes."""
    wait = received.get("retry-after", "")
    try:
        error = orjson.loads(body)["error"]
        extra = {name: value for name, value in error.items() if name not in ("code", "message")}
        seconds = float(wait) if wait.isdigit() else None
        return errors.from_code(error["code"], error["message"], retry_after_seconds=seconds, extra=extra)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return errors.Internal(f"the gateway answered {status} without an error of ours")
