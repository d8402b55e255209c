"""Bytes changed at random. Pure."""

from __future__ import annotations

import random
from collections.abc import Sequence

ODD = (b"\0", b"\xff", b"\x7f", b"\x80", b"\r\n", b"\n", b" ", b"\0" * 8, b"\xff" * 8, b"/", b"..", b'"', b"\\")


def mutate(rng: random.Random, data: bytes, *, most: int = 8, tokens: Sequence[bytes] = ODD) -> bytes:
    """`data` after 1 to `most` changes: flipped, set, deleted, inserted, doubled, moved or cut."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, most)):
        _change(rng, changed, tokens)
    return bytes(changed)


def _change(rng: random.Random, changed: bytearray, tokens: Sequence[bytes]) -> None:
    if not changed:
        changed += rng.choice(tokens)
        return
    at = rng.randrange(len(changed))
    end = min(len(changed), at + rng.choice((1, 1, 2, 4, 16, 64)))
    match rng.randrange(7):
        case 0:
            changed[at] ^= 1 << rng.randrange(8)
        case 1:
            changed[at] = rng.randrange(256)
        case 2:
            del changed[at:end]
        case 3:
            changed[at:at] = rng.choice(tokens)
        case 4:
            changed[at:at] = changed[at:end]
        case 5:
            piece = changed[at:end]
            del changed[at:end]
            to = rng.randrange(len(changed) + 1)
            changed[to:to] = piece
        case _:
            if rng.random() < 0.1:
                del changed[at:]
            else:
                changed[at] = (changed[at] + rng.choice((-1, 1))) % 256
