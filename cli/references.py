"""How a command line names an extension: its registry id, or the name of one that is installed."""

from __future__ import annotations

from urllib.parse import quote

from cli.client import Client
from schemas import ids
from schemas.errors import Invalid, NotFound


async def registry_id(session: Client, extension: str) -> str:
    """The registry id behind an id, a name or `publisher.name`; a name must be of an install of the key's tenant.

    Raises Invalid for what is neither.
    """
    if ids.is_uuid(extension):
        return extension
    try:
        answer = await session.get(install_path(extension))
    except NotFound as error:
        raise Invalid(
            f"EXTENSION must be a registry id (a UUID, printed by `alga publish`) or the name of an install, "
            f"not {extension[:80]!r}"
        ) from error
    return str(answer["data"]["registry"])


def install_path(extension: str) -> str:
    """The path of one install in the administrative API."""
    return f"/api/v1/extensions/installs/{quote(extension, safe='')}"
