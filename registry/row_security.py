"""What a process looks at in the database before it serves, and refuses: rows that could pass their tenant.

Owns the comparison with `sql/system.sql`: roles that row security does not bind, tables where it is not forced, views
that run past it, and any policy that is neither the tenant's own nor listed there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from registry import statements
from schemas.errors import Internal

SYSTEM_ROLE: Final = "alga_system"
SHOWN_FAULTS: Final = 5
_SQL = statements.load("system")

Fetch = Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]


async def check(fetch: Fetch) -> None:
    """Raises Internal with what is wrong, as the role whose session `fetch` uses."""
    faults = [row["fault"] for row in [*await fetch(_SQL.role_faults), *await fetch(_SQL.table_faults)]]
    listed = {(row["name"], "SELECT", SYSTEM_ROLE) for row in await fetch(_SQL.system_reads)}
    listed |= {(row["name"], "UPDATE", SYSTEM_ROLE) for row in await fetch(_SQL.system_updates)}
    there = {(row["name"], row["command"], row["roles"]) for row in await fetch(_SQL.other_policies)}
    faults += [f"{_policy(policy)} is not listed" for policy in sorted(there - listed)]
    faults += [f"{_policy(policy)} is missing" for policy in sorted(listed - there)]
    if not faults:
        return
    more = f"; and {len(faults) - SHOWN_FAULTS} more" if len(faults) > SHOWN_FAULTS else ""
    shown = "; ".join(faults[:SHOWN_FAULTS])
    raise Internal(f"refusing to serve with this database: {shown}{more}", detail="\n".join(faults))


def _policy(policy: tuple[str, str, str]) -> str:
    table, command, roles = policy
    return f"policy for {command} on {table} to {roles}"
