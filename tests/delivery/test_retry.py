"""Promises of `retry`: whether EventGate may have taken the events decides what may be done with them."""

from __future__ import annotations

from typing import Literal

import pytest

from sidecar.delivery.retry import MAX_ATTEMPTS, Budget, Failed, FailureClass, failure_of_status, may_try_again

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
def test_events_are_sent_again_only_where_that_is_right(
    failure: FailureClass,
    attempts_sent: int,
    on_ambiguous: Literal["resend", "fail"],
    again: bool,
) -> None:
    """What was never sent is free, what was refused stays refused, and all else goes out twice at most."""
    assert may_try_again(Failed(failure, "a reason"), attempts_sent, on_ambiguous) is again


@pytest.mark.parametrize("failure", FailureClass)
def test_no_failure_allows_a_third_attempt_that_reaches_an_endpoint(failure: FailureClass) -> None:
    """Events that reached an endpoint as often as allowed do not go out again, unless the last never left."""
    sent_again = may_try_again(Failed(failure, "a reason"), MAX_ATTEMPTS, "resend")
    assert sent_again is (failure is FailureClass.NEVER_SENT)


@pytest.mark.parametrize(
    ("status", "retry_after", "failure"),
    [
        (301, None, REFUSED),
        (400, None, REFUSED),
        (404, None, REFUSED),
        (413, None, REFUSED),
        (429, None, THROTTLED),
        (429, 3.0, THROTTLED),
        (500, None, INFRASTRUCTURE),
        (501, None, REFUSED),
        (502, None, INFRASTRUCTURE),
        (503, None, INFRASTRUCTURE),
        (503, 0.0, THROTTLED),
        (503, 30.0, THROTTLED),
        (504, None, INFRASTRUCTURE),
        (504, 30.0, INFRASTRUCTURE),
        (599, None, INFRASTRUCTURE),
    ],
)
def test_a_status_without_a_verdict_has_its_class(
    status: int, retry_after: float | None, failure: FailureClass
) -> None:
    """Each status that says nothing about the events belongs to one class of failure."""
    assert failure_of_status(status, retry_after) is failure


@pytest.mark.parametrize(
    ("in_flight", "second_attempts", "allows"),
    [
        pytest.param(0, 0, True, id="the floor, with nothing in flight"),
        pytest.param(1, 9, True, id="one below the floor"),
        pytest.param(1, 10, False, id="the floor is used up"),
        pytest.param(54, 10, False, id="a share below the floor"),
        pytest.param(55, 10, True, id="a fifth is just above the floor"),
        pytest.param(500, 99, True, id="one below a fifth"),
        pytest.param(500, 100, False, id="a fifth"),
    ],
)
def test_second_attempts_have_a_budget(in_flight: int, second_attempts: int, allows: bool) -> None:
    """At most a fifth of what is in flight is under way twice, and ten always may be."""
    budget = Budget()
    budget.in_flight, budget.second_attempts = in_flight, second_attempts
    assert budget.allows is allows
