"""SemVer 2.0: the strict parser, the order of versions, and what `X.Y.*` stands for.

Owns no list of versions: what is published is handed in. Build metadata counts for identity, never for order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

from schemas.errors import Invalid

MAX_CHARACTERS = 128
_NUMBER = r"(?:0|[1-9][0-9]*)"
_IDENTIFIER = r"(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
SEMVER_PATTERN = (
    rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER})"
    rf"(?:-(?P<prerelease>{_IDENTIFIER}(?:\.{_IDENTIFIER})*))?"
    r"(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
)
_SEMVER = re.compile(SEMVER_PATTERN, re.ASCII)
_WILDCARD = re.compile(rf"({_NUMBER})\.({_NUMBER})\.\*", re.ASCII)

Precedence = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


class Version(msgspec.Struct, frozen=True):
    """One parsed version. `prerelease` and `build` are the dotted identifiers, empty where there are none."""

    major: int
    minor: int
    patch: int
    prerelease: tuple[str, ...] = ()
    build: str = ""

    @property
    def is_stable(self) -> bool:
        return not self.prerelease

    @property
    def precedence(self) -> Precedence:
        """The sort key of SemVer section 11; two versions that differ in build metadata only are equal by it."""
        identifiers = tuple(_identifier_key(identifier) for identifier in self.prerelease)
        return self.major, self.minor, self.patch, self.is_stable, identifiers

    def __str__(self) -> str:
        prerelease = f"-{'.'.join(self.prerelease)}" if self.prerelease else ""
        return f"{self.major}.{self.minor}.{self.patch}{prerelease}{f'+{self.build}' if self.build else ''}"


class Wildcard(msgspec.Struct, frozen=True):
    """`X.Y.*`."""

    major: int
    minor: int

    def matches(self, version: Version) -> bool:
        """Stable versions of this line only: a wildcard never means a pre-release."""
        return version.is_stable and (version.major, version.minor) == (self.major, self.minor)

    def __str__(self) -> str:
        return f"{self.major}.{self.minor}.*"


def parse(text: str, *, field: str = "version") -> Version:
    """An exact version. Raises Invalid, naming `field`."""
    match = _SEMVER.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    if match is None:
        raise _not_a_version(text, field=field)
    prerelease = tuple(match["prerelease"].split(".")) if match["prerelease"] else ()
    return Version(int(match["major"]), int(match["minor"]), int(match["patch"]), prerelease, match["build"] or "")


def parse_reference(text: str, *, field: str = "version") -> Version | Wildcard:
    """An exact version or `X.Y.*`, as manifests and install calls write it. Raises as `parse`."""
    match = _WILDCARD.fullmatch(text) if len(text) <= MAX_CHARACTERS else None
    return Wildcard(int(match[1]), int(match[2])) if match else parse(text, field=field)


def is_wildcard(text: str) -> bool:
    return len(text) <= MAX_CHARACTERS and _WILDCARD.fullmatch(text) is not None


def resolve_new(reference: str, published: Iterable[str]) -> str:
    """The version a manifest's text publishes as: itself, or the patch after the highest stable `X.Y.n`, or `X.Y.0`.

    The caller holds the extension's lock from reading `published` until the row is written.
    """
    wanted = parse_reference(reference)
    if isinstance(wanted, Version):
        return reference
    patches = [version.patch for version in map(parse, published) if wanted.matches(version)]
    return f"{wanted.major}.{wanted.minor}.{max(patches) + 1 if patches else 0}"


def resolve_published(reference: str, published: Iterable[str]) -> str | None:
    """Which of `published` an install call means: the exact one, or the highest stable `X.Y.n`; None: there is none."""
    texts = tuple(published)
    wanted = parse_reference(reference)
    if isinstance(wanted, Version):
        return reference if reference in texts else None
    return max((text for text in texts if wanted.matches(parse(text))), key=precedence, default=None)


def precedence(text: str) -> Precedence:
    """The sort key of a version's text."""
    return parse(text).precedence


def is_older(version: str, than: str) -> bool:
    """Whether the first has lower precedence; equal precedence is not older."""
    return precedence(version) < precedence(than)


def _identifier_key(identifier: str) -> tuple[bool, int, str]:
    """Numbers sort by value and below words, words by ASCII."""
    return (False, int(identifier), "") if identifier.isdecimal() else (True, 0, identifier)


def _not_a_version(text: str, *, field: str) -> Invalid:
    return Invalid(f"{field} must be a SemVer 2.0 version such as 1.2.0, or X.Y.*, not {text[:80]!r}")
