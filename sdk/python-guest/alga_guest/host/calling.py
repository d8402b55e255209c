"""The seam to the generated bindings: their errors become ours, their enums text."""

from collections.abc import Callable
from typing import Any

from alga_guest.host.errors import CLASS_OF_CODE, HostError


def call(interface: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """The function's result. Raises the HostError its refusal stands for."""
    try:
        return function(*arguments)
    except Exception as error:
        refusal = getattr(error, "value", None)
        if refusal is None:
            raise
        raise _refusal(interface, refusal) from None


def text_of(case: Any) -> str:
    """A case of a generated enum as the world spells it."""
    return str(case.name).lower().replace("_", "-")


def case_of(enum: Any, text: str) -> Any:
    """The other way round. Raises AttributeError for a word the enum does not have."""
    return getattr(enum, text.upper().replace("-", "_"))


def _refusal(interface: str, refusal: Any) -> HostError:
    case = getattr(refusal, "code", refusal)
    code = text_of(case)
    return CLASS_OF_CODE.get(code, HostError)(interface, code, getattr(refusal, "message", ""))
