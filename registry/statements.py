"""The registry's SQL: `sql/<noun>.sql` as named texts.

Owns how such a file is read: a block starts with `-- name: <statement>`, the next line says its purpose in a comment,
the rest is the text. A name twice, a block without purpose or without text fails at import of who loads it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import MappingProxyType

_DIRECTORY = Path(__file__).with_name("sql")
_NAME = re.compile(r"^-- name: ([a-z][a-z0-9_]*)$", re.MULTILINE | re.ASCII)


class Statements:
    """The statements of one file, as attributes: `SQL.find_install`."""

    __slots__ = ("_noun", "_texts")

    def __init__(self, noun: str, texts: dict[str, str]) -> None:
        self._noun = noun
        self._texts = MappingProxyType(texts)

    def __getattr__(self, name: str) -> str:
        try:
            return self._texts[name]
        except KeyError:
            raise AttributeError(f"sql/{self._noun}.sql has no statement {name!r}") from None

    def __getitem__(self, name: str) -> str:
        return self._texts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)


@cache
def load(noun: str) -> Statements:
    """The statements of `sql/<noun>.sql`. Raises ValueError, naming the file, for one that is not well formed."""
    file = _DIRECTORY / f"{noun}.sql"
    return Statements(noun, parse(file.read_text(encoding="utf-8"), source=file.name))


def parse(text: str, *, source: str) -> dict[str, str]:
    """Name -> statement text. `source` names the file in errors."""
    _, *parts = _NAME.split(text)
    texts: dict[str, str] = {}
    for name, block in zip(parts[::2], parts[1::2], strict=True):
        if name in texts:
            raise ValueError(f"{source}: statement {name} stands there twice")
        texts[name] = _body(block.strip(), where=f"{source}: statement {name}")
    return texts


def _body(block: str, *, where: str) -> str:
    purpose, _, body = block.partition("\n")
    if not purpose.startswith("-- "):
        raise ValueError(f"{where} does not say what it is for")
    lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
    statement = "\n".join(lines).strip().rstrip(";")
    if not statement:
        raise ValueError(f"{where} is empty")
    return statement
