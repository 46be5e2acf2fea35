"""Promises of `request`: which POSTs are of events, and that each is answered once."""

from __future__ import annotations

import pytest

from sidecar.intake.answer import Answer
from sidecar.intake.budget import ByteBudget
from sidecar.intake.request import EventsRequest, query_of_events

FINE = Answer(201, "All 1 out of 1 events were accepted.", "delivered")


@pytest.mark.parametrize(
    ("keep_alive", "close", "ends"), [(True, False, False), (True, True, True), (False, False, True)]
)
def test_a_request_is_answered_once(*, keep_alive: bool, close: bool, ends: bool) -> None:
    """A second answer, or one to a client that has gone, is not written."""
    written: list[tuple[Answer, bool]] = []
    request = EventsRequest(
        lambda answer, close: written.append((answer, close)),
        *(b"/v1/events", b"", {b"host": b"x"}, 99),
        keep_alive=keep_alive,
        waits_for_100_continue=False,
        budget=ByteBudget(),
    )
    request.answer(FINE, **({"close": True} if close else {}))
    request.answer(FINE, close=True)
    assert written == [(FINE, ends)]
    assert request.headers == {}, "an idle connection keeps no headers"


@pytest.mark.parametrize(
    ("method", "target", "query"),
    [
        (b"POST", b"/v1/events", b""),
        (b"POST", b"/V1/%65vents/?hasty=true", b"hasty=true"),
        (b"GET", b"/v1/events", None),
        (b"POST", b"/v1/events/x", None),
        (b"POST", b"//v1/events", None),
        (b"POST", b"\x00", None),
    ],
)
def test_a_post_of_events_is_known_by_its_target(method: bytes, target: bytes, query: bytes | None) -> None:
    """As in Express: in any case, with a trailing slash or an escape, and nothing else."""
    assert query_of_events(method, target) == query
