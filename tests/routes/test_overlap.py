"""Promises of `overlap`: where it says yes it is certain, and for names and globs it says yes where it is so."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.routes.overlap import covers, disjoint
from sidecar.routes.pattern import Pattern
from tests.jsontext import unhurried

TEXTS = st.text("ab.", max_size=5)
GLOBS = st.lists(st.sampled_from(["a", "b", ".", "*", "?", "[ab]", "[!a]", "[", "]", "[]"]), min_size=1, max_size=5)
PATTERNS = st.one_of(GLOBS.map("".join), st.sampled_from(["/a/", "/^a/", "/b$/"]))


@pytest.mark.parametrize(
    ("wide", "narrow", "yes"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("mediawiki.*", "mediawiki.score", True),
        ("mediawiki.*", "mediawiki.score_*", True),
        ("mediawiki.score_*", "mediawiki.*", False),
        ("*", "/anything/", True),
        ("*?", "?*", True),
        ("?*", "*", False),
        ("a[bc]", "ab", True),
        ("a[bc]*", "a[bc]d", True),
        ("a?", "a[bc]", True),
        ("a*b*c", "a*bc", True),
        ("/^a/", "abc", True),
        ("/^a/", "/^a/", True),
        ("/^a/", "/^ab/", False),
        ("/^a/", "a*", False),
        (["a", "b*"], ["b1", "a"], True),
        (["a", "b*"], ["b1", "c"], False),
    ],
)
def test_one_pattern_covers_another(wide: object, narrow: object, *, yes: bool) -> None:
    """As an operator would see it; of regular expressions only what is plain."""
    assert covers(Pattern.parse(wide), Pattern.parse(narrow)) is yes


@pytest.mark.parametrize(
    ("one", "other", "yes"),
    [
        ("a", "b", True),
        ("a", "a", False),
        ("staging", "prod*", True),
        ("a*", "b*", True),
        ("*a", "*b", True),
        ("a*", "*a", False),
        ("a[bc]", "a[cd]", False),
        ("a[bc]", "ad", True),
        ("/^a/", "b", True),
        ("/^a/", "b*", False),
        (["a", "b"], ["c", "d*"], True),
        (["a", "b"], ["c", "b*"], False),
    ],
)
def test_two_patterns_have_nothing_in_common(one: object, other: object, *, yes: bool) -> None:
    """In either order; where it cannot be told, they may have something in common."""
    assert disjoint(Pattern.parse(one), Pattern.parse(other)) is yes
    assert disjoint(Pattern.parse(other), Pattern.parse(one)) is yes


@unhurried
@given(PATTERNS, PATTERNS, TEXTS)
def test_what_is_said_holds_for_every_text(one: str, other: str, text: str) -> None:
    """No text that the narrow pattern takes escapes the wide one, and none is in two that are disjoint."""
    a, b = Pattern.parse(one), Pattern.parse(other)
    in_a, in_b = a.groups_in(text) is not None, b.groups_in(text) is not None
    assert not (covers(a, b) and in_b and not in_a)
    assert not (disjoint(a, b) and in_a and in_b)


@unhurried
@given(st.text("ab*?", min_size=1, max_size=6))
def test_a_glob_covers_itself_and_everything_covers_it(glob: str) -> None:
    """Whichever way its `*` and `?` are arranged."""
    pattern = Pattern.parse(glob)
    assert covers(pattern, pattern)
    assert covers(Pattern.parse("*"), pattern)
    assert not disjoint(pattern, pattern)
