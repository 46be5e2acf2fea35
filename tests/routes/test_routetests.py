"""Promises of `routetests`: an example in the file fails exactly where its event goes another way."""

from __future__ import annotations

import pytest

from sidecar.routes.loader import read
from sidecar.routes.routetests import Difference, Failure, failures

ROUTES = """\
version: 1
upstreams:
  production: {url: "http://production.wmnet/v1/events"}
  staging: {url: "http://staging.wmnet/v1/events", accepts: [{labels: {env: staging}}]}
routes:
  - {name: scores, match: {labels: {env: staging}, stream: "score_*"}, to: production, stream: score-test}
  - {name: labelled, match: {stream: labelled}, to: production, stream: "{stream}.{labels.isvc}"}
  - {name: never, match: {stream: never}, reject: not today}
  - {name: rest, match: {stream: "*"}, to: staging}
tests:
"""


def differences(test: str) -> list[tuple[str, ...]]:
    """What each failing one of the file's tests differs in; here there is one test."""
    return [
        tuple(map(str, failure.differences)) for failure in failures(read(f"{ROUTES}  - {{name: a test, {test}}}\n"))
    ]


@pytest.mark.parametrize(
    "test",
    [
        pytest.param(
            "labels: {env: staging}, event: {meta: {stream: score_a}}, "
            "expect: {route: scores, upstream: production, stream: score-test, refused: false}",
            id="everything",
        ),
        pytest.param(
            "labels: {env: staging}, event: {meta: {stream: score_a}}, expect: {stream: score-test}", id="one key"
        ),
        pytest.param(
            "labels: {env: staging}, event: {meta: {stream: b}}, expect: {upstream: staging, stream: b}",
            id="a stream that stays",
        ),
        pytest.param(
            "event: {meta: {stream: never}}, expect: {refused: true, route: never}", id="a route that rejects"
        ),
        pytest.param("event: {meta: {stream: b}}, expect: {refused: true, route: rest}", id="not accepted"),
        pytest.param("event: {meta: {}}, expect: {refused: true}", id="no route"),
        pytest.param(
            "labels: {env: staging}, expect: {upstream: staging}, "
            "event: {dt: 2026-11-22T00:00:00Z, n: 123456789012345678901, x: .nan, meta: {stream: b}}",
            id="what YAML knows and JSON does not",
        ),
    ],
)
def test_an_example_that_holds_is_silent(test: str) -> None:
    """Only the keys given are compared, and nothing is said of a test that holds."""
    assert differences(test) == []


@pytest.mark.parametrize(
    ("test", "found"),
    [
        pytest.param(
            "labels: {env: staging}, event: {meta: {stream: score_a}}, "
            "expect: {route: rest, upstream: staging, stream: score_a, refused: true}",
            (
                "upstream: expected staging, is production",
                "stream: expected score_a, is score-test",
                "route: expected rest, is scores",
                "refused: expected true, is false",
            ),
            id="every key",
        ),
        pytest.param(
            "event: {meta: {stream: never}}, expect: {upstream: staging}",
            ("upstream: expected staging, is none (route never refuses it: not today)",),
            id="refused, and why",
        ),
        pytest.param(
            "event: {meta: {stream: never}}, expect: {stream: never}",
            ("stream: expected never, is none (route never refuses it: not today)",),
            id="what is refused has no stream",
        ),
        pytest.param(
            "event: {meta: {}}, expect: {route: rest, refused: false}",
            (
                "route: expected rest, is none (no route in routes.yaml takes an event without meta.stream from "
                "a pod without labels; post to a stream that has a route, or ask for one)",
                "refused: expected false, is true",
            ),
            id="no route",
        ),
        pytest.param(
            "event: {meta: {stream: labelled}}, expect: {upstream: production}",
            (
                "upstream: expected production, is none (route labelled takes a word from label isvc, "
                "which a pod without labels does not have)",
            ),
            id="a label that the test does not give",
        ),
        pytest.param(
            "event: {}, expect: {refused: true}",
            ("event: cannot be written as JSON: Request body was empty. Must provide JSON encoded events.",),
            id="an empty event",
        ),
        pytest.param(
            'event: {meta: {stream: "\\ud800"}}, expect: {refused: true}',
            (
                "event: cannot be written as JSON: 'utf-8' codec can't encode character '\\ud800' in position 0: "
                "surrogates not allowed",
            ),
            id="what no JSON can hold",
        ),
    ],
)
def test_an_example_that_fails_says_in_what(test: str, found: tuple[str, ...]) -> None:
    """Each key that differs is named with what was expected, what it is, and why an event was refused."""
    assert differences(test) == [found]


def test_failures_come_in_the_order_of_the_file() -> None:
    """Each failure names its test and its place, those that hold are left out."""
    config = read(
        ROUTES
        + "  - {name: first, event: {meta: {stream: b}}, expect: {refused: false}}\n"
        + "  - {name: second, event: {meta: {stream: never}}, expect: {refused: true}}\n"
        + "  - {name: third, event: {meta: {stream: never}}, expect: {route: rest}}\n"
    )
    not_accepted = (
        "route rest sends it to staging, which does not accept stream b from a pod without labels; "
        "see upstreams.staging.accepts in routes.yaml"
    )
    assert list(failures(config)) == [
        Failure(0, "first", (Difference("refused", f"expected false, is true ({not_accepted})"),)),
        Failure(2, "third", (Difference("route", "expected rest, is never (route never refuses it: not today)"),)),
    ]


def test_a_file_without_tests_has_no_failures() -> None:
    """Tests are an offer, not a duty."""
    assert list(failures(read(ROUTES.replace("tests:\n", "")))) == []
