"""Promises of `explain`: an operator sees which route took an event and why each earlier one did not."""

from __future__ import annotations

import json

import pytest

from sidecar.event import parse
from sidecar.explain import Explanation, explanation, in_text
from sidecar.loader import read
from sidecar.routing import Router

ROUTES = """\
version: 1
upstreams:
  production: {url: "https://eventgate-main.discovery.wmnet:4492/v1/events"}
  staging: {url: "https://staging.svc.{datacenter}.wmnet:4492/v1/events", datacenters: [eqiad, codfw]}
routes:
  - {name: scores, match: {labels: {env: staging}, stream: "score_*"}, to: production, stream: score-test}
  - {name: never, match: {stream: never}, reject: not today}
  - {name: staging, match: {labels: {env: staging}}, to: staging}
"""
NO_SCORE = "stream should match score_*, but it is page"

RENAMED = Explanation(
    stream="score_a",
    labels={"env": "staging", "isvc": "a"},
    routes=[{"route": "scores", "matched": True, "because": "matches"}],
    refused=None,
    upstream="production",
    sent_as="score-test",
    endpoints=["https://eventgate-main.discovery.wmnet:4492/v1/events"],
)
KEPT = Explanation(
    stream="page",
    labels={"env": "staging"},
    routes=[
        {"route": "scores", "matched": False, "because": NO_SCORE},
        {"route": "never", "matched": False, "because": "stream should match never, but it is page"},
        {"route": "staging", "matched": True, "because": "matches"},
    ],
    refused=None,
    upstream="staging",
    sent_as="page",
    endpoints=[
        "https://staging.svc.eqiad.wmnet:4492/v1/events",
        "https://staging.svc.codfw.wmnet:4492/v1/events",
    ],
)
REFUSED = Explanation(
    stream=None,
    labels={},
    routes=[
        {"route": "scores", "matched": False, "because": "labels.env should match staging, but there is none"},
        {"route": "never", "matched": False, "because": "stream should match never, but there is none"},
        {"route": "staging", "matched": False, "because": "labels.env should match staging, but there is none"},
    ],
    refused="no route in routes.yaml takes an event without meta.stream from a pod without labels; "
    "post to a stream that has a route, or ask for one",
    upstream=None,
    sent_as=None,
    endpoints=[],
)


@pytest.mark.parametrize(
    ("stream", "found"),
    [
        pytest.param("score_a", RENAMED, id="renamed"),
        pytest.param("page", KEPT, id="kept"),
        pytest.param(None, REFUSED, id="refused"),
    ],
)
def test_the_way_of_an_event_is_data(stream: str | None, found: Explanation) -> None:
    """Routes looked at in their order, the first that matches last; then where the event goes and as what."""
    router = Router(read(ROUTES), found["labels"])
    (event,) = parse(json.dumps([{"meta": {"stream": stream}}]).encode())
    assert explanation(router, event) == found


@pytest.mark.parametrize(
    ("found", "text"),
    [
        pytest.param(
            RENAMED,
            "event of stream score_a, labels env=staging isvc=a\n"
            "  ✓ scores: matches\n"
            "sent to production as score-test (renamed)\n"
            "  https://eventgate-main.discovery.wmnet:4492/v1/events\n",
            id="renamed",
        ),
        pytest.param(
            KEPT,
            "event of stream page, labels env=staging\n"
            f"  · scores: {NO_SCORE}\n"
            "  · never: stream should match never, but it is page\n"
            "  ✓ staging: matches\n"
            "sent to staging as page\n"
            "  https://staging.svc.eqiad.wmnet:4492/v1/events\n"
            "  https://staging.svc.codfw.wmnet:4492/v1/events\n",
            id="kept",
        ),
        pytest.param(
            REFUSED,
            "event of stream (none), labels (none)\n"
            "  · scores: labels.env should match staging, but there is none\n"
            "  · never: stream should match never, but there is none\n"
            "  · staging: labels.env should match staging, but there is none\n"
            "refused: no route in routes.yaml takes an event without meta.stream from a pod without labels; "
            "post to a stream that has a route, or ask for one\n",
            id="refused",
        ),
    ],
)
def test_the_way_of_an_event_is_text(found: Explanation, text: str) -> None:
    """In a terminal each route has its line, and the last lines say what becomes of the event."""
    assert in_text(found) == text


def test_an_event_without_a_stream_is_sent_without_one() -> None:
    """Where a route takes an event that has no stream, no name is made up for it."""
    (event,) = parse(b"[{}]")
    found = explanation(Router(read(ROUTES), {"env": "staging"}), event)
    assert (found["upstream"], found["sent_as"]) == ("staging", None)
    assert "sent to staging as it is, without a stream\n" in in_text(found)
