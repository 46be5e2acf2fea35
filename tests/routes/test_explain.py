"""Promises of `explain`: it shows which route took an event and why each earlier one did not."""

from __future__ import annotations

import json

import pytest

from sidecar.events.event import parse
from sidecar.routes.explain import Explanation, explanation
from sidecar.routes.language.loader import read
from sidecar.routes.routing import Router

ROUTES = """\
version: 1
upstreams:
  production:
    url: https://eventgate-main.discovery.wmnet:4492/v1/events
    topic_prefixes: [eqiad., codfw.]
    accepts: [{labels: {env: production}}, {stream: score-test}]
  staging: {url: "https://staging.svc.{datacenter}.wmnet:4492/v1/events", datacenters: [eqiad, codfw]}
routes:
  - {name: scores, match: {labels: {env: staging}, stream: "score_*"}, to: production, stream: score-test}
  - {name: never, match: {stream: never}, reject: not today}
  - {name: mistake, match: {labels: {env: staging}, schema: "/tags/*"}, to: production}
  - {name: staging, match: {labels: {env: staging}}, to: staging}
  - {name: rest, match: {labels: {env: other}, event: {a.b: "1"}}, to: staging}
"""
NO_TAGS = "schema should match /tags/*, but there is none"
NO_SCORE = "stream should match score_*, but it is page"

NOT_FROM_STAGING = "labels.env should match production, but it is staging"
NOT_SAID = "labels.env should match staging, but there is none"

RENAMED = Explanation(
    stream="score_a",
    schema=None,
    labels={"env": "staging", "isvc": "a"},
    routes=[{"name": "scores", "matched": True, "because": "labels.env is staging, stream is score_a"}],
    refused=None,
    upstream="production",
    sent_as="score-test",
    accepts=[
        {"name": "production.accepts[0]", "matched": False, "because": NOT_FROM_STAGING},
        {"name": "production.accepts[1]", "matched": True, "because": "stream is score-test"},
    ],
    topics=["eqiad.score-test", "codfw.score-test"],
    endpoints=["https://eventgate-main.discovery.wmnet:4492/v1/events"],
    copy=None,
)
KEPT = Explanation(
    stream="page",
    schema=None,
    labels={"env": "staging"},
    routes=[
        {"name": "scores", "matched": False, "because": NO_SCORE},
        {"name": "never", "matched": False, "because": "stream should match never, but it is page"},
        {"name": "mistake", "matched": False, "because": NO_TAGS},
        {"name": "staging", "matched": True, "because": "labels.env is staging"},
    ],
    refused=None,
    upstream="staging",
    sent_as="page",
    accepts=[],
    topics=[],
    endpoints=[
        "https://staging.svc.eqiad.wmnet:4492/v1/events",
        "https://staging.svc.codfw.wmnet:4492/v1/events",
    ],
    copy=None,
)
NOT_ACCEPTED = Explanation(
    stream="page",
    schema="/tags/1",
    labels={"env": "staging"},
    routes=[
        {"name": "scores", "matched": False, "because": NO_SCORE},
        {"name": "never", "matched": False, "because": "stream should match never, but it is page"},
        {"name": "mistake", "matched": True, "because": "labels.env is staging, schema is /tags/1"},
    ],
    refused="route mistake sends it to production, which does not accept stream page from env=staging; "
    "see upstreams.production.accepts in routes.yaml",
    upstream=None,
    sent_as=None,
    accepts=[
        {"name": "production.accepts[0]", "matched": False, "because": NOT_FROM_STAGING},
        {
            "name": "production.accepts[1]",
            "matched": False,
            "because": "stream should match score-test, but it is page",
        },
    ],
    topics=[],
    endpoints=[],
    copy=None,
)
REFUSED = Explanation(
    stream=None,
    schema=None,
    labels={},
    routes=[
        {"name": "scores", "matched": False, "because": NOT_SAID},
        {"name": "never", "matched": False, "because": "stream should match never, but there is none"},
        {"name": "mistake", "matched": False, "because": NOT_SAID},
        {"name": "staging", "matched": False, "because": NOT_SAID},
        {"name": "rest", "matched": False, "because": "labels.env should match other, but there is none"},
    ],
    refused="no route in routes.yaml takes an event without meta.stream from a pod without labels; "
    "post to a stream that has a route, or ask for one",
    upstream=None,
    sent_as=None,
    accepts=[],
    topics=[],
    endpoints=[],
    copy=None,
)


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        pytest.param("score_a", RENAMED, id="renamed"),
        pytest.param("page", KEPT, id="kept"),
        pytest.param("page", NOT_ACCEPTED, id="not accepted"),
        pytest.param(None, REFUSED, id="refused"),
    ],
)
def test_the_way_of_an_event_is_data(stream: str | None, found: Explanation) -> None:
    """Routes in order, up to the first that matches; then upstream and name."""
    router = Router(read(ROUTES), found["labels"])
    (event,) = parse(json.dumps([{"$schema": found["schema"], "meta": {"stream": stream} if stream else {}}]).encode())
    assert explanation(router, event) == found


def test_an_event_without_a_stream_is_sent_without_one() -> None:
    """No name is made up for it."""
    (event,) = parse(b"[{}]")
    found = explanation(Router(read(ROUTES), {"env": "staging"}), event)
    assert (found["upstream"], found["sent_as"]) == ("staging", None)


def test_a_route_without_a_match_says_so() -> None:
    """It has no value to show; a value in the event is shown as compared."""
    (event,) = parse(b'{"meta":{"stream":"x"},"a":{"b":1}}')
    found = explanation(Router(read(ROUTES), {"env": "other"}), event)
    assert found["routes"][-1]["because"] == "labels.env is other, event.a.b is 1"
    text = ROUTES.replace('{labels: {env: other}, event: {a.b: "1"}}', "{}")
    found = explanation(Router(read(text), {"env": "other"}), event)
    assert found["routes"][-1]["because"] == "takes everything"
