"""A POST of events on its way, and its answer as bytes."""

from __future__ import annotations

import pytest

from sidecar.events.results import Answer
from sidecar.intake.request import EventsRequest, headers_of, query_of_events, wire

FINE = Answer(201, "All 1 out of 1 events were accepted.", "delivered")


def test_headers_say_how_the_request_ended() -> None:
    """Every answer names its outcome; only one with a body has a type, only one to repeat has a time."""
    assert headers_of(Answer(201, "fine", "delivered; upstream=staging")) == [
        (b"x-eventgate-sidecar", b"delivered; upstream=staging"),
        (b"content-length", b"0"),
    ]
    assert headers_of(Answer(503, "later", "failed", b"{}", retry_after=1)) == [
        (b"x-eventgate-sidecar", b"failed"),
        (b"content-length", b"2"),
        (b"content-type", b"application/json; charset=utf-8"),
        (b"retry-after", b"1"),
    ]


def test_an_answer_is_one_piece_of_http() -> None:
    """Status line with EventGate's words, headers, an empty line, the body; and the end where there is one."""
    assert wire(Answer(400, "bad", "invalid", b"{}"), close=True) == (
        b"HTTP/1.1 400 bad\r\nx-eventgate-sidecar: invalid\r\ncontent-length: 2\r\n"
        b"content-type: application/json; charset=utf-8\r\nconnection: close\r\n\r\n{}"
    )


def test_a_request_is_answered_once() -> None:
    """A second answer, and one to a client that has gone, is written nowhere."""
    written: list[tuple[Answer, bool]] = []
    request = EventsRequest(
        lambda answer, close: written.append((answer, close)),
        *(b"/v1/events", b"", {}),
        keep_alive=True,
        waits_for_100_continue=False,
    )
    request.answer(FINE)
    request.answer(FINE, close=True)
    assert written == [(FINE, False)]


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
    """As Express takes it: whatever its case, with a slash behind it or an escape in it, and nothing else."""
    assert query_of_events(method, target) == query
