"""Which function of ours answers each function of WASI 0.2, and what answers all the others: no.

Guests import far more of WASI than they use, so everything links. What has no function here is refused by its own
type: a result by its error for "denied", anything else by its empty value, a handle by the end of the guest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from schemas import wit_types
from schemas.capability import Err
from schemas.wit_types import FunctionType
from worker.executor import traps, values
from worker.executor.crossing import Resource, TooLarge, Unfit
from worker.executor.running import Running
from worker.executor.wasi import cli, clocks, http, io, resources

Found = Callable[[Running, FunctionType, list[Any]], Any]

DENIALS: Final = ("access-denied", "access", "HTTP-request-denied", "not-permitted", "not-supported", "closed")
"""Words for "you may not", in the order they are looked for among an error's cases."""


def _network(running: Running) -> Resource:
    return resources.new(running, "network", None)


_FUNCTIONS: Final = {
    **cli.FUNCTIONS,
    **clocks.FUNCTIONS,
    **io.FUNCTIONS,
    **http.FUNCTIONS,
    "wasi:sockets/instance-network instance-network": _network,
}


def find(interface: str, member: str) -> Found:
    """The answer to one function of an interface, named without its version."""
    function = _FUNCTIONS.get(f"{interface} {member}")
    return _refuse if function is None else _Guarded(function)


class _Guarded:
    """A function of ours, called with whatever the guest declared: what it cannot take ends the guest, not us."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, running: Running, _: FunctionType, arguments: list[Any]) -> Any:
        try:
            return self._function(running, *arguments)
        except resources.TooManyHandles:
            raise traps.GuestEnded(traps.TOO_MANY_HANDLES) from None
        except (Unfit, TooLarge, TypeError, ValueError, LookupError, AttributeError):
            raise traps.GuestEnded(traps.WASI_MISUSED) from None


def _refuse(_: Running, type_: FunctionType, __: list[Any]) -> Any:
    if isinstance(type_.result, wit_types.Result):
        return Err(_denial(type_.result.err))
    try:
        return values.blank(type_.result)
    except Unfit:
        raise traps.GuestEnded(traps.WASI_MISUSED) from None


def _denial(type_: wit_types.Type | None) -> Any:
    if isinstance(type_, wit_types.Enum):
        return next((name for name in DENIALS if name in type_.names), type_.names[0])
    if isinstance(type_, wit_types.Variant):
        return next(((name, None) for name in (*DENIALS, type_.cases[0][0]) if (name, None) in type_.cases), None)
    return values.blank(type_)
