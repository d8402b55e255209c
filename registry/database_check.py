"""What a process looks at in the database before it serves: is it migrated, and could a row pass its tenant?

Owns the comparison with `migrations/` and with `sql/system.sql`. Refused are: a migration that is not applied, roles
that row security does not bind, tables where it is not forced, views that run past it, and any policy that is neither
the tenant's own nor listed there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from registry import statements
from schemas.errors import Conflict, Internal

SYSTEM_ROLE: Final = "alga_system"
SHOWN_FAULTS: Final = 5
MIGRATIONS: Final = Path(__file__).with_name("migrations")
_SQL = statements.load("system")

Fetch = Callable[[str], Awaitable[Sequence[Mapping[str, Any]]]]


async def check_migrated(fetch: Fetch) -> None:
    """Raises Conflict naming what is missing. A database that is ahead of this process is fine: the migrations that
    run before a new version is started (`…_pre_…`) take nothing away."""
    is_empty = not (await fetch(_SQL.is_migrated))[0]["is_migrated"]
    applied = set() if is_empty else {row["name"] for row in await fetch(_SQL.applied_migrations)}
    shipped = {file.stem for file in MIGRATIONS.glob("*_pre_*.sql")}
    if missing := sorted(shipped - applied):
        raise Conflict(f"this database lacks {len(missing)} migrations from {missing[0]} on: run `alga migrate`")


async def check_row_security(fetch: Fetch) -> None:
    """Raises Internal with every fault, as the role whose session `fetch` uses."""
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
