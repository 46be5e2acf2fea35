"""Promises of `retry`: whether events may be sent again."""

from __future__ import annotations

from typing import Literal

import pytest

from sidecar.delivery.retry import MAX_ATTEMPTS, Undelivered, may_try_again
from sidecar.eventgate.failures import Failed, FailureClass
from sidecar.events.outgoing import Outgoing
from sidecar.events.results import EventStatus, Outcome

NEVER_SENT, REFUSED, THROTTLED, INFRASTRUCTURE, AMBIGUOUS = FailureClass


@pytest.mark.parametrize(
    ("failure", "attempts_sent", "on_ambiguous", "again"),
    [
        (NEVER_SENT, 0, "resend", True),
        (NEVER_SENT, 1, "resend", True),
        (NEVER_SENT, 2, "resend", True),
        (NEVER_SENT, 2, "fail", True),
        (REFUSED, 1, "resend", False),
        (REFUSED, 2, "resend", False),
        (THROTTLED, 1, "resend", True),
        (THROTTLED, 1, "fail", True),
        (THROTTLED, 2, "resend", False),
        (INFRASTRUCTURE, 1, "resend", True),
        (INFRASTRUCTURE, 1, "fail", True),
        (INFRASTRUCTURE, 2, "resend", False),
        (AMBIGUOUS, 1, "resend", True),
        (AMBIGUOUS, 1, "fail", False),
        (AMBIGUOUS, 2, "resend", False),
    ],
)
def test_which_failures_may_be_retried(
    failure: FailureClass,
    attempts_sent: int,
    on_ambiguous: Literal["resend", "fail"],
    again: bool,
) -> None:
    """Always if nothing was sent, never after a refusal, else once."""
    assert may_try_again(Failed(failure, "a reason"), attempts_sent, on_ambiguous) is again


@pytest.mark.parametrize("failure", FailureClass)
def test_no_failure_allows_a_third_attempt_that_reaches_an_endpoint(failure: FailureClass) -> None:
    """Unless the last one sent nothing."""
    sent_again = may_try_again(Failed(failure, "a reason"), MAX_ATTEMPTS, "resend")
    assert sent_again is (failure is FailureClass.NEVER_SENT)


@pytest.mark.parametrize(
    ("failure", "unreachable"),
    [(FailureClass.NEVER_SENT, True), (FailureClass.AMBIGUOUS, True), (FailureClass.REFUSED, False)],
)
@pytest.mark.parametrize("again", [True, False])
def test_an_undelivered_event_has_an_error_status(failure: FailureClass, *, unreachable: bool, again: bool) -> None:
    """With its bytes, the reason and the place; trying later may help unless it was refused."""
    status = Undelivered("main", "eqiad", failure, "gone", 5.0, again).status_of(Outgoing(0, b'{"n":1.0}', "a", "s"))
    assert status.described == b'{"status":"error","event":{"n":1.0},"context":{"message":"gone"}}'
    assert status == EventStatus("error", Outcome.FAILED, status.described, unreachable, again, "main", "eqiad")
