"""Versions: SemVer's own order, strict parsing, and what a wildcard stands for."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import versions
from schemas.errors import Invalid
from schemas.versions import Version

ORDERED = [
    "0.0.0-0",
    "0.0.1",
    "0.10.0",
    "1.0.0-0",
    "1.0.0-9",
    "1.0.0-10",
    "1.0.0--",
    "1.0.0-1a",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1-0",
    "1.9.0",
    "1.10.0",
    "10.0.0",
]
MALFORMED = [
    "",
    "1",
    "1.2",
    "1.2.3.4",
    "v1.2.3",
    "01.2.3",
    "1.02.3",
    "1.2.03",
    "1.2.3-",
    "1.2.3-01",
    "1.2.3-a..b",
    "1.2.3+",
    "1.2.3+a+b",
    "1.2.3-é",
    "1.2.x",
    "*",
    "1.*",
    "1.*.*",
    "1.2.*-rc",
    "01.2.*",
    " 1.2.3",
    "1.2.3\n",
    "١.2.3",
    "-1.2.3",
    "1.2.3-" + "a" * 128,
]


@pytest.mark.parametrize(("lower", "higher"), list(itertools.combinations(ORDERED, 2)))
def test_order_is_semvers(lower: str, higher: str) -> None:
    """Numbers by value and below words, fewer identifiers first, a release after its pre-releases."""
    assert versions.is_older(lower, higher)
    assert not versions.is_older(higher, lower)


def test_build_metadata_counts_for_identity_and_not_for_order() -> None:
    """SemVer section 10."""
    assert not versions.is_older("1.0.0+a", "1.0.0+b")
    assert not versions.is_older("1.0.0+b", "1.0.0+a")
    assert versions.parse("1.0.0+a") != versions.parse("1.0.0+b")


@pytest.mark.parametrize("text", MALFORMED)
def test_what_is_not_semver_is_refused(text: str) -> None:
    """Everything that another parser might read otherwise."""
    with pytest.raises(Invalid, match="version must be"):
        versions.parse_reference(text)


@pytest.mark.parametrize(
    ("reference", "published", "resolved"),
    [
        ("1.2.3", ["1.2.3"], "1.2.3"),
        ("1.2.3-rc.1", [], "1.2.3-rc.1"),
        ("1.2.*", [], "1.2.0"),
        ("1.2.*", ["1.1.9", "1.3.0", "2.2.0"], "1.2.0"),
        ("1.2.*", ["1.2.0", "1.2.9", "1.2.10"], "1.2.11"),
        ("1.2.*", ["1.2.0-rc.1", "1.2.5-beta"], "1.2.0"),
        ("1.2.*", ["1.2.4", "1.2.5-beta"], "1.2.5"),
        ("1.2.*", ["1.2.4+build"], "1.2.5"),
    ],
)
def test_a_new_version_is_the_patch_after_the_highest_stable_one(
    reference: str, published: list[str], resolved: str
) -> None:
    """Whether an exact version is taken already is the registry's to say."""
    assert versions.resolve_new(reference, published) == resolved


@pytest.mark.parametrize(
    ("reference", "published", "resolved"),
    [
        ("1.2.3", ["1.2.3"], "1.2.3"),
        ("1.2.3", ["1.2.4"], None),
        ("1.2.*", ["1.2.3", "1.2.10", "1.2.9", "1.3.0"], "1.2.10"),
        ("1.2.*", ["1.2.3", "1.2.4-rc.1"], "1.2.3"),
        ("1.2.*", ["1.2.4-rc.1"], None),
        ("1.2.*", [], None),
    ],
)
def test_an_install_call_means_the_highest_published_stable_patch(
    reference: str, published: list[str], resolved: str | None
) -> None:
    """Older command lines send the manifest's text."""
    assert versions.resolve_published(reference, published) == resolved


_NUMBER = st.integers(0, 10**12)
_IDENTIFIER = st.one_of(_NUMBER.map(str), st.from_regex(r"[0-9]{0,3}[A-Za-z-][0-9A-Za-z-]{0,5}", fullmatch=True))
_VERSION = st.builds(
    Version,
    _NUMBER,
    _NUMBER,
    _NUMBER,
    st.lists(_IDENTIFIER, max_size=4).map(tuple),
    st.sampled_from(["", "b.1", "001"]),
)


@given(_VERSION)
def test_a_version_survives_its_text(version: Version) -> None:
    """Parse and print are inverse."""
    assert versions.parse(str(version)) == version


@given(_VERSION, _VERSION, _VERSION)
def test_order_is_total_and_transitive(a: Version, b: Version, c: Version) -> None:
    """Sorting is the same wherever it starts."""
    x, y, z = sorted((a.precedence, b.precedence, c.precedence))
    assert x <= y <= z
    assert x <= z
    assert (a.precedence == b.precedence) is (_without_build(a) == _without_build(b))


def _without_build(version: Version) -> tuple[int, int, int, tuple[str, ...]]:
    return version.major, version.minor, version.patch, version.prerelease


@given(st.lists(_VERSION, max_size=8), _NUMBER, _NUMBER)
def test_a_resolved_new_version_is_never_taken_and_always_the_highest_of_its_line(
    published: list[Version], major: int, minor: int
) -> None:
    """What a wildcard publishes as can be installed by the same wildcard."""
    texts = [str(version) for version in published] + [f"{major}.{minor}.{n}" for n in range(len(published))]
    new = versions.resolve_new(f"{major}.{minor}.*", texts)
    assert new not in texts
    assert versions.resolve_published(f"{major}.{minor}.*", [*texts, new]) == new
