"""Promises of `inspection`: mistakes in a file are found before it runs, all at once and in plain words."""

from __future__ import annotations

import pytest

from sidecar.errors import ConfigError
from sidecar.routes.inspection import inspect

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


def differences(test: str) -> list[str]:
    """What the only test of the file differs in, each as `key: words`."""
    return [
        f"{each.path.rpartition('.')[2]}: {each.message.removeprefix('fails: ').removesuffix(' (test: a test)')}"
        for each in inspect(f"{ROUTES}  - {{name: a test, {test}}}\n").problems
    ]


def test_a_long_line_is_cut() -> None:
    """Of a line of 500 kB, the part around the problem is shown, with the caret below it."""
    long = "x" * 250_000
    found = inspect(f"version: 1\nupstreams: {{a: {{url: {long}, b: {long}}}}}\nroutes: []\n").problems
    assert max(map(len, map(str, found))) < 3000
    (strange,) = [str(each).split("\n") for each in found if "unknown key" in each.message]
    assert strange[0].startswith("routes.yaml:2:250024: upstreams.a.b is an unknown key")
    assert strange[1][len(strange[2]) - 1] == "b"


def test_mistakes_tests_and_warnings_come_together() -> None:
    """All at once, in the order of the file."""
    found = inspect(
        """\
version: 1
upstreams:
  production: {url: "https://eventgate-main.discovery.wmnet:4492/v1/events"}
  staging: {url: "https://staging.svc.eqiad.wmnet:4492/v1/events"}
routes:
  - {name: all, to: production}
  - {name: late, to: production}
tests:
  - {name: nothing passes, event: {meta: {stream: a}}, expect: {refused: true, route: late}}
"""
    )
    assert [(each.line, each.path) for each in found.problems] == [
        (7, "routes[1]"),
        (9, "tests[0].expect.refused"),
        (9, "tests[0].expect.route"),
    ]
    assert [(each.line, each.path, each.warning) for each in found.warnings] == [(4, "upstreams.staging", True)]
    with pytest.raises(ConfigError) as refusal:
        found.approved  # noqa: B018  reading it is what raises
    assert refusal.value.problems == found.problems


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
def test_a_test_that_passes_is_silent(test: str) -> None:
    """Only the given keys are compared."""
    assert differences(test) == []


@pytest.mark.parametrize(
    ("test", "found"),
    [
        pytest.param(
            "labels: {env: staging}, event: {meta: {stream: score_a}}, "
            "expect: {route: rest, upstream: staging, stream: score_a, refused: true}",
            (
                "route: expected rest, got scores",
                "upstream: expected staging, got production",
                "stream: expected score_a, got score-test",
                "refused: expected true, got false",
            ),
            id="every key",
        ),
        pytest.param(
            "event: {meta: {stream: never}}, expect: {upstream: staging}",
            ("upstream: expected staging, got none (route never refuses it: not today)",),
            id="refused, and why",
        ),
        pytest.param(
            "event: {meta: {stream: never}}, expect: {stream: never}",
            ("stream: expected never, got none (route never refuses it: not today)",),
            id="what is refused has no stream",
        ),
        pytest.param(
            "event: {meta: {}}, expect: {route: rest, refused: false}",
            (
                "route: expected rest, got none (no route in routes.yaml takes an event without meta.stream from "
                "a pod without labels; post to a stream that has a route, or ask for one)",
                "refused: expected false, got true",
            ),
            id="no route",
        ),
        pytest.param(
            "event: {meta: {stream: labelled}}, expect: {upstream: production}",
            (
                "upstream: expected production, got none (route labelled uses label isvc, "
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
def test_a_test_that_fails_names_the_keys(test: str, found: tuple[str, ...]) -> None:
    """Each with the expected and the actual value, and why an event was refused."""
    assert differences(test) == list(found)


def test_failures_come_in_the_order_of_the_file() -> None:
    """Each names its test and its place; passing tests are left out."""
    found = inspect(
        ROUTES
        + "  - {name: first, event: {meta: {stream: b}}, expect: {refused: false}}\n"
        + "  - {name: second, event: {meta: {stream: never}}, expect: {refused: true}}\n"
        + "  - {name: third, event: {meta: {stream: never}}, expect: {route: rest}}\n"
    )
    not_accepted = (
        "route rest sends it to staging, which does not accept stream b from a pod without labels; "
        "see upstreams.staging.accepts in routes.yaml"
    )
    refused = "route never refuses it: not today"
    assert [(each.path, each.message) for each in found.problems] == [
        ("tests[0].expect.refused", f"fails: expected false, got true ({not_accepted}) (test: first)"),
        ("tests[2].expect.route", f"fails: expected rest, got never ({refused}) (test: third)"),
    ]


def test_a_file_without_tests_has_no_failures() -> None:
    """Tests are optional; the configuration is approved."""
    found = inspect(ROUTES.replace("tests:\n", ""))
    assert (found.problems, found.approved) == ((), found.config)
