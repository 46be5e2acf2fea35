"""Promises of `tap`: listeners see events with their outcome, within limits, at no cost for others."""

from __future__ import annotations

import json

import pytest

from sidecar.events.event import Event
from sidecar.events.outgoing import Outgoing
from sidecar.events.results import EventStatus, Outcome, failed, refused
from sidecar.intake.tap import MAX_EVENT_BYTES, MAX_SAID, MAX_WAITING, PER_SECOND, Listener, Missed, Passed, Tap, Wanted
from sidecar.routes.language.pattern import Pattern
from tests.anyroutes import event_of

DELIVERED = EventStatus("success", Outcome.DELIVERED, upstream="main", endpoint="eqiad")
EVENT = event_of({"meta": {"stream": "score", "id": "a"}})
SENT = Outgoing(0, b"{}", "a", "renamed")


class Desk:
    """A tap with a clock."""

    def __init__(self) -> None:
        """It begins at some second."""
        self.now = 1000.0
        self.tap = Tap(lambda: self.now)

    def passes(self, times: int = 1, status: EventStatus = DELIVERED) -> None:
        """Let an event pass."""
        for _ in range(times):
            self.tap.saw(EVENT, "all", SENT, status)


def seen(event: Event, sent: Outgoing | None, status: EventStatus) -> Passed:
    """Return an event as shown."""
    desk = Desk()
    with desk.tap.listener(Wanted()) as take:
        desk.tap.saw(event, "all", sent, status)
        (passed,) = take()
    assert isinstance(passed, Passed)
    return passed


def test_an_event_is_shown_with_its_route() -> None:
    """As received, with its route, its stream when sent, and its endpoint."""
    assert seen(EVENT, SENT, DELIVERED) == Passed(
        at=1000.0,
        stream="score",
        id="a",
        route="all",
        sent_as="renamed",
        upstream="main",
        endpoint="eqiad",
        outcome=Outcome.DELIVERED,
        said="",
        event=EVENT.raw.decode(),
        event_bytes=len(EVENT.raw),
        cut=False,
    )


def test_eventgates_message_is_shown() -> None:
    """It may quote the event, which is shown anyway."""
    context = {"errors": [{"message": "should be string"}], "errorsText": "'.map.mine' should be string"}
    described = json.dumps({"status": "invalid", "event": {}, "context": context}).encode()
    assert seen(EVENT, SENT, EventStatus("invalid", Outcome.INVALID, described)).said == "'.map.mine' should be string"
    assert seen(EVENT, SENT, failed(b"{}", "nobody answers", unreachable=True)).said == "nobody answers"
    assert seen(EVENT, SENT, EventStatus("error", Outcome.FAILED, b"no JSON")).said == "error"
    assert seen(EVENT, SENT, EventStatus("error", Outcome.FAILED, b'{"context":{}}')).said == "error"


def test_a_refused_event_has_no_sent_stream() -> None:
    """And no other id than its own."""
    passed = seen(EVENT, None, refused(EVENT.raw, "no route takes it", ""))
    assert (passed.sent_as, passed.upstream, passed.id, passed.outcome) == ("", "", "a", "refused")
    assert passed.said == "'.meta.stream' no route takes it"


@pytest.mark.parametrize(("size", "cut"), [(MAX_EVENT_BYTES, False), (MAX_EVENT_BYTES + 1, True)])
def test_a_large_event_is_cut_and_says_so(size: int, cut: bool) -> None:
    """Its whole size is shown; a long message is cut as well."""
    passed = seen(Event(0, b"x" * size), SENT, failed(b"{}", "y" * 10_000, unreachable=False))
    assert (len(passed.event), passed.event_bytes, passed.cut) == (MAX_EVENT_BYTES, size, cut)
    assert len(passed.said) == MAX_SAID


def test_invalid_utf8_is_shown() -> None:
    """Wherever it is cut."""
    assert seen(Event(0, b'{"a":"\xff"}'), None, DELIVERED).event == '{"a":"\N{REPLACEMENT CHARACTER}"}'
    assert seen(Event(0, "é".encode() * MAX_EVENT_BYTES), None, DELIVERED).event


@pytest.mark.parametrize(
    ("wanted", "takes"),
    [
        (Wanted(), True),
        (Wanted(Pattern.parse("sc*")), True),
        (Wanted(Pattern.parse("renamed")), True),
        (Wanted(Pattern.parse("other*")), False),
        (Wanted(outcomes=frozenset({"failed", "delivered"})), True),
        (Wanted(outcomes=frozenset({"failed"})), False),
        (Wanted(Pattern.parse("score"), frozenset({"failed"})), False),
    ],
    ids=["all", "as it came", "as it was sent", "another stream", "its outcome", "another outcome", "not both"],
)
def test_a_listener_gets_only_matching_events(wanted: Wanted, takes: bool) -> None:
    """By a glob on the stream, as received or as sent, and by outcome; others do not count as missed."""
    desk = Desk()
    with desk.tap.listener(wanted) as take:
        desk.passes()
        assert len(take()) == takes


def test_events_per_second_have_a_maximum() -> None:
    """The rest is counted and reported once a second."""
    desk = Desk()
    with desk.tap.listener(Wanted()) as take:
        desk.passes(PER_SECOND + 7)
        found = take()
        assert (len(found), found[-1]) == (PER_SECOND + 1, Missed(7, 0))
        desk.passes()
        assert take() == []
        desk.now += 1
        desk.passes()
        assert [type(each) for each in take()] == [Passed, Missed]
        desk.now += 1
        desk.passes()
        assert [type(each) for each in take()] == [Passed]  # nothing was missed since


def test_a_slow_listener_loses_events_and_is_told() -> None:
    """Its queue is bounded."""
    desk = Desk()
    with desk.tap.listener(Wanted()) as take:
        for _ in range(5):
            desk.passes(PER_SECOND)
            desk.now += 1
        found = take()
    assert len(found) == MAX_WAITING + 1
    assert found[-1] == Missed(0, 5 * PER_SECOND - MAX_WAITING)


def test_listeners_do_not_affect_each_other() -> None:
    """A slow one takes nothing from another."""
    desk = Desk()
    with desk.tap.listener(Wanted()) as slow, desk.tap.listener(Wanted()) as quick:
        got = 0
        for _ in range(4):
            desk.passes(PER_SECOND)
            got += len(quick())
            desk.now += 1
        assert (got, len(slow())) == (4 * PER_SECOND, MAX_WAITING + 1)


def test_the_flag_is_set_only_with_listeners() -> None:
    """Otherwise events cost nothing."""
    desk = Desk()
    found = [desk.tap.listening]
    with desk.tap.listener(Wanted()):
        with desk.tap.listener(Wanted()):
            found.append(desk.tap.listening)
        found.append(desk.tap.listening)
    assert [*found, desk.tap.listening] == [False, True, True, False]


def test_a_clock_that_is_set_back_is_harmless() -> None:
    """Seconds are compared for equality only."""
    listener = Listener(Wanted())
    for _ in range(PER_SECOND):
        listener.keep(seen(EVENT, SENT, DELIVERED))
    assert listener.has_room(5.0)
