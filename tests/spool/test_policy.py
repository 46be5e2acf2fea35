"""Promises of `policy`: how fast the spool is sent, and whose fault a failure is."""

from __future__ import annotations

import pytest

from sidecar.events.results import EventStatus, Outcome, failed, refused
from sidecar.spool.policy import (
    MAX_BACKOFF_SECONDS,
    MAX_BATCHES,
    MAX_ERRORS,
    MAX_EVENTS,
    MIN_BACKOFF_SECONDS,
    Fate,
    Window,
    backoff,
    due,
    fate,
    reason,
)
from tests.spool.spools import NOON, spooled

SUCCESS = EventStatus("success", Outcome.DELIVERED)
INVALID = refused(b"{}", "is not allowed", "a-route")
ERROR = failed(b"{}", "no schema", unreachable=False)
UNREACHABLE = failed(b"{}", "nothing answers", unreachable=True)


@pytest.mark.parametrize(
    ("failures", "most"), [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (8, 60.0), (100_000, 60.0)]
)
def test_pauses_grow_to_a_minute(failures: int, most: float) -> None:
    """Full jitter: anything up to twice the last limit, never more than a minute, and never nothing at all."""
    assert (backoff(failures, 1.0), backoff(failures, 0.5)) == (most, most / 2)
    assert backoff(failures, 0.0) == MIN_BACKOFF_SECONDS
    assert most <= MAX_BACKOFF_SECONDS


def test_one_event_goes_first_and_then_ever_more() -> None:
    """1, 2, 4, … events in a batch, and then batches side by side, up to a limit."""
    window, windows = Window(), []
    for _ in range(12):
        windows.append((window.events, window.batches))
        window = window.after_success()
    grown = [(2**step, 1) for step in range(8)]
    assert windows == [*grown, (MAX_EVENTS, 2), (MAX_EVENTS, 3), (MAX_EVENTS, MAX_BATCHES), (MAX_EVENTS, MAX_BATCHES)]


def test_a_failure_begins_again_with_one_event() -> None:
    """However fast it went; failures in a row are counted, and the first success ends the row."""
    window = Window(128, 4).after_failure()
    assert window == Window(1, 1, 1)
    assert window.after_failure() == Window(1, 1, 2)
    assert window.after_failure().after_success() == Window(2, 1, 0)


@pytest.mark.parametrize(
    ("status", "errors", "last_attempt", "last_success", "expected"),
    [
        pytest.param(SUCCESS, 0, None, None, Fate.DELIVERED, id="taken"),
        pytest.param(INVALID, 0, None, None, Fate.DEAD, id="invalid"),
        pytest.param(UNREACHABLE, 99, NOON, NOON + 9, Fate.FAILED, id="an outage is never the event's fault"),
        pytest.param(ERROR, 0, None, None, Fate.FAILED, id="an error, nothing taken ever"),
        pytest.param(ERROR, 99, NOON + 5, NOON + 4, Fate.FAILED, id="nothing taken since its last attempt"),
        pytest.param(ERROR, 0, None, NOON, Fate.ERROR, id="an error, others taken"),
        pytest.param(ERROR, 0, NOON + 5, NOON + 5, Fate.ERROR, id="others taken since its last attempt"),
        pytest.param(ERROR, MAX_ERRORS - 2, NOON, NOON, Fate.ERROR, id="one before the last error"),
        pytest.param(ERROR, MAX_ERRORS - 1, NOON, NOON, Fate.DEAD, id="the last error"),
    ],
)
def test_an_event_pays_only_for_its_own_faults(
    status: EventStatus, errors: int, last_attempt: float | None, last_success: float | None, expected: Fate
) -> None:
    """It is dead where EventGate calls it invalid, or had errors with it alone too often."""
    event = spooled(1, errors=errors, last_attempt=last_attempt)
    assert fate(event, status, last_success) is expected


def test_an_event_with_an_error_lets_others_go_first() -> None:
    """After an error of EventGate's it waits for longer than its upstream ever pauses; an outage changes nothing."""
    assert due(ERROR, NOON) - NOON > MAX_BACKOFF_SECONDS
    assert due(UNREACHABLE, NOON) == 0.0


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (INVALID, "'.meta.stream' is not allowed"),
        (ERROR, "no schema"),
        (EventStatus("error", Outcome.FAILED, b"<html>"), "EventGate's answer was error"),
        (EventStatus("error", Outcome.FAILED, b'{"context":{}}'), "EventGate's answer was error"),
    ],
)
def test_the_reason_is_in_words(status: EventStatus, words: str) -> None:
    """What EventGate said is what an operator reads; where it said nothing, that is said."""
    assert reason(status) == words
