"""Promises of `streamconfig`: routes that send what EventGate would not take are found, with similar names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.errors import SettingError
from sidecar.routes.inspection import inspect
from sidecar.routes.streamconfig import Declaration, StreamConfig, read, title_of

ROOT = Path(__file__).parent.parent.parent
DECLARED = {
    "score_a": {"schema_title": "score", "destination_event_service": "main", "topics": ["eqiad.score_a"]},
    "score_test": {"schema_title": "score", "destination_event_service": "main"},
    "/^tags\\.v[0-9]+$/": {"schema_title": "tags", "destination_event_service": "search", "sample": {"rate": 1}},
    "/(?<!lookbehind)that RE2 has not/": {"schema_title": "other"},
}
ROUTES = """\
version: 1
upstreams:
  main: {url: "http://main/v1/events", event_service: main}
  other: {url: "http://other/v1/events"}
routes:
  - {name: it, ROUTE}
tests:
  - {name: t, event: {$schema: SCHEMA, meta: {stream: STREAM}}, expect: {refused: false}}
"""


def answer(**streams: Any) -> bytes:
    """Return what MediaWiki answers."""
    return json.dumps({"streams": streams or DECLARED}).encode()


def found(route: str, stream: str = "score_a", schema: str = "/score/1.0.0") -> list[str]:
    """Return what is said of a file with this route and an event of this stream."""
    text = ROUTES.replace("ROUTE", route).replace("SCHEMA", schema).replace("STREAM", stream)
    inspection = inspect(text, declared=read(answer(), "saved.json"))
    every = [*inspection.problems, *inspection.warnings]
    return [f"{each.path} {each.message}" for each in every if "is not used by any route" not in each.message]


@pytest.mark.parametrize(
    ("route", "stream", "schema", "words"),
    [
        pytest.param("to: main", "score_a", "/score/2.1.0", [], id="declared"),
        pytest.param("to: other", "tags.v7", "/tags/1.0.0", [], id="declared by a regular expression"),
        pytest.param(
            "to: main",
            "score_b",
            "/score/1.0.0",
            ["routes[0] sends score_b to main, but it is not declared in saved.json (did you mean 'score_a'?)"],
            id="misspelt",
        ),
        pytest.param(
            "to: main, match: {stream: score_b}",
            "score_b",
            "/score/1.0.0",
            [
                "routes[0].match.stream sends score_b to main, but it is not declared in saved.json "
                "(did you mean 'score_a'?)"
            ],
            id="misspelt in the route",
        ),
        pytest.param(
            "to: main, stream: score_tests",
            "score_a",
            "/score/1.0.0",
            [
                "routes[0].stream sends score_tests to main, but it is not declared in saved.json "
                "(did you mean 'score_test'?)"
            ],
            id="renamed to what is not there",
        ),
        pytest.param(
            "to: main",
            "score_a",
            "/scores/1.0.0",
            [
                "routes[0] sends score_a to main, but it is declared with the schema score, "
                "and the event has /scores/1.0.0"
            ],
            id="another schema",
        ),
        pytest.param(
            "to: main",
            "tags.v1",
            "/tags/1.0.0",
            ["routes[0] sends tags.v1 to main, whose event_service is main, but it is declared for search"],
            id="another EventGate",
        ),
        pytest.param(
            "to: main, mirror: {to: other, stream: copied}",
            "score_a",
            "/score/1.0.0",
            ["routes[0].mirror sends copied to other, but it is not declared in saved.json"],
            id="a copy",
        ),
        pytest.param(
            'to: main, match: {stream: ["skore_*", score_a, "score_*"]}, stream: score_test',
            "score_a",
            "/score/1.0.0",
            ["routes[0].match.stream has skore_*, which no stream in saved.json matches (did you mean 'score_a'?)"],
            id="a pattern that matches none",
        ),
        pytest.param(
            'reject: not here, match: {stream: "skore_*"}}\n  - {name: rest, to: main',
            "score_a",
            "/score/1.0.0",
            [],
            id="a pattern for what is not sent",
        ),
        pytest.param(
            "to: main, match: {stream: [score_a, score_b]}, stream: score_test",
            "score_a",
            "/score/1.0.0",
            ["routes[0].match.stream has score_b, which no stream in saved.json matches (did you mean 'score_a'?)"],
            id="a misspelt name that is renamed",
        ),
    ],
)
def test_streams_that_eventgate_refuses_are_found(route: str, stream: str, schema: str, words: list[str]) -> None:
    """Undeclared streams, schemas with another title, another EventGate; each at its key."""
    assert found(route, stream, schema) == words


@pytest.mark.parametrize(
    ("streams", "words"),
    [
        (1, "sends tags.v0 to main, whose event_service is main, but it is declared for search"),
        (2, "sends tags.v0 and 1 more to main, whose event_service is main, but they are declared for search"),
        (3, "sends tags.v0 and 2 more to main, whose event_service is main, but they are declared for search"),
    ],
)
def test_streams_for_another_eventgate_are_reported_together(streams: int, words: str) -> None:
    """A wrong `event_service` is one mistake, however many streams go there."""
    events = "".join(
        f"  - {{name: t{n}, event: {{meta: {{stream: tags.v{n}}}}}, expect: {{refused: false}}}}\n"
        for n in range(streams)
    )
    text = ROUTES.replace("ROUTE", "to: main").replace("SCHEMA", "/score/1.0.0").replace("STREAM", "score_a") + events
    (problem,) = inspect(text, declared=read(answer(), "saved.json")).problems
    assert problem.message == words


def test_the_shipped_routes_send_only_streams_of_the_example() -> None:
    """With the schemas and EventGates declared there."""
    example = ROOT / "examples" / "streamconfigs.json"
    inspection = inspect((ROOT / "routes.yaml").read_text(), declared=read(example.read_bytes(), example.name))
    assert (inspection.problems, inspection.warnings) == ((), ())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"<html>", "x is not an answer to action=streamconfigs: JSON is malformed: invalid character (byte 0)"),
        (b'{"batchcomplete": true}', 'x is not an answer to action=streamconfigs: it has no "streams"'),
        (answer(a={"topics": "b"}), "x is not an answer to action=streamconfigs: Expected `array`, got `str`"),
        (b'{"error": {"code": "badvalue", "info": "Unrecognized value"}}', "x is an error of MediaWiki: Unrecognized"),
        (answer(a={"sample": {}}), "x has no schema_title; ask for action=streamconfigs&all_settings=true"),
        (b"[" * 100_000, "x is not an answer to action=streamconfigs: "),
    ],
    ids=["no JSON", "another answer", "of another kind", "an error", "not all settings", "deep"],
)
def test_an_invalid_answer_is_refused(text: bytes, words: str) -> None:
    """With the right request."""
    with pytest.raises(SettingError) as refusal:
        read(text, "x")
    assert str(refusal.value).startswith(words)


def test_a_declaration_by_name_comes_before_one_by_pattern() -> None:
    """As in MediaWiki: the name is more specific."""
    both = StreamConfig({"/^a/": Declaration("pattern"), "a": Declaration("name")}, "x")
    assert (both.of("a"), both.of("ab"), both.of("b")) == (Declaration("name"), Declaration("pattern"), None)


def test_the_title_of_a_schema_is_its_path_without_the_version() -> None:
    """As in EventGate's schemas."""
    assert title_of("/mediawiki/revision/score/3.0.0") == "mediawiki/revision/score"
