"""`alga call`: one HTTP call of an installed extension, as curl would make it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from cli import client, connection
from cli.client import Client
from cli.connection import Connection
from cli.output import emit, json_option, say
from schemas import headers
from schemas.errors import Invalid


@click.command()
@click.argument("extension")
@click.argument("path", default="/")
@click.option("--method", "-X", default=None, help="GET, or POST where there is a body.")
@click.option("--body", "-d", help="Request body; @FILE reads a file.")
@click.option("--header", "-H", "given", multiple=True, help="NAME: VALUE; may be repeated.")
@click.option("--idempotency-key", help="Run at most once for this key.")
@json_option
@connection.options
def call(
    extension: str,
    path: str,
    method: str | None,
    body: str | None,
    given: tuple[str, ...],
    idempotency_key: str | None,
    as_json: bool,
    connection: Connection,
) -> None:
    """Call PATH of EXTENSION (install id, registry id, name or publisher.name). Exit 1 for an answer of 400 and up."""
    sent = dict(_header(text) for text in given)
    if idempotency_key is not None:
        sent[headers.IDEMPOTENCY_KEY] = idempotency_key
    data = _read(body)
    url = f"/api/ext/{extension}/{path.lstrip('/')}"
    status, received, answer = client.run(
        _call(connection, method or ("GET" if data is None else "POST"), url, data, sent)
    )
    if as_json:
        emit({"status": status, "headers": received, "body": answer.decode(errors="replace")}, as_json=True)
    else:
        say(f"{status} {received.get('content-type', '')} request id {received.get(headers.REQUEST_ID, '-')}")
        sys.stdout.buffer.write(answer)
        sys.stdout.flush()
    if status >= 400:
        sys.exit(1)


async def _call(
    connection: Connection, method: str, url: str, data: bytes | None, sent: dict[str, str]
) -> tuple[int, dict[str, str], bytes]:
    async with Client.open(connection) as session:
        return await session.exchange(method.upper(), url, data=data, sent=sent)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise Invalid(f"--header must be NAME: VALUE, not {text[:40]!r}")
    return name.strip(), value.strip()


def _read(body: str | None) -> bytes | None:
    if body is None or not body.startswith("@"):
        return None if body is None else body.encode()
    try:
        return Path(body[1:]).read_bytes()
    except OSError as error:
        raise Invalid(f"--body: {body[1:]} cannot be read: {error.strerror}") from error
