"""Promises of `explain`: what is printed, in text and as JSON, and the exit status."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar.commands.explain import in_text, tried_in_text
from sidecar.routes.explain import Copied, Explanation, Tried
from tests.commands.conftest import explained, run
from tests.routes.test_explain import (
    KEPT,
    NO_SCORE,
    NO_TAGS,
    NOT_ACCEPTED,
    NOT_FROM_STAGING,
    NOT_SAID,
    REFUSED,
    RENAMED,
)

ENDPOINTS = [f"https://staging.svc.{datacenter}.wmnet:4492/v1/events" for datacenter in ("eqiad", "codfw")]


def test_explain_shows_the_way_of_an_event(routes: Path) -> None:
    """The routes that did not match with their reasons, the one that did, and the upstream."""
    result = run("explain", "--routes", routes, "--label", "env=staging", "--stream", "links")
    assert (result.exit_code, result.stdout) == (
        0,
        "event of stream links, labels env=staging\n"
        "  · rename: stream should match score, but it is links\n"
        "  ✓ keep: labels.env is staging, stream is links\n"
        "sent to staging as links\n"
        f"  {ENDPOINTS[0]}\n"
        f"  {ENDPOINTS[1]}\n",
    )


def test_explain_says_so_as_json(routes: Path) -> None:
    """For machines, with the new name."""
    assert explained("--routes", routes, "--label", "env=staging", "--stream", "score") == {
        "stream": "score",
        "schema": None,
        "labels": {"env": "staging"},
        "routes": [{"name": "rename", "matched": True, "because": "labels.env is staging, stream is score"}],
        "refused": None,
        "upstream": "staging",
        "sent_as": "score-test",
        "accepts": [],
        "topics": [],
        "endpoints": ENDPOINTS,
        "copy": None,
    }


def test_explain_says_why_an_event_is_refused(routes: Path) -> None:
    """Status 1, with the message that its producer would get."""
    result = run("explain", "--routes", routes, "--stream", "links")
    assert (result.exit_code, result.stdout) == (
        1,
        "event of stream links, labels (none)\n"
        "  · rename: labels.env should match staging, but there is none\n"
        "  · keep: labels.env should match staging, but there is none\n"
        "refused: no route in routes.yaml takes stream links from a pod without labels; "
        "post to a stream that has a route, or ask for one\n",
    )


def test_explain_takes_a_whole_event(routes: Path, tmp_path: Path) -> None:
    """From a file or from standard input."""
    event = '{"meta": {"stream": "links"}}'
    (tmp_path / "event.json").write_text(event)
    common = ("explain", "--routes", routes, "--label", "env=staging", "--event")
    from_file = run(*common, tmp_path / "event.json")
    from_input = run(*common, "-", given=event)
    assert (from_file.exit_code, from_file.stdout) == (from_input.exit_code, from_input.stdout)
    assert (from_file.exit_code, from_file.stdout.splitlines()[0]) == (
        0,
        "event of stream links, labels env=staging",
    )


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "explain needs an event: give one of --stream STREAM and --event FILE"),
        (("--stream", "s", "--event", "-"), "explain needs an event: give one of --stream STREAM and --event FILE"),
        (("--event", "/no/such/file"), "cannot read /no/such/file: No such file or directory"),
        (("--event", "-"), "standard input holds 2 events; explain takes one"),
        (
            ("--stream", "s", "--label", "staging"),
            "--label has 'staging', which is not KEY=VALUE; write a label such as env=staging",
        ),
        (
            ("--stream", "s", "--label", "env="),
            "--label has 'env=', which is not KEY=VALUE; write a label such as env=staging",
        ),
    ],
)
def test_explain_says_what_it_needs(routes: Path, words: tuple[str, ...], complaint: str) -> None:
    """A wrong option is status 2, with a message on standard error."""
    result = run("explain", "--routes", routes, *words, given="[{}, {}]")
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"eventgate-sidecar: {complaint}\n")


def test_explain_refuses_a_broken_event(routes: Path) -> None:
    """Half an event is status 2, not a traceback."""
    result = run("explain", "--routes", routes, "--event", "-", given='{"meta"')
    assert (result.exit_code, result.stderr.startswith("eventgate-sidecar: standard input is not an event: ")) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    ("found", "text"),
    [
        pytest.param(
            RENAMED,
            "event of stream score_a, labels env=staging isvc=a\n"
            "  ✓ scores: labels.env is staging, stream is score_a\n"
            "sent to production as score-test (renamed)\n"
            f"  · production.accepts[0]: {NOT_FROM_STAGING}\n"
            "  ✓ production.accepts[1]: stream is score-test\n"
            "  topic eqiad.score-test\n"
            "  topic codfw.score-test\n"
            "  https://eventgate-main.discovery.wmnet:4492/v1/events\n",
            id="renamed",
        ),
        pytest.param(
            KEPT,
            "event of stream page, labels env=staging\n"
            f"  · scores: {NO_SCORE}\n"
            "  · never: stream should match never, but it is page\n"
            f"  · mistake: {NO_TAGS}\n"
            "  ✓ staging: labels.env is staging\n"
            "sent to staging as page\n"
            "  https://staging.svc.eqiad.wmnet:4492/v1/events\n"
            "  https://staging.svc.codfw.wmnet:4492/v1/events\n",
            id="kept",
        ),
        pytest.param(
            NOT_ACCEPTED,
            "event of stream page, schema /tags/1, labels env=staging\n"
            f"  · scores: {NO_SCORE}\n"
            "  · never: stream should match never, but it is page\n"
            "  ✓ mistake: labels.env is staging, schema is /tags/1\n"
            "refused: route mistake sends it to production, which does not accept stream page from env=staging; "
            "see upstreams.production.accepts in routes.yaml\n"
            f"  · production.accepts[0]: {NOT_FROM_STAGING}\n"
            "  · production.accepts[1]: stream should match score-test, but it is page\n",
            id="not accepted",
        ),
        pytest.param(
            REFUSED,
            "event of stream (none), labels (none)\n"
            f"  · scores: {NOT_SAID}\n"
            "  · never: stream should match never, but there is none\n"
            f"  · mistake: {NOT_SAID}\n"
            f"  · staging: {NOT_SAID}\n"
            "  · rest: labels.env should match other, but there is none\n"
            "refused: no route in routes.yaml takes an event without meta.stream from a pod without labels; "
            "post to a stream that has a route, or ask for one\n",
            id="refused",
        ),
    ],
)
def test_the_way_of_an_event_is_text(found: Explanation, text: str) -> None:
    """In a terminal each route has its line; the last lines have the outcome."""
    assert in_text(found) == text


@pytest.mark.parametrize(
    ("percent", "refused", "text"),
    [
        (100, None, "copied to staging as page.copy\n  topic staging.page.copy\n"),
        (5, None, "5 % are copied to staging as page.copy\n  topic staging.page.copy\n"),
        (5, "staging does not accept it", "no copy: staging does not accept it\n"),
    ],
    ids=["all", "some", "refused"],
)
def test_a_copy_is_shown(percent: int, refused: str | None, text: str) -> None:
    """With its percentage, upstream and name, or why there is none."""
    topics = ["staging.page.copy"]
    copy = Copied(upstream="staging", sent_as="page.copy", percent=percent, refused=refused, topics=topics)
    assert in_text({**RENAMED, "copy": copy}) == in_text(RENAMED) + text


def test_an_event_without_a_stream_is_shown_without_one() -> None:
    """No name is made up for it."""
    assert "sent to staging as it is, without a stream\n" in in_text({**KEPT, "stream": None, "sent_as": None})


def test_addresses_are_in_the_order_of_use() -> None:
    """With their states; one that gets nothing has no rank."""
    first = Tried(endpoint="eqiad", address="10.0.0.1", state="healthy", place=1)
    out = Tried(endpoint="codfw", address="10.0.0.2", state="ejected", place=None)
    assert tried_in_text([first, out]) == "tried now:\n  1 eqiad 10.0.0.1: healthy\n  – codfw 10.0.0.2: ejected\n"
    assert tried_in_text([]) == "no address is known now\n"
