"""Promises of `texts`: what is said to match matches."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.routes.language.pattern import Pattern
from sidecar.routes.texts import examples
from tests.jsontext import unhurried


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("a.b", "a.b"),
        ("a_*", "a_x"),
        ("a[0-9]?", "a0x"),
        ("a[!x]", "a0"),
        ("/^mediawiki\\.revision_score_(.*)$/", "mediawiki.revision_score_x"),
        ("/^(staging|dev)$/", "staging"),
        ("/^(?:a|b)+-[a-c]{2,3}\\d$/", "a-aa0"),
        ("/(?i)^(?P<model>[A-Z]+)_/", "A_"),
        ("/[[:digit:]]x\\.?/", "0x."),
        ("/a|b/", "a"),
        ("/\\pL\\x41/", "xA"),
    ],
)
def test_a_pattern_has_an_example(pattern: str, text: str) -> None:
    """As short and plain as it can be."""
    assert examples(Pattern.parse(pattern).matchers[0])[0] == text


@pytest.mark.parametrize(
    ("source", "texts"),
    [
        ("^(staging|dev)$", ["staging", "dev"]),
        ("^(a|b(c|d))(x|y)$", ["ax", "bcx", "bdx", "ay"]),
        ("a|b|c", ["a", "b", "c"]),
    ],
)
def test_each_alternative_has_an_example(source: str, texts: list[str]) -> None:
    """Another rule may tell it from the others."""
    assert examples(Pattern.parse(f"/{source}/").matchers[0]) == texts


def test_a_pattern_that_matches_nothing_has_none() -> None:
    """It is not made up."""
    assert [examples(Pattern.parse(each).matchers[0]) for each in ("/a\\bb/", "/$^a/", "[b-a]")] == [[], [], []]


PARTS = st.sampled_from(
    ["a", "b", ".", "[ab]", "[^a]", "(a|b)", "(?:ab)", "\\d", "\\.", "*", "+", "?", "{2}", "^", "$", "|"]
)


@unhurried
@given(st.lists(PARTS, min_size=1, max_size=8).map("".join))
def test_an_example_matches(source: str) -> None:
    """Whatever the expression."""
    try:
        (matcher,) = Pattern.parse(f"/{source}/").matchers
    except ValueError:
        return
    assert all(matcher.groups_in(text) is not None for text in examples(matcher))
