"""Promises of `record`: an event keeps all its data through the spool."""

from __future__ import annotations

import json

import msgspec
import pytest

from sidecar.events.outgoing import LABELS, Load, Outgoing
from sidecar.spool.record import (
    FRESH_BYTES,
    ROW_BYTES,
    DeadLetter,
    Fresh,
    Quota,
    Spooled,
    Tally,
    Totals,
    as_json,
    line_of,
    most_bytes,
)
from tests.spool.spools import NOON, spooled


def test_an_event_comes_back_unchanged() -> None:
    """Bytes, id, stream and request id; only its index is new."""
    outgoing = Outgoing(3, b'{"a": 1}', "an-id", "score", lacks_request_id=False, order_key="enwiki 1")
    event = Spooled.of(outgoing, Load("main", [outgoing], hasty=True), 7, NOON, ahead=True, routed_by=3)
    assert event.outgoing(0) == Outgoing(0, b'{"a": 1}', "an-id", "score", lacks_request_id=False)
    assert (event.arrival, event.hasty, event.order_key, event.ahead, event.routed_by) == (0, True, 7, True, 3)


@pytest.mark.parametrize("came_as", [None, "page_change"])
def test_the_stream_that_an_event_came_with_is_kept(came_as: str | None) -> None:
    """The one it is sent under, unless a route renamed it."""
    outgoing = Outgoing(0, b"{}", "an-id", "score", came_as=came_as)
    event = Spooled.of(outgoing, Load("main", [outgoing]), None, NOON, ahead=False, routed_by=3)
    assert (event.stream, event.came_as) == ("score", came_as or "score")


def test_the_size_of_an_event_includes_everything() -> None:
    """Body, headers, names and the row itself."""
    event = Spooled(upstream="main", stream="score", body=b"x" * 100, headers=(("a", "bc"),), first_seen=NOON)
    assert event.size == ROW_BYTES + 100 + 9 + 14
    assert msgspec.structs.replace(event, came_as="scores", id="7").size == event.size + 7


@pytest.mark.parametrize("body", [b'{"a":1}', b'{\n  "a": "b\\n c"\r\n}', b'{"a":"\xff"}', '{"a":"é"}'.encode()])
def test_an_event_is_one_line(body: bytes) -> None:
    """However it is formatted, it becomes one line of equivalent JSON."""
    line = line_of(spooled(1, body=body, headers=(("x-request-id", "r"),)))
    assert line.count(b"\n") == 1
    found = json.loads(line)
    assert found["event"] == json.loads(body.decode(errors="replace"))
    assert (found["arrival"], found["headers"]) == (1, [["x-request-id", "r"]])


def test_the_line_of_a_dead_letter_has_reason_and_time() -> None:
    """Beside the event."""
    event = spooled(1)
    found = json.loads(line_of(event, DeadLetter(event=event, reason="invalid", died=NOON)))
    assert (found["dead"], found["died"], found["event"]["meta"]["id"]) == ("invalid", NOON, "1")


def test_the_data_of_an_event_has_no_content() -> None:
    """It can be shown without the event."""
    assert "body" not in as_json(spooled(1))


@pytest.mark.parametrize(
    ("said", "origin", "words"),
    [(None, None, ""), ("env=staging&isvc=a+b", {"env": "staging", "isvc": "a b"}, "env=staging,isvc=a b")],
    ids=["from its producer", "handed over"],
)
def test_the_origin_of_an_event_is_shown(said: str | None, origin: dict[str, str] | None, words: str) -> None:
    """The labels of the pod that handed it over."""
    event = spooled(1, headers=() if said is None else ((LABELS, said),))
    assert event.origin == origin
    assert as_json(event).get("origin", "") == words


def test_only_the_last_events_are_kept_in_memory() -> None:
    """Up to a limit in bytes, and each until it is taken."""
    fresh, third = Fresh(), FRESH_BYTES // 3
    for number in (1, 2, 3, 4):
        fresh.add(number, spooled(0, body=bytes(third)))
    taken = [fresh.take(number) for number in (1, 2, 2, 3, 4)]
    assert [each and each.arrival for each in taken] == [None, 2, None, 3, 4]
    fresh.add(5, spooled(0, body=bytes(FRESH_BYTES + 1)))
    assert fresh.take(5) is None


@pytest.mark.parametrize(("size", "most"), [(2047, 4094), (2048, 10_240), (2049, 10_241)])
def test_the_room_that_an_event_needs_counts_whole_pages(size: int, most: int) -> None:
    """Two of less than half a page may need a page each; a larger one fills its last two only in part."""
    assert most_bytes(size, 4096) == most


def test_a_new_event_was_never_tried_and_is_due_at_once() -> None:
    """It needs a request id and waits for Kafka, goes behind no other, and its number is given by the file."""
    new = Spooled(upstream="main", stream="score", body=b"{}", first_seen=NOON)
    assert (new.arrival, new.attempts, new.errors, new.due, new.routed_by) == (0, 0, 0, 0.0, 0)
    assert (new.lacks_request_id, new.hasty, new.ahead) == (True, False, False)


def test_a_spool_has_256_mib_and_a_day() -> None:
    """Of which a sixteenth is for the write-ahead log."""
    assert (Quota().size, Quota().age, Quota().journal) == (268_435_456, 86_400.0, 16_777_216)


def test_the_totals_are_what_was_added_and_not_removed() -> None:
    """Letters that were dropped are counted once, in the next totals."""
    tally = Tally()
    tally.waiting("main", "score", 3, 300)
    tally.waiting("main", "score", -1, -100)
    tally.dead(5, 50)
    tally.dropped = 7
    assert tally.totals(NOON, 0.5, 4096) == Totals(2, 200, 5, 50, NOON, {"main": 2}, {"score": 2}, 0.5, 7, 4096)
    assert tally.totals(NOON, 0.5, 0).dropped == 0
