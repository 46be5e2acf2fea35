"""Promises of `policy`: how fast the spool is sent, and when a failure is the event's fault."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from sidecar.events.event import GUESSES, MAX_SEARCHED_VALUES
from sidecar.events.outgoing import LABELS
from sidecar.events.results import EventStatus, Outcome, failed, refused
from sidecar.routes.language.loader import read
from sidecar.routes.routing import Router
from sidecar.spool.policy import (
    IDLE_SECONDS,
    MAX_AWAY_SECONDS,
    MAX_BACKOFF_SECONDS,
    MAX_BATCHES,
    MAX_ERRORS,
    MAX_EVENTS,
    MAX_VERDICT_BYTES,
    MIN_BACKOFF_SECONDS,
    PROBE_EVENTS,
    Fate,
    Routers,
    SpoolClock,
    Window,
    backoff,
    fate,
    reason,
    reroute,
    set_back,
    verdict,
)
from sidecar.spool.record import MAX_SET_BACK_SECONDS, Spooled, key_of
from tests.spool.spools import NOON, spooled

SUCCESS = EventStatus("success", Outcome.DELIVERED)
INVALID = refused(b"{}", "is not allowed", "a-route")
ERROR = failed(b"{}", "no schema", unreachable=False)
UNREACHABLE = failed(b"{}", "nothing answers", unreachable=True)


@pytest.mark.parametrize(
    ("failures", "most"), [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (8, 60.0), (100_000, 60.0)]
)
def test_pauses_grow_to_a_minute(failures: int, most: float) -> None:
    """With full jitter, at most a minute, and never zero."""
    assert (backoff(failures, 1.0), backoff(failures, 0.5)) == (most, most / 2)
    assert backoff(failures, 0.0) == MIN_BACKOFF_SECONDS
    assert most <= MAX_BACKOFF_SECONDS


def test_the_window_grows_from_one_event() -> None:
    """1, 2, 4, … events in a batch, then parallel batches, up to a limit."""
    window, windows = Window(), []
    for _ in range(12):
        windows.append((window.events, window.batches))
        window = window.after_success()
    grown = [(2**step, 1) for step in range(8)]
    assert windows == [*grown, (MAX_EVENTS, 2), (MAX_EVENTS, 3), (MAX_EVENTS, MAX_BATCHES), (MAX_EVENTS, MAX_BATCHES)]


def test_a_failure_resets_the_window() -> None:
    """Failures in a row are counted, and the first success ends the row."""
    window = Window(128, 4).after_failure(answered=False)
    assert window == Window(1, 1, 1)
    assert window.after_failure(answered=True) == Window(PROBE_EVENTS, 1, 2)
    assert window.after_failure(answered=False).after_success() == Window(2, 1, 0)


@pytest.mark.parametrize(
    ("status", "errors", "last_attempt", "last_taken", "expected"),
    [
        pytest.param(SUCCESS, 0, None, None, Fate.DELIVERED, id="taken"),
        pytest.param(INVALID, 0, None, None, Fate.DEAD, id="invalid"),
        pytest.param(UNREACHABLE, 0, None, NOON + 9, Fate.FAILED, id="no verdict, at its first attempt"),
        pytest.param(UNREACHABLE, 99, NOON, NOON - 1, Fate.FAILED, id="no verdict, nothing taken since"),
        pytest.param(UNREACHABLE, 0, NOON, NOON + 9, Fate.ERROR, id="no verdict, others taken since"),
        pytest.param(UNREACHABLE, MAX_ERRORS - 1, NOON, NOON + 9, Fate.DEAD, id="the last failure without a verdict"),
        pytest.param(ERROR, 0, None, None, Fate.FAILED, id="an error, nothing taken ever"),
        pytest.param(ERROR, 99, NOON + 5, NOON + 4, Fate.FAILED, id="nothing taken since its last attempt"),
        pytest.param(ERROR, 0, None, NOON, Fate.ERROR, id="an error, others taken"),
        pytest.param(ERROR, 0, NOON + 5, NOON + 5, Fate.ERROR, id="others taken since its last attempt"),
        pytest.param(ERROR, MAX_ERRORS - 2, NOON, NOON, Fate.ERROR, id="one before the last error"),
        pytest.param(ERROR, MAX_ERRORS - 1, NOON, NOON, Fate.DEAD, id="the last error"),
    ],
)
def test_only_its_own_failures_count_against_an_event(
    status: EventStatus, errors: int, last_attempt: float | None, last_taken: float | None, expected: Fate
) -> None:
    """It becomes a dead letter if invalid, or if it failed alone too often while others were taken."""
    event = spooled(1, errors=errors, last_attempt=last_attempt)
    assert fate(event, status, last_taken, alone=True) is expected


def test_a_failed_array_does_not_count_against_its_events() -> None:
    """Only one of them may have cut the connection."""
    event = spooled(1, last_attempt=NOON)
    assert fate(event, UNREACHABLE, NOON + 9, alone=False) is Fate.FAILED
    assert fate(event, ERROR, NOON + 9, alone=False) is Fate.ERROR


def test_an_event_that_failed_lets_others_go_first() -> None:
    """For a moment after an outage, ever longer if it is its own fault, up to a limit."""
    assert set_back(0, UNREACHABLE, 9.0) == 9.0 + IDLE_SECONDS
    assert set_back(0, ERROR, 9.0) > MAX_BACKOFF_SECONDS
    waits = [set_back(errors, UNREACHABLE, 9.0) for errors in range(1, MAX_ERRORS)]
    assert waits == sorted(waits)
    assert waits[-1] == MAX_SET_BACK_SECONDS


def test_a_verdict_does_not_repeat_the_event() -> None:
    """The event is in the spool already, and long messages are cut."""
    said = refused(b'{"a":"%b"}' % (b"x" * 100_000), "is not allowed", "a-route")
    assert json.loads(verdict(said))["context"]["errorsText"] == "'.meta.stream' is not allowed"
    long = failed(b"{}", "y" * 100_000, unreachable=False)
    assert len(verdict(long)) < 2 * MAX_VERDICT_BYTES
    assert json.loads(verdict(long))["status"] == "error"
    assert verdict(EventStatus("error", Outcome.FAILED, b"<html>")) == b""


# --- where it goes now ---

ROUTES = """
version: 1
upstreams:
  production: {url: "http://production/v1/events", accepts: [{stream: "*.test"}]}
  staging: {url: "http://staging/v1/events"}
routes:
  - {name: tested, match: {stream: change}, to: production, stream: change.test}
  - {name: moved, match: {stream: score}, to: staging, order_by: [page]}
  - {name: wrong, match: {stream: links}, to: production}
"""


def kept(stream: str, came_as: str | None, upstream: str = "production", **more: Any) -> Spooled:
    """Return an event stored under one stream that came with another."""
    body = b'{"meta":{"id":"a","stream":"%b"},"page":7}' % stream.encode()
    return spooled(1, upstream=upstream, stream=stream, came_as=came_as, body=body, **more)


@pytest.fixture
def router() -> Router:
    """Return the current configuration."""
    return Router(read(ROUTES), {})


def test_an_event_that_is_routed_as_before_stays_as_it_is(router: Router) -> None:
    """It was renamed when it came, and would be renamed in the same way now."""
    event = kept("change.test", "change")
    assert reroute(event, router) == event


def test_the_current_rules_rename_an_event(router: Router) -> None:
    """By the stream it came with."""
    routed = reroute(kept("change.old", "change"), router)
    assert isinstance(routed, Spooled)
    assert (routed.stream, routed.body) == ("change.test", kept("change.test", "change").body)


def test_the_current_rules_decide_the_upstream(router: Router) -> None:
    """And the order key; an earlier new name is dropped."""
    routed = reroute(kept("score.test", "score"), router)
    assert isinstance(routed, Spooled)
    assert (routed.upstream, routed.stream, routed.came_as) == ("staging", "score", "score")
    assert routed.body == kept("score", "score").body
    assert routed.order_key == key_of("staging", '["score","7"]')


@pytest.mark.parametrize(
    ("came_as", "words"), [("links", "which does not accept stream links"), ("gone", "no route in routes.yaml takes")]
)
def test_an_event_without_a_route_now_is_not_sent(router: Router, came_as: str, words: str) -> None:
    """The reason is returned."""
    refusal = reroute(kept("links.test", came_as), router)
    assert isinstance(refusal, str)
    assert words in refusal


def test_the_original_stream_is_restored_exactly(router: Router) -> None:
    """It came from a producer, and may have any characters."""
    refusal = reroute(kept("change.test", 'quo"te\\ \u00e9'), router)
    assert isinstance(refusal, str)
    assert 'quo"te' in refusal


@pytest.mark.parametrize(("stream", "stays"), [("anything.test", True), ("change", False)])
def test_an_event_of_an_older_file_stays_if_its_upstream_accepts_it(
    router: Router, stream: str, *, stays: bool
) -> None:
    """Its original stream is unknown; otherwise it is routed by its present one."""
    event = kept(stream, None)
    routed = reroute(event, router)
    assert (routed == event) is stays
    assert isinstance(routed, Spooled)
    assert routed.stream.endswith(".test")


def test_an_event_of_an_older_file_whose_upstream_is_gone_is_routed(router: Router) -> None:
    """By its present stream."""
    routed = reroute(msgspec.structs.replace(kept("change", None), upstream="removed"), router)
    assert isinstance(routed, Spooled)
    assert routed.upstream in router.config.upstreams


def test_a_value_that_is_not_an_object_is_routed(router: Router) -> None:
    """A member of an array may be anything."""
    refusal = reroute(spooled(1, upstream="production", stream="", came_as="", body=b"5"), router)
    assert isinstance(refusal, str)
    assert "no route in routes.yaml takes an event without meta.stream" in refusal


def test_an_event_too_wide_to_rename_is_not_sent(router: Router) -> None:
    """The reason is returned: replay must go on."""
    decoys = b"".join(b'"d%d":{"meta":{"stream":"s"}},' % number for number in range(GUESSES))
    body = b'{%b"x":[%b1],"meta":{"stream":"change.old"}}' % (decoys, b"1," * MAX_SEARCHED_VALUES)
    event = spooled(1, upstream="production", stream="change.old", came_as="change", body=body)
    assert isinstance(reroute(event, router), str)


def test_the_clock_does_not_step() -> None:
    """It follows the monotonic clock until it is set again."""
    times = {"wall": NOON, "steady": 5.0}
    clock = SpoolClock(lambda: times["wall"], lambda: times["steady"])
    times |= {"wall": NOON - 86_400, "steady": 6.0}
    assert clock.now() == NOON + 1
    clock.set()
    assert clock.now() == NOON - 86_400


@pytest.mark.parametrize(
    ("newest", "begins"),
    [
        pytest.param(NOON + 9, NOON + 9, id="the wall clock is behind the file"),
        pytest.param(NOON - 60, NOON, id="a minute away"),
        pytest.param(NOON - 86_400, NOON - 86_400 + MAX_AWAY_SECONDS, id="a day away, or a wrong wall clock"),
    ],
)
def test_the_clock_begins_after_the_newest_time_of_a_file(newest: float, begins: float) -> None:
    """At most an hour later, since the wall clock may be wrong."""
    clock = SpoolClock(lambda: NOON, lambda: 5.0)
    clock.begin_after(newest)
    assert clock.now() == begins


def test_a_pod_that_handed_over_keeps_its_labels() -> None:
    """Its events are routed as they would have been there, and each set of labels has one router."""
    own = Router(read(ROUTES), {"env": "gateway"})
    routers = Routers(own)
    assert routers.of(spooled(1)) is own
    found = [routers.of(spooled(1, headers=((LABELS, f"env={env}"),))) for env in ("a", "b", "a")]
    assert [each.labels for each in found] == [{"env": "a"}, {"env": "b"}, {"env": "a"}]
    assert found[0] is found[2]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (INVALID, "'.meta.stream' is not allowed"),
        (ERROR, "no schema"),
        (EventStatus("error", Outcome.FAILED, b"<html>"), "EventGate's answer was error"),
        (EventStatus("error", Outcome.FAILED, b'{"context":{}}'), "EventGate's answer was error"),
    ],
)
def test_the_reason_is_eventgates_message(status: EventStatus, words: str) -> None:
    """Or the status if there is none."""
    assert reason(status) == words
