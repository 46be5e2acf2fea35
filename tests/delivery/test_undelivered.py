"""Promises of `undelivered`: each event's producer learns why it was not delivered, and whether it may be kept."""

from __future__ import annotations

import pytest

from sidecar.delivery.retry import FailureClass
from sidecar.delivery.undelivered import Undelivered
from sidecar.events.event import Outgoing
from sidecar.events.results import EventStatus, Outcome


@pytest.mark.parametrize(
    ("failure", "unreachable"),
    [(FailureClass.NEVER_SENT, True), (FailureClass.AMBIGUOUS, True), (FailureClass.REFUSED, False)],
)
@pytest.mark.parametrize("again", [True, False])
def test_an_event_that_was_not_delivered_is_described_as_an_error(
    failure: FailureClass, *, unreachable: bool, again: bool
) -> None:
    """With its bytes, the reason and the place; to try again later may help unless the events were refused."""
    status = Undelivered("main", "eqiad", failure, "gone", 5.0, again).status_of(Outgoing(0, b'{"n":1.0}', "a", "s"))
    assert status.described == b'{"status":"error","event":{"n":1.0},"context":{"message":"gone"}}'
    assert status == EventStatus("error", Outcome.FAILED, status.described, unreachable, again, "main", "eqiad")
