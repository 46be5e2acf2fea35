"""Promises of `pattern`: what each form matches, what is refused, and how a template names a stream."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.routes.language.pattern import STREAM_NAME, Glob, Pattern, Template
from tests.jsontext import unhurried


@pytest.mark.parametrize(
    ("pattern", "text", "groups"),
    [
        pytest.param("a.v1", "a.v1", {}, id="literal: equal"),
        pytest.param("a.v1", "aXv1", None, id="literal: a dot is a dot"),
        pytest.param("a.v1", "a.v1.x", None, id="literal: the whole text"),
        pytest.param("a.v1", "A.V1", None, id="literal: letter for letter"),
        pytest.param("//", "//", {}, id="literal: two slashes hold no expression"),
        pytest.param("//", "a", None, id="literal: and do not match everything"),
        pytest.param("/a", "/a", {}, id="literal: a path"),
        pytest.param("ab/", "ab/", {}, id="literal: a slash at the end"),
        pytest.param("a|b", "a|b", {}, id="literal: an expression needs slashes"),
        pytest.param("/a/gg", "/a/gg", {}, id="literal: a path whose end is no flags"),
        pytest.param("a_*", "a_", {}, id="glob: star is nothing"),
        pytest.param("a_*", "a_b.c", {}, id="glob: star is anything"),
        pytest.param("a_*", "xa_b", None, id="glob: from the start"),
        pytest.param("*_b", "a_bx", None, id="glob: to the end"),
        pytest.param("a_*", "a_b\nc", {}, id="glob: over lines"),
        pytest.param("a.rc?", "a.rc0", {}, id="glob: one character"),
        pytest.param("a.rc?", "a.rc10", None, id="glob: not two"),
        pytest.param("*.rc[0-9]", "a.rc7", {}, id="glob: one of these"),
        pytest.param("*.rc[!0-9]", "a.rc7", None, id="glob: none of these"),
        pytest.param("A*", "a", None, id="glob: letter for letter"),
        pytest.param("/score/", "a.score.b", {}, id="regex: anywhere"),
        pytest.param("/^score/", "a.score", None, id="regex: anchored"),
        pytest.param("/Score/", "score", None, id="regex: letter for letter"),
        pytest.param("/(?i)Score/", "score", {}, id="regex: unless it says so"),
        pytest.param("/^(.*)_(?P<model>[a-z]+)$/", "x_y", {"1": "x", "2": "y", "model": "y"}, id="regex: groups"),
        pytest.param("/a(b)?c/", "ac", {"1": ""}, id="regex: a group that took no part"),
        pytest.param("/ë/", "Zoë", {}, id="regex: beyond ASCII"),
        pytest.param(["a", "b*", "/(c)/"], "a", {}, id="list: the first"),
        pytest.param(["a", "b*", "/(c)/"], "xcx", {"1": "c"}, id="list: the last, with its groups"),
        pytest.param(["/^(.)b/", "/^a(.)/"], "ab", {"1": "a"}, id="list: the first that matches gives the groups"),
        pytest.param(["a", "b*", "/(c)/"], "d", None, id="list: none"),
    ],
)
def test_a_pattern_matches(pattern: object, text: str, groups: dict[str, str] | None) -> None:
    """Each form matches as documented, and returns the captured groups; a list, as its first alternative that does."""
    found = Pattern.parse(pattern)
    assert found.groups_in(text) == groups
    alone = (each.groups_in(text) for each in found.matchers)
    assert next((each for each in alone if each is not None), None) == groups


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param("/a|b", "begins like a regular expression, but has no slash at its end; write /…/", id="no end"),
        pytest.param(
            "", "is an empty string, which matches no value; remove the key to match everything", id="empty text"
        ),
        pytest.param(
            [],
            "is an empty list, which matches nothing; remove the key to match everything",
            id="empty list",
        ),
        pytest.param(["a", 1.5], "is the number 1.5; put it in quotes", id="number in a list"),
        pytest.param(
            "/a/i",
            "ends like a regular expression with flags; write the flags at the beginning, as in /(?i)a/, or, to match "
            "exactly this text, /a/[i]",
            id="flags",
        ),
        pytest.param(
            "/a(?=b)/", "is not a regular expression that RE2 accepts: invalid perl operator: (?=", id="look-ahead"
        ),
        pytest.param(
            r"/(a)\1/", r"is not a regular expression that RE2 accepts: invalid escape sequence: \1", id="reference"
        ),
        pytest.param("/(/", "is not a regular expression that RE2 accepts: missing ): (", id="half an expression"),
    ],
)
def test_an_invalid_pattern_is_refused_with_a_fix(
    value: object, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The message has the value and what to write instead; RE2 does not write its own to stderr."""
    with pytest.raises(ValueError, match=r".") as refusal:
        Pattern.parse(value)
    assert (str(refusal.value), capfd.readouterr().err) == (message, "")


@pytest.mark.parametrize(
    ("pattern", "group_names", "literals", "written"),
    [
        pytest.param("a", set(), ("a",), "a", id="literal"),
        pytest.param("a*", set(), (), "a*", id="glob"),
        pytest.param("/(a)(?P<b>c)/", {"1", "2", "b"}, (), "/(a)(?P<b>c)/", id="regex"),
        pytest.param(["/(a)/", "/(b)(c)/"], {"1"}, (), "[/(a)/, /(b)(c)/]", id="groups that all alternatives have"),
        pytest.param(["a", "/(b)/", "c"], set(), ("a", "c"), "[a, /(b)/, c]", id="literals among others"),
    ],
)
def test_the_parts_of_a_pattern(
    pattern: object, group_names: set[str], literals: tuple[str, ...], written: str
) -> None:
    """Groups that a template may use, the literals, the source, and each alternative; equal sources are equal."""
    found = Pattern.parse(pattern)
    assert (set(found.group_names), found.literals, str(found)) == (group_names, literals, written)
    texts = pattern if isinstance(pattern, list) else [pattern]
    assert list(found.alternatives) == [Pattern.parse(text) for text in texts]
    assert found == Pattern.parse(pattern)
    assert [each.source for each in found.matchers] == [str(text).strip("/") for text in texts]


@pytest.mark.parametrize(
    ("glob", "pieces", "known"),
    [
        ("ab*cde*f", "a b * c d e * f", ("ab", "f", "cde")),
        ("abc*d*e", "a b c * d * e", ("abc", "e", "abc")),
        ("*?*?b", "? ? * b", ("", "b", "b")),
        ("a?b", "a ? b", ("a", "b", "a")),
        ("a[bc]*", "a [bc] *", ("a", "", "a")),
        ("[!]a]*?b", "[!]a] * ? b", ("", "b", "b")),
    ],
)
def test_the_parts_of_a_glob(glob: str, pieces: str, known: tuple[str, str, str]) -> None:
    """Its pieces, and the literal beginning, ending and longest part of every text that it matches."""
    found = Glob(glob)
    assert found.source == glob
    assert (" ".join(found.pieces), (found.beginning, found.ending, found.longest)) == (pieces, known)


@unhurried
@given(st.text("ab.*?[!]-", min_size=1, max_size=8), st.text("ab.!-]", max_size=8))
def test_a_glob_is_a_shells_glob(glob: str, text: str) -> None:
    """It matches the same as the standard library's."""
    found = Pattern.parse(glob).groups_in(text)
    assert (found == {}) == fnmatch.fnmatchcase(text, glob)


@unhurried
@given(st.text(max_size=20))
def test_any_stream_name_can_be_matched(text: str) -> None:
    """Each form returns a result for any text."""
    assert Pattern.parse(["a", "b*", "/c$/"]).groups_in(text) in (None, {})


def test_an_expression_cannot_be_made_slow() -> None:
    """One on which a backtracking engine hangs takes no time here."""
    assert Pattern.parse("/^(a+)+$/").groups_in("a" * 50_000 + "b") is None


@pytest.mark.parametrize(
    ("template", "name"),
    [
        pytest.param("mediawiki.revision-score-test", "mediawiki.revision-score-test", id="a fixed name"),
        pytest.param("{stream}.test", "a.b.test", id="the name that came"),
        pytest.param("{labels.isvc}.{labels.env}", "enwiki.staging", id="labels"),
        pytest.param("x.{1}.{model}", "x.first.damaging", id="groups"),
        pytest.param("{stream}{stream}", "a.ba.b", id="the same twice"),
    ],
)
def test_placeholders_are_replaced(template: str, name: str) -> None:
    """Everything else is literal."""
    found = Template.parse(template)
    words = {"1": "first", "model": "damaging"}
    assert found.expand("a.b", {"env": "staging", "isvc": "enwiki"}, words) == name
    assert str(found) == template


def test_a_value_is_not_expanded_again() -> None:
    """Text from events and labels is never read as a placeholder."""
    assert Template.parse("{stream}.{1}").expand("{1}", {}, {"1": "{stream}"}) == "{1}.{stream}"


def test_stream_is_always_the_original_name() -> None:
    """Even if a group is called `stream`."""
    assert Template.parse("{stream}.{1}").expand("a.b", {}, {"1": "b", "stream": "b"}) == "a.b.b"


@pytest.mark.parametrize(
    ("template", "labels", "groups"),
    [
        pytest.param("a", set(), set(), id="none"),
        pytest.param("{stream}", set(), set(), id="stream is neither"),
        pytest.param("{labels.a}.{labels.b-c}", {"a", "b-c"}, set(), id="labels"),
        pytest.param("{1}.{name}", set(), {"1", "name"}, id="groups"),
        pytest.param("{}", set(), {""}, id="an empty placeholder is a group that no pattern captures"),
    ],
)
def test_a_template_says_what_it_needs(template: str, labels: set[str], groups: set[str]) -> None:
    """Its labels and groups can be checked before any event comes."""
    found = Template.parse(template)
    assert (set(found.labels), set(found.groups)) == (labels, groups)


NO_PARTNER = "has an unmatched brace; write a placeholder as {stream}"
NO_NAME = "does not give a valid stream name; letters, digits, dots, dashes and underscores are allowed"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(5, "is the number 5; put it in quotes", id="a number"),
        pytest.param(
            "",
            "is an empty string; write a name such as mediawiki.revision-score-test or {stream}.test",
            id="nothing",
        ),
        pytest.param("${stream}.x", "has a placeholder with a $; write {stream}, without it", id="as in a shell"),
        pytest.param("{stream", NO_PARTNER, id="not closed"),
        pytest.param("stream}", NO_PARTNER, id="not opened"),
        pytest.param("{{stream}}", NO_PARTNER, id="doubled"),
        pytest.param("a b", NO_NAME, id="a space"),
        pytest.param(".a", NO_NAME, id="a dot in front"),
        pytest.param("zoë", NO_NAME, id="beyond ASCII"),
        pytest.param("a.*", f"{NO_NAME}; a pattern belongs in match: write match: {{stream: ...}}", id="a pattern"),
        pytest.param("/a", f"{NO_NAME}; a pattern belongs in match: write match: {{stream: ...}}", id="a slash first"),
        pytest.param("a/", NO_NAME, id="a slash last"),
        pytest.param("a\n", NO_NAME, id="a line break at the end"),
        pytest.param("a" * 201, NO_NAME, id="too long"),
    ],
)
def test_a_template_for_an_invalid_name_is_refused(value: object, message: str) -> None:
    """The message says what is allowed."""
    with pytest.raises(ValueError, match=r".") as refusal:
        Template.parse(value)
    assert str(refusal.value) == message


@pytest.mark.parametrize(
    ("name", "valid"),
    [
        ("a", True),
        ("mediawiki.page_prediction_change.rc0", True),
        ("mediawiki.revision-score-test", True),
        ("a" * 200, True),
        ("a" * 201, False),
        ("", False),
        ("-a", False),
        ("a/b", False),
        ('a"b', False),
        ("a\\b", False),
        ("ä", False),
    ],
    ids=repr,
)
def test_stream_names_are_valid_in_kafka(name: str, valid: bool) -> None:
    """They need no escape in JSON either."""
    assert bool(STREAM_NAME.fullmatch(name)) is valid
