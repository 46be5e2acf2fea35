"""Promises of `results`: statuses of failed events have EventGate's shape."""

from __future__ import annotations

import msgspec
import pytest

from sidecar.events.results import PIECE_BYTES, SUCCESS, EventStatus, Outcome, context_of, failed, placed, refused


@pytest.mark.parametrize("event", [b'{"a": 1.0}', b"{}", b"7", b'"\xff"', b'{"a":1e400,"a":"\\ud800"}'], ids=str)
def test_a_refused_event_is_described_as_an_invalid_one(event: bytes) -> None:
    """What the sidecar refuses looks like EventGate's validation error, with the event as received."""
    status = refused(event, 'use "b"', "never")
    echoed = event.decode(errors="replace")
    assert status.described.decode() == (
        f'{{"status":"invalid","event":{echoed},"context":{{"errors":[{{"keyword":"route",'
        '"dataPath":".meta.stream","schemaPath":"routes.yaml","params":{"route":"never"},'
        '"message":"use \\"b\\""}],"errorsText":"\'.meta.stream\' use \\"b\\""}}'
    )
    assert msgspec.structs.replace(status, described=b"") == EventStatus("invalid", Outcome.REFUSED)


def test_bad_bytes_are_described_as_node_shows_them() -> None:
    """Also where a character is cut off at the end, or spans two of the pieces that are decoded."""
    event = b"x" * (PIECE_BYTES - 1) + "é".encode() + b"\xc3"
    assert event.decode(errors="replace") in failed(event, "no answer", unreachable=True).described.decode()


def test_a_status_says_where_it_comes_from() -> None:
    """Whether it is a success or not."""
    statuses = placed([SUCCESS, failed(b"{}", "no answer", unreachable=False)], "main", "eqiad")
    assert [(each.status, each.upstream, each.endpoint) for each in statuses] == [
        ("success", "main", "eqiad"),
        ("error", "main", "eqiad"),
    ]


@pytest.mark.parametrize("unreachable", [True, False], ids=["not reached", "reached"])
def test_an_undelivered_event_is_described_as_an_error(unreachable: bool) -> None:
    """What could not be delivered looks like EventGate's error, with the reason as its message."""
    assert failed(b'{"a": 1.0}', "no answer", unreachable) == EventStatus(
        "error",
        Outcome.FAILED,
        b'{"status":"error","event":{"a": 1.0},"context":{"message":"no answer"}}',
        unreachable=unreachable,
    )


class Said(msgspec.Struct):
    """A part of a context."""

    message: str


def test_a_context_is_decoded_as_far_as_asked_for() -> None:
    """Other keys are ignored; None if it is missing or of another shape."""
    assert context_of(failed(b"{}", "no room", unreachable=False), Said) == Said("no room")
    for described in (b"", b"{}", b'{"context":{}}', b'{"context":{"message":1}}', b'{"context":' + b"[" * 100_000):
        assert context_of(EventStatus("error", Outcome.FAILED, described), Said) is None
