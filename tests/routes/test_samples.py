"""Promises of `samples`: every name that a configuration writes out is asked about, and none is made up unsaid."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.routes.config import Config
from sidecar.routes.loader import read
from sidecar.routes.samples import MAX_PODS, event_of, events_of, pods_of, streams_named_by


def config(*routes: dict[str, Any], tests: list[dict[str, Any]] | None = None, accepts: Any = None) -> Config:
    """Return a configuration of these routes."""
    named = [{"name": f"r{index}", "to": "u", **route} for index, route in enumerate(routes or ({},))]
    upstream = {"url": "http://u/v1/events", **({"accepts": accepts} if accepts else {})}
    examples = [{"name": "t", "expect": {"refused": False}, **test} for test in tests or ()]
    return read(json.dumps({"version": 1, "upstreams": {"u": upstream}, "routes": named, "tests": examples}))


def test_streams_are_those_that_are_written_out() -> None:
    """Names in tests, in routes and in `accepts`, in this order; what only matches a pattern has no name."""
    found = config(
        {"match": {"stream": ["literal", "glob.*", "/regex/"]}, "stream": "to"},
        {"match": {"stream": "other"}, "stream": "other-{stream}"},
        tests=[{"event": {"meta": {"stream": "tested"}}}],
        accepts=[{"stream": ["accepted", "accepted-*"]}, {"stream": "to"}],
    )
    assert streams_named_by(found) == ["tested", "literal", "to", "other", "accepted"]


def test_an_event_of_a_test_is_taken_as_it_is() -> None:
    """A test's event stands for its stream; one that differs in what a route looks at is another."""
    events = [{"meta": {"stream": "a"}, "wiki": wiki, "n": n} for n, wiki in enumerate(("de", "de", "en"))]
    found = config(
        {"match": {"event": {"wiki": "de"}}}, {"match": {"stream": "b"}}, tests=[{"event": e} for e in events]
    )
    assert [(event.stream, event.value_at("wiki"), event.value_at("n")) for event in events_of([found])] == [
        ("a", "de", "0"),
        ("a", "en", "2"),
        ("b", None, None),
    ]


def test_more_events_may_be_given() -> None:
    """They come first, and a bare one is not made up for a stream that is given."""
    found = config({"match": {"stream": ["a", "b"]}})
    assert [(e.stream, e.schema) for e in events_of([found], [event_of("b", "/s/1.0.0")])] == [
        ("b", "/s/1.0.0"),
        ("a", None),
    ]


@pytest.mark.parametrize(
    ("routes", "tests", "pods"),
    [
        ([{}], [{"env": "staging"}], [{}]),
        ([{"match": {"labels": {"env": ["a", "b"]}}}], [], [{"env": "a"}, {"env": "b"}, {}]),
        ([{"match": {"labels": {"env": "a*"}}}], [{"env": "ab"}], [{"env": "ab"}, {}]),
        ([{"match": {"labels": {"env": "a*?"}}}], [{"env": "b"}], [{"env": "b"}, {"env": "axx"}, {}]),
        ([{"match": {"labels": {"env": "a"}}}], [{"env": "b", "isvc": "c"}], [{"env": "b"}, {"env": "a"}, {}]),
        ([{"stream": "{labels.isvc}"}], [], [{"isvc": "isvc"}, {}]),
        (
            [{"match": {"labels": {"env": "a", "isvc": "b"}}}],
            [],
            [{"env": "a", "isvc": "b"}, {"env": "a"}, {"isvc": "b"}, {}],
        ),
    ],
    ids=["none asked for", "names", "a glob", "no name for a glob", "only what is asked for", "a template", "two"],
)
def test_pods_are_told_apart_by_the_labels_that_are_asked_for(
    routes: list[dict[str, Any]], tests: list[dict[str, str]], pods: list[dict[str, str]]
) -> None:
    """Every value that is written out, in tests and in routes, and a pod without the label."""
    given = [{"labels": labels, "event": {"meta": {"stream": "a"}}} for labels in tests]
    assert pods_of([config(*routes, tests=given)]) == pods


def test_pods_are_bounded() -> None:
    """Where labels combine to too many pods, those of the tests are asked about."""
    labels = {f"l{n}": [f"v{m}" for m in range(9)] for n in range(3)}
    test = {"labels": {"l0": "v1", "other": "x"}, "event": {"meta": {"stream": "a"}}}
    assert MAX_PODS < 10**3
    assert pods_of([config({"match": {"labels": labels}}, tests=[test, test])]) == [{"l0": "v1"}]
