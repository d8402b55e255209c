"""`user` and `user-v2`: answered here, from the Run frame."""

from __future__ import annotations

from typing import Any

from schemas.capability import Err, Function, Interface, Ok
from worker.executor.running import Running


def answer(running: Running, _: Interface, __: Function, ___: list[Any]) -> Any:
    """The user of this invocation; a record of `user` takes the fields it has from the one of `user-v2`."""
    return Err("not-available") if running.run.user is None else Ok(running.run.user)
