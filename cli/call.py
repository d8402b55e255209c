"""`alga call`: one HTTP call of an installed extension, as curl would make it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from urllib.parse import quote

import click

from cli import client, connection
from cli.client import Client
from cli.connection import Connection
from cli.next_steps import NEXT_STEPS
from cli.output import emit, json_option, say
from schemas import headers
from schemas.errors import Invalid

_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}", re.ASCII)


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
    """Call PATH of EXTENSION (install id, registry id, name or publisher.name).

    The body goes to standard output as it came. Exit 2 for an answer of 400 to 499, 1 for 500 and up.
    """
    sent = dict(_header(text) for text in given)
    if idempotency_key is not None:
        sent[headers.IDEMPOTENCY_KEY] = idempotency_key
    data = _read(body)
    url = f"/api/ext/{quote(extension, safe='')}/{path.lstrip('/')}"
    status, received, answer = client.run(
        _call(connection, _method(method, has_body=data is not None), url, data, sent)
    )
    if as_json:
        emit({"status": status, "headers": received, "body": answer.decode(errors="replace")}, as_json=True)
    else:
        _print(status, received, answer)
    if status >= 400:
        sys.exit(2 if status < 500 else 1)


def _print(status: int, received: dict[str, str], answer: bytes) -> None:
    say(f"{status} {received.get('content-type', '')} request id {received.get(headers.REQUEST_ID, '-')}")
    sys.stdout.buffer.write(answer)
    if sys.stdout.isatty():
        sys.stdout.buffer.write(b"\n")
    sys.stdout.flush()
    code = client.code_of(answer) if status >= 400 else None
    if code is not None:
        say(f"next: {NEXT_STEPS[code]}")


def _method(given: str | None, *, has_body: bool) -> str:
    method = (given or ("POST" if has_body else "GET")).upper()
    if not _TOKEN.fullmatch(method):
        raise Invalid(f"--method must be an HTTP method such as GET or POST, not {method[:40]!r}")
    return method


async def _call(
    connection: Connection, method: str, url: str, data: bytes | None, sent: dict[str, str]
) -> tuple[int, dict[str, str], bytes]:
    async with Client.open(connection) as session:
        return await session.exchange(method, url, data=data, sent=sent)


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    name, value = name.strip(), value.strip()
    if not colon or not _TOKEN.fullmatch(name) or not value.isprintable():
        raise Invalid(f"--header must be NAME: VALUE on one line, not {text[:40]!r}")
    return name, value


def _read(body: str | None) -> bytes | None:
    if body is None or not body.startswith("@"):
        return None if body is None else body.encode()
    try:
        return Path(body[1:]).read_bytes()
    except OSError as error:
        raise Invalid(f"--body: {body[1:]} cannot be read: {error.strerror}") from error
