"""Promises of `template`: the new name of a stream."""

from __future__ import annotations

import pytest

from sidecar.routes.template import STREAM_NAME, Template


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
def test_placeholders_become_words(template: str, name: str) -> None:
    """Each placeholder is replaced by its word, everything else stands for itself."""
    found = Template.parse(template)
    words = {"1": "first", "model": "damaging"}
    assert found.expand("a.b", {"env": "staging", "isvc": "enwiki"}, words) == name
    assert str(found) == template


def test_a_word_is_not_expanded_again() -> None:
    """What an event or a label brings in is never read as a placeholder."""
    assert Template.parse("{stream}.{1}").expand("{1}", {}, {"1": "{stream}"}) == "{1}.{stream}"


def test_stream_is_always_the_name_that_came() -> None:
    """A group that happens to be called `stream` does not change what `{stream}` means."""
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
    """The labels and the groups a template takes words from can be checked before any event comes."""
    found = Template.parse(template)
    assert (set(found.labels), set(found.groups)) == (labels, groups)


NOT_A_TEXT = "is no stream name; write a text such as mediawiki.revision-score-test or {stream}.test"
NO_PARTNER = "has a brace without its partner; a placeholder is written {stream}"
NO_NAME = "gives no valid stream name; letters, digits, dots, dashes and underscores are allowed"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        pytest.param(5, NOT_A_TEXT, id="a number"),
        pytest.param("", NOT_A_TEXT, id="nothing"),
        pytest.param("{stream", NO_PARTNER, id="not closed"),
        pytest.param("stream}", NO_PARTNER, id="not opened"),
        pytest.param("{{stream}}", NO_PARTNER, id="doubled"),
        pytest.param("a b", NO_NAME, id="a space"),
        pytest.param(".a", NO_NAME, id="a dot in front"),
        pytest.param("zoë", NO_NAME, id="beyond ASCII"),
        pytest.param("a\n", NO_NAME, id="a line break at the end"),
        pytest.param("a" * 201, NO_NAME, id="too long"),
    ],
)
def test_what_gives_no_stream_name_is_refused(value: object, message: str) -> None:
    """A template that could not give a stream name is refused with what is allowed."""
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
def test_a_stream_name_is_one_kafka_takes(name: str, valid: bool) -> None:
    """A stream's name holds what a Kafka topic may, and nothing that JSON would need to escape."""
    assert bool(STREAM_NAME.fullmatch(name)) is valid
