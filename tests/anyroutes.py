"""Any configuration, pod and event, as hypothesis draws them: small alphabets, so that they meet."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from sidecar.events.event import Event, parse
from sidecar.routes.language.config import Config
from sidecar.routes.language.loader import read

NAMES = st.sampled_from(["a", "b", "ab", "ba", "a.b"])
PATTERNS = st.sampled_from(["a", "b", "ab", "a*", "*b", "*", "?", "[ab]*", "*b*", "a*b", "/a/", "/^(a+)b?$/"])
ONE_OR_MORE = st.one_of(PATTERNS, st.lists(PATTERNS, min_size=1, max_size=3))
LABELS = st.fixed_dictionaries({}, optional={"env": NAMES, "isvc": NAMES})
MATCHES = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.fixed_dictionaries({}, optional={"env": ONE_OR_MORE, "isvc": PATTERNS}),
        "stream": ONE_OR_MORE,
        "schema": PATTERNS,
        "event": st.fixed_dictionaries({}, optional={"page.wiki": PATTERNS}),
    },
)
TO = st.fixed_dictionaries(
    {"to": st.sampled_from(["production", "staging"])},
    optional={"stream": st.sampled_from(["a", "test", "{stream}.x", "{labels.isvc}", "{stream}-{labels.env}"])},
)
MIRRORS = st.fixed_dictionaries(
    {"to": st.sampled_from(["production", "staging"]), "stream": st.sampled_from(["copy", "{stream}.copy"])},
    optional={"percent": st.just(5)},
)
TO = st.builds(lambda to, mirror: to | mirror, TO, st.fixed_dictionaries({}, optional={"mirror": MIRRORS}))
ROUTES = st.builds(
    lambda match, rest: {"match": match, **rest}, MATCHES, st.one_of(TO, TO, st.just({"reject": "not today"}))
)
UPSTREAMS = st.fixed_dictionaries(
    {"url": st.sampled_from(["http://one/v1/events", "http://other/v1/events"])},
    optional={"accepts": st.lists(MATCHES, min_size=1, max_size=3), "topic_prefixes": st.just(["eqiad."])},
)
EVENTS = st.builds(
    lambda stream, schema, wiki: {
        "meta": {} if stream is None else {"stream": stream},
        **({} if schema is None else {"$schema": schema}),
        **({} if wiki is None else {"page": {"wiki": wiki}}),
    },
    st.one_of(NAMES, st.none()),
    st.one_of(NAMES, st.none()),
    st.one_of(NAMES, st.none()),
)


@st.composite
def files(draw: st.DrawFn) -> dict[str, Any]:
    """Draw what a `routes.yaml` may hold: right by itself, whether its routes make sense or not."""
    routes = draw(st.lists(ROUTES, min_size=1, max_size=5))
    tests = draw(st.lists(st.tuples(LABELS, EVENTS), max_size=3))
    return {
        "version": 1,
        "upstreams": {"production": draw(UPSTREAMS), "staging": draw(UPSTREAMS)},
        "routes": [{"name": f"r{index}", **route} for index, route in enumerate(routes)],
        "tests": [
            {"name": f"t{index}", "labels": labels, "event": event, "expect": {"refused": True}}
            for index, (labels, event) in enumerate(tests)
        ],
    }


def config_of(file: dict[str, Any]) -> Config:
    """Return the configuration that a file with this in it is."""
    return read(json.dumps(file))


def event_of(value: dict[str, Any]) -> Event:
    """Return the event with this in it."""
    return parse(json.dumps(value).encode())[0]


CONFIGS = files().map(config_of)
