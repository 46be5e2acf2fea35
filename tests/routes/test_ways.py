"""Promises of `ways`: each stream's way from each kind of pod is the router's, or marked open."""

from __future__ import annotations

import pytest

from sidecar.routes.language.loader import read
from sidecar.routes.routing import Router
from sidecar.routes.samples import Pod, event_of, pods_of
from sidecar.routes.ways import CopyWay, Row, Way, pod_in_words, row_as_data, rows, way_of

ROUTES = """\
version: 1
upstreams:
  production:
    url: http://production/v1/events
    topic_prefixes: [eqiad., codfw.]
    accepts: [{labels: {env: production}}, {stream: test, schema: "/score/*"}]
  staging: {url: "http://{datacenter}/v1/events", datacenters: [eqiad, codfw], topic_prefixes: [staging.]}
routes:
  - {name: scores, match: {labels: {env: staging}, schema: "/score/*"}, to: production, stream: test}
  - {name: links, match: {labels: {env: staging}, stream: link}, to: staging}
  - {name: tests, match: {labels: {env: staging}, stream: test}, to: production}
  - {name: never, match: {stream: never}, reject: not today}
  - {name: production, match: {labels: {env: production}}, to: production}
"""
PRODUCTION = ("http://production/v1/events",)
PREFIXES = ("eqiad.", "codfw.")


@pytest.mark.parametrize(
    ("env", "stream", "schema", "way"),
    [
        ("staging", "a", "/score/1", Way("production", "test", PREFIXES, PRODUCTION)),
        (
            "staging",
            "link",
            "/links/1",
            Way("staging", "link", ("staging.",), ("http://eqiad/v1/events", "http://codfw/v1/events")),
        ),
        ("staging", "link", None, Way(depends_on="schema")),
        ("staging", "other", "/links/1", Way()),
        ("production", "never", None, Way()),
        ("production", "a", None, Way("production", "a", PREFIXES, PRODUCTION)),
    ],
    ids=["renamed", "kept", "open", "no route", "rejected", "production"],
)
def test_the_way_of_a_stream(env: str, stream: str, schema: str | None, way: Way) -> None:
    """Upstream, name and topics, or none; an unknown schema is not guessed."""
    found = way_of(Router(read(ROUTES), {"env": env}), event_of(stream, schema))
    assert found == way
    assert found.refused is (way == Way())


@pytest.mark.parametrize(("stream", "route"), [("never", "never"), ("link", "links"), ("test", "tests")])
def test_a_way_names_its_route(stream: str, route: str) -> None:
    """Also one that rejects."""
    assert way_of(Router(read(ROUTES), {"env": "staging"}), event_of(stream, "/links/1")).route == route


@pytest.mark.parametrize(
    ("to", "copy"),
    [("staging", ("staging", "b", ("staging.",), 10)), ("production", None)],
    ids=["accepted", "not accepted"],
)
def test_the_way_of_a_copy(to: str, copy: tuple[object, ...] | None) -> None:
    """Upstream, name, topics and share; none if its upstream does not accept it."""
    text = ROUTES.replace(
        "to: production, stream: test}", f"to: production, stream: test, mirror: {{to: {to}, stream: b, percent: 10}}}}"
    )
    found = way_of(Router(read(text), {"env": "staging"}), event_of("a", "/score/1")).copy
    assert (found and (found.upstream, found.stream, found.topic_prefixes, found.percent)) == copy


def test_what_accepts_asks_for_may_be_open_too() -> None:
    """If only the upstream reads the schema, the way depends on it as well."""
    text = ROUTES.replace('schema: "/score/*"}, to', "stream: score_a}, to")
    router = Router(read(text), {"env": "staging"})
    assert way_of(router, event_of("test")).depends_on == "schema"
    assert way_of(router, event_of("score_a")).depends_on == "schema"  # it arrives as `test`


def test_topics_are_prefix_and_name() -> None:
    """One for each prefix, as in Kafka."""
    assert Way("production", "a", PREFIXES).topics == ("eqiad.a", "codfw.a")


def test_every_pod_has_every_stream() -> None:
    """A row for each; a stream whose events all go one way has one row, whatever their schemas."""
    config = read(ROUTES)
    events = [event_of("a", schema) for schema in ("/score/1", "/score/2", "/links/1")]
    found = rows(config, pods_of([config]), [*events, event_of("never")])
    assert [(row.pod.get("env"), row.stream, row.way.upstream) for row in found] == [
        ("production", "a", "production"),
        ("production", "never", None),
        ("staging", "a", "production"),
        ("staging", "a", None),
        ("staging", "never", None),
        (None, "a", None),
        (None, "never", None),
    ]


def test_a_row_has_the_original_stream() -> None:
    """Not the new name."""
    assert Row(Pod({}, {}), event_of("a"), Way("u", "b")).stream == "a"


def test_a_way_for_a_program_has_its_copy() -> None:
    """All of a row, by its names."""
    row = Row(
        Pod({"env": "a"}, {"env": ["b"]}),
        event_of("s", "/score/1"),
        Way("u", "t", ("p.",), copy=CopyWay("v", "c", ("q.",), percent=5), route="r"),
    )
    assert row_as_data(row) == {
        "labels": {"env": "a"},
        "alike": {"env": ["b"]},
        "stream": "s",
        "schema": "/score/1",
        "route": "r",
        "upstream": "u",
        "sent_as": "t",
        "topics": ["p.t"],
        "refused": None,
        "depends_on": None,
        "copy": {"upstream": "v", "sent_as": "c", "percent": 5, "topics": ["q.c"]},
    }
    refused = row_as_data(Row(Pod({}, {}), event_of("s"), Way(refusal="not today")))
    assert (refused["route"], refused["refused"], refused["copy"]) == (None, "not today", None)


@pytest.mark.parametrize(
    ("pod", "words"),
    [
        (Pod({}, {}), "no labels"),
        (Pod({"env": "a", "isvc": "m"}, {}), "env=a isvc=m"),
        (Pod({"env": "a"}, {"env": ["b"]}), "env=a (or b)"),
        (Pod({"env": "a"}, {"env": ["b", "c", "d"]}), "env=a (or b, c, d)"),
        (Pod({"env": "a"}, {"env": ["b", "c", "d", "e", "f"]}), "env=a (or b, c, d and 2 more)"),
    ],
)
def test_a_pod_is_named_by_its_labels(pod: Pod, words: str) -> None:
    """With the values that are treated the same."""
    assert pod_in_words(pod) == words


def test_a_way_that_depends_on_the_schema_names_its_route() -> None:
    """The first one that may match."""
    assert way_of(Router(read(ROUTES), {"env": "staging"}), event_of("link")).route != ""
