"""The demo's check finds every error, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sidecar.demo.modelserver import DRAFTTOPIC, INVALID, OUTLINK, Kind, Posted
from sidecar.demo.proof import PROBLEMS, Gate, Record, lines_of, problems, repeated, ways
from sidecar.routes.language.loader import read
from sidecar.routes.routing import Router

EQIAD = Gate("eqiad", "staging", "127.0.0.2", "staging.")
CODFW = Gate("codfw", "staging", "127.0.0.3", "staging.")
PRODUCTION = Gate("production", "production", "127.0.0.1", "eqiad.")
ROUTER = Router(
    read((Path(__file__).parent.parent.parent / "routes.yaml").read_text()), {"env": "staging", "isvc": "demo"}
)


def post(kind: Kind, status: int = 201, id: str = "a") -> Posted:  # noqa: A002  as EventGate calls it
    """Return an event that was sent and answered."""
    body = f'{{"meta": {{"stream": "{kind.stream}", "id": "{id}"}}, "n": 1.0}}'.encode()
    return Posted(kind, id, body, status, "", 0.001)


def record(post: Posted, gate: Gate, stream: str) -> Record:
    """Return an event as stored by an EventGate in `stream`."""
    raw = post.body.replace(post.kind.stream.encode(), stream.encode())
    return Record(gate, stream, f"{gate.prefix}{stream}", post.id, raw)


TEST_STREAM = "mediawiki.revision-score-test"
SCORE, INVALID_SCORE, TOPIC = post(DRAFTTOPIC), post(INVALID, 400, "b"), post(OUTLINK, id="c")
ARRIVED_SCORE = record(SCORE, PRODUCTION, TEST_STREAM)
ARRIVED_TOPIC = record(TOPIC, EQIAD, OUTLINK.stream)


def found(posts: list[Posted], records: list[Record]) -> list[str]:
    """Return the problems found."""
    return [problem for problem, _ in problems(posts, records, ROUTER)]


def test_correct_events_are_no_problem() -> None:
    """A renamed score, a score under its own name, and an invalid event that did not arrive."""
    assert found([SCORE, INVALID_SCORE, TOPIC], [ARRIVED_SCORE, ARRIVED_TOPIC]) == []


SPOILT = {
    "nowhere": (["lost"], [ARRIVED_TOPIC]),
    "twice in one file": (["doubled"], [ARRIVED_SCORE, ARRIVED_TOPIC, ARRIVED_SCORE]),
    "never sent": (["doubled"], [ARRIVED_SCORE, ARRIVED_TOPIC, replace(ARRIVED_TOPIC, id="d")]),
    "other upstream": (["misplaced"], [record(SCORE, EQIAD, TEST_STREAM), ARRIVED_TOPIC]),
    "other topic": (["misplaced"], [ARRIVED_SCORE, replace(ARRIVED_TOPIC, topic="eqiad.topic")]),
    "other bytes": (["changed"], [replace(ARRIVED_SCORE, raw=SCORE.body), ARRIVED_TOPIC]),
    "other stream": (["misplaced", "changed"], [ARRIVED_SCORE, record(TOPIC, EQIAD, "elsewhere")]),
    "production": (
        ["misplaced", "in_production_streams"],
        [ARRIVED_SCORE, record(TOPIC, PRODUCTION, OUTLINK.stream)],
    ),
}


@pytest.mark.parametrize(("expected", "records"), SPOILT.values(), ids=SPOILT)
def test_every_kind_of_error_is_found(expected: list[str], records: list[Record]) -> None:
    """By its name."""
    assert found([SCORE, INVALID_SCORE, TOPIC], records) == expected
    assert set(expected) <= set(PROBLEMS)


def test_a_wrong_answer_is_found() -> None:
    """A good event that was refused, or a bad one that was accepted."""
    assert found([replace(SCORE, status=500)], []) == ["wrongly_answered"]
    assert found([replace(INVALID_SCORE, status=201)], [record(INVALID_SCORE, PRODUCTION, TEST_STREAM)]) == [
        "wrongly_answered"
    ]


def test_a_refused_event_must_not_arrive() -> None:
    """In any EventGate."""
    assert found([INVALID_SCORE], [record(INVALID_SCORE, PRODUCTION, TEST_STREAM)]) == ["doubled"]


def test_an_event_in_two_datacenters_is_counted_but_no_problem() -> None:
    """After a late answer the event is sent to the next datacenter too."""
    both = [record(TOPIC, EQIAD, OUTLINK.stream), record(TOPIC, CODFW, OUTLINK.stream)]
    assert found([TOPIC], both) == []
    assert repeated(both) == 1


def test_ways_count_what_arrived_where() -> None:
    """For each kind of event: how many were sent, and where they are."""
    way = next(
        way for way in ways([SCORE, TOPIC], [ARRIVED_SCORE, ARRIVED_TOPIC]) if way["stream"] == DRAFTTOPIC.stream
    )
    assert way["sent"] == 1
    assert way["arrived"] == [
        {
            "gate": "production",
            "upstream": "production",
            "stream": TEST_STREAM,
            "topic": f"eqiad.{TEST_STREAM}",
            "events": 1,
        }
    ]


def test_an_incomplete_line_is_skipped(tmp_path: Path) -> None:
    """Files are read while they are written."""
    path = tmp_path / "lines"
    assert lines_of(path) == []
    path.write_text('{"a": 1}\nnot JSON\n{"b": ')
    assert lines_of(path) == [{"a": 1}]
