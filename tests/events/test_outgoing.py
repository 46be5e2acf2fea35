"""Promises of `outgoing`: loads are immutable, and what nobody says is not assumed."""

from __future__ import annotations

import pytest

from sidecar.events.outgoing import PASSED_ON, Load, Outgoing


def test_a_load_is_immutable() -> None:
    """To send a part of it, or other headers, a new load is made."""
    load = Load("main", [Outgoing(0, b"{}", None, "s")])
    with pytest.raises(AttributeError):
        load.headers = (("user-agent", "model/1"),)  # type: ignore[misc]
    assert (load.headers, load.hasty) == ((), False)


def test_an_event_is_live_and_beyond_doubt_unless_said_otherwise() -> None:
    """Its request id comes from the header, its producer waits for EventGate, and others may join it."""
    event = Outgoing(0, b"{}", None, "s")
    load = Load("main", [event])
    assert (event.lacks_request_id, event.spool_first, load.alone, load.doubted) == (True, False, False, False)


def test_eventgate_gets_the_request_id_the_trace_and_the_agent() -> None:
    """Of the producer; other headers are between it and the sidecar."""
    assert set(PASSED_ON) == {"x-request-id", "traceparent", "tracestate", "user-agent"}
