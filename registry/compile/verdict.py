"""What the compile jail's child says, and the bounds both sides know. Imported by both; loads no compiler."""

from __future__ import annotations

from typing import Final

import msgspec

MIB: Final = 1024 * 1024
ADDRESS_SPACE_BYTES: Final = 1024 * MIB
"""Honest components of 18 MB need 350 MiB; bombs take all they get."""
MAX_CWASM_BYTES: Final = 512 * MIB


class Verdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """`error` None: compiled. Then `fingerprint` names what can load it, `imports` are as the component spells them."""

    error: str | None = None
    imports: tuple[str, ...] = ()
    fingerprint: str = ""
