"""Which gateway a command talks to and as whom: options, then the environment, then `alga dev`'s own file."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec

from schemas.errors import Invalid
from service import environ

DEFAULT_DATA = Path(".data")
DEV_FILE = "dev.json"
DEFAULT_TIMEOUT_SECONDS = 150.0
MAX_TIMEOUT_SECONDS = 3600.0
_VISIBLE = re.compile(r"[\x21-\x7e]{1,400}", re.ASCII)


class DevKeys(msgspec.Struct, frozen=True, kw_only=True):
    """`<data>/dev.json` (0600): what `alga dev` made for the demo tenant. URLs and keys of the last start."""

    base_url: str
    tenant: str
    publisher: str = "Alga Examples"
    operator_key: str
    publisher_key: str
    tenant_key: str
    signing_key: str


class Connection(msgspec.Struct, frozen=True, kw_only=True):
    """`tenant` is only ever a cross-check: the key decides for whom a call counts."""

    base_url: str
    api_key: str
    tenant: str | None
    timeout_seconds: float
    dev: DevKeys | None = None


def options(command: Callable[..., Any]) -> Callable[..., Any]:
    """The connection options, under all their names; the command gets one `connection`."""

    @click.option("--base-url", "--url", "base_url", help="Gateway address [ALGA_API_BASE_URL].")
    @click.option("--api-key", "--apikey", "api_key", help="API key [ALGA_API_KEY].")
    @click.option("--tenant", "--tenant-id", "tenant", help="Tenant the key must belong to [ALGA_TENANT_ID].")
    @click.option(
        "--timeout",
        "timeout_seconds",
        type=click.FloatRange(0, MAX_TIMEOUT_SECONDS, min_open=True),
        default=DEFAULT_TIMEOUT_SECONDS,
        help="Seconds to wait.",
    )
    @click.option("--data", type=click.Path(path_type=Path), help="Data directory of `alga dev`.")
    @functools.wraps(command)
    def wrapped(
        *args: Any,
        base_url: str | None,
        api_key: str | None,
        tenant: str | None,
        timeout_seconds: float,
        data: Path | None,
        **kwargs: Any,
    ) -> Any:
        given = _resolve(base_url, api_key, tenant, timeout_seconds, data)
        return command(*args, connection=given, **kwargs)

    return wrapped


def data_directory(given: Path | None) -> Path:
    return given or Path(environ.get("ALGA_DATA_DIRECTORY") or DEFAULT_DATA)


def find_dev(data: Path | None) -> DevKeys | None:
    """The keys `alga dev` left, or None where it never ran."""
    path = data_directory(data) / DEV_FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=DevKeys)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise Invalid(f"{path} cannot be read; start `alga dev` again to write it anew") from error


def _resolve(
    base_url: str | None, api_key: str | None, tenant: str | None, timeout_seconds: float, data: Path | None
) -> Connection:
    dev = find_dev(data)
    url = base_url or environ.get("ALGA_API_BASE_URL") or (dev.base_url if dev else None)
    key = api_key or environ.get("ALGA_API_KEY")
    named = tenant or environ.get("ALGA_TENANT_ID") or environ.get("ALGA_TENANT")
    if url is None:
        raise Invalid("no gateway address: give --base-url, set ALGA_API_BASE_URL, or start `alga dev` here")
    if key is None and dev is None:
        raise Invalid("no API key: give --api-key, set ALGA_API_KEY, or start `alga dev` here")
    if key is None and named is None and dev is not None:
        named = dev.tenant
    _check(url, key, named)
    return Connection(
        base_url=url.rstrip("/"), api_key=key or "", tenant=named, timeout_seconds=timeout_seconds, dev=dev
    )


def _check(url: str, key: str | None, tenant: str | None) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Invalid(f"--base-url must be an address such as https://alga.example.com, not {url[:80]!r}")
    if key is not None and not _VISIBLE.fullmatch(key):
        raise Invalid(f"--api-key must be 1 to 400 visible ASCII characters; this one has {len(key)} characters")
    if tenant is not None and not _VISIBLE.fullmatch(tenant):
        raise Invalid(f"--tenant must be 1 to 400 visible ASCII characters, not {tenant[:80]!r}")


def key_for(connection: Connection, kind: str) -> str:
    """The key given, else the development key of this kind: `tenant_key`, `publisher_key` or `operator_key`."""
    if connection.api_key:
        return connection.api_key
    assert connection.dev is not None, "a connection has a key or the development keys"
    return str(getattr(connection.dev, kind))
