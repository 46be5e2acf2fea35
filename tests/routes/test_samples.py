"""Promises of `samples`: every name that a configuration spells out is used, and none is made up silently."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.errors import SettingError
from sidecar.routes.language.config import Config
from sidecar.routes.language.loader import read
from sidecar.routes.routing import Router
from sidecar.routes.samples import (
    MAX_PODS,
    Pod,
    event_of,
    events_of,
    examples_of,
    needs_not_too_many,
    pods_of,
    streams_named_by,
    without_example,
)
from sidecar.routes.ways import way_of
from tests.anyroutes import CONFIGS, EVENTS
from tests.anyroutes import event_of as event_of_value
from tests.jsontext import unhurried

OTHER = ("any-other-stream", None, None, "any other stream")


def config(*routes: dict[str, Any], tests: list[dict[str, Any]] | None = None, accepts: Any = None) -> Config:
    """Return a configuration of these routes."""
    named = [{"name": f"r{index}", "to": "u", **route} for index, route in enumerate(routes or ({},))]
    upstream = {"url": "http://u/v1/events", **({"accepts": accepts} if accepts else {})}
    examples = [{"name": "t", "expect": {"refused": False}, **test} for test in tests or ()]
    return read(json.dumps({"version": 1, "upstreams": {"u": upstream}, "routes": named, "tests": examples}))


def test_streams_are_those_spelt_out() -> None:
    """Names in tests, routes and `accepts`, in this order; a pattern has no name."""
    found = config(
        {"match": {"stream": ["literal", "glob.*", "/regex/"]}, "stream": "to"},
        {"match": {"stream": "other"}, "stream": "other-{stream}"},
        tests=[{"event": {"meta": {"stream": "tested"}}}],
        accepts=[{"stream": ["accepted", "accepted-*"]}, {"stream": "to"}],
    )
    assert streams_named_by(found) == ["tested", "literal", "to", "other", "accepted"]


def test_an_event_of_a_test_is_taken_as_it_is() -> None:
    """It stands for its stream; one with another value that a route reads is separate."""
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
    """They come first, and their streams get no bare event."""
    found = config({"match": {"stream": ["a", "b"]}})
    assert [(e.stream, e.schema) for e in events_of([found], [event_of("b", "/s/1.0.0")])] == [
        ("b", "/s/1.0.0"),
        ("a", None),
    ]


@pytest.mark.parametrize(
    ("routes", "tests", "pods"),
    [
        ([{}], [{"env": "staging"}], [{}]),
        ([{"match": {"labels": {"env": ["a", "b"]}}}], [], [{"env": "a"}, {}]),
        (
            [{"match": {"labels": {"env": "a"}}}, {"match": {"labels": {"env": "b"}}}],
            [],
            [{"env": "a"}, {"env": "b"}, {}],
        ),
        ([{"match": {"labels": {"env": "a*"}}}], [{"env": "ab"}], [{"env": "ab"}, {}]),
        ([{"match": {"labels": {"env": "a*?"}}}], [{"env": "b"}], [{"env": "axx"}, {}]),
        ([{"match": {"labels": {"env": "/^(dev|test)-[0-9]+$/"}}}], [], [{"env": "dev-0"}, {}]),
        ([{"match": {"labels": {"env": "a"}}}], [{"env": "b", "isvc": "c"}], [{"env": "a"}, {}]),
        ([{"stream": "{labels.isvc}"}], [], [{"isvc": "isvc"}, {}]),
        (
            [{"match": {"labels": {"env": "a", "isvc": "b"}}}],
            [],
            [{"env": "a", "isvc": "b"}, {}],
        ),
    ],
    ids=[
        "none asked for",
        "a list",
        "names",
        "a glob",
        "no name for a glob",
        "an expression",
        "what no rule has",
        "a template",
        "two",
    ],
)
def test_pods_differ_in_the_labels_that_are_used(
    routes: list[dict[str, Any]], tests: list[dict[str, str]], pods: list[dict[str, str]]
) -> None:
    """Every value in tests and routes, and a pod without the label."""
    given = [{"labels": labels, "event": {"meta": {"stream": "a"}}} for labels in tests]
    assert pods_of([config(*routes, tests=given)]) == pods


def test_values_that_no_rule_tells_apart_are_one() -> None:
    """Twenty names in one rule are one kind of pod, and all of them are known; in a new name each is its own."""
    names = [f"n{number}" for number in range(20)]
    pod, without = pods_of([config({"match": {"labels": {"isvc": names}}})])
    assert (pod, pod.alike, without) == ({"isvc": "n0"}, {"isvc": names[1:]}, {})
    assert len(pods_of([config({"match": {"labels": {"isvc": names}}, "stream": "{labels.isvc}"})])) == 21


def test_labels_that_combine_to_millions_of_pods_are_few_kinds() -> None:
    """Only combinations that a rule tells apart are looked at."""
    found = pods_of([config({"match": {"labels": {f"l{n}": [f"v{m}" for m in range(20)] for n in range(8)}}})])
    assert len(found) == 2


def test_too_many_kinds_of_pods_are_refused() -> None:
    """Nothing is left out unsaid."""
    routes = [{"match": {"labels": {f"l{n}": "v"}}} for n in range(12)]
    with pytest.raises(SettingError, match=f"over {MAX_PODS} kinds of pods"):
        pods_of([config(*routes)])


def test_patterns_without_an_example_are_named() -> None:
    """What they match is not in a table, and that is said."""
    backwards = {"stream": "/^(?:x[^\\x00-\\x7f]){3}$/", "labels": {"env": "staging"}}
    configs = [config({"match": backwards}, {"match": {"stream": "named"}})]
    assert without_example(configs, [Pod({"env": "staging"}, {})], [event_of("named")]) == [
        f"stream {backwards['stream']}"
    ]


def test_a_table_that_is_too_long_is_refused() -> None:
    """With its size; one of the largest size is made."""
    pods, events = [Pod({}, {})] * 2, [event_of("a"), event_of("b"), event_of("c")]
    needs_not_too_many(pods, events, 6)
    with pytest.raises(SettingError, match="3 events from 2 kinds of pods are too many"):
        needs_not_too_many(pods, events, 5)


@pytest.mark.parametrize(
    ("match", "examples"),
    [
        ({"stream": "score_*"}, [("score_x", None, None, "stream score_*")]),
        ({"stream": ["named", "score_*"]}, [OTHER]),
        ({"stream": "named", "schema": "/s/*"}, [("named", "/s/x", None, "stream named and schema /s/*"), OTHER]),
        ({"event": {"page.wiki": "/^en/"}}, [("any-other-stream", None, "en", "event.page.wiki /^en/")]),
    ],
    ids=["a glob", "known already", "a schema", "what is in it"],
)
def test_each_pattern_has_an_example(match: dict[str, Any], examples: list[tuple[str | None, ...]]) -> None:
    """An event that fits where no known one does, and one that fits none."""
    found = examples_of([config({"match": match})], [event_of("named")] if match.get("schema") is None else [])
    assert [(e.stream, e.schema, e.value_at("page.wiki"), words) for e, words in found] == examples


@unhurried
@given(CONFIGS, st.data(), EVENTS)
def test_no_pod_goes_a_way_that_none_of_its_kind_goes(
    config: Config, data: st.DataObject, value: dict[str, Any]
) -> None:
    """Whatever labels that the files know it has: one of the pods that are looked at sends everything the same way."""
    event, pods = event_of_value(value), pods_of([config])
    known = {name: [*{pod[name] for pod in pods if name in pod}] for pod in pods for name in pod}
    known |= {name: [*known[name], *values] for pod in pods for name, values in pod.alike.items()}
    labels = {name: data.draw(st.sampled_from(values)) for name, values in known.items() if data.draw(st.booleans())}
    assert way_of(Router(config, labels), event) in [way_of(Router(config, pod), event) for pod in pods]
