"""Promises of `batching`: events of an array can be told apart, and none waits without need."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.delivery.batching import MAX_GROUPS, Rider, Room, common_headers, groups, must_share
from sidecar.events.outgoing import Headers, Load, Outgoing
from sidecar.routes.language.config import Coalesce
from tests.jsontext import unhurried


def outgoing(*ids: str | None) -> list[Outgoing]:
    """Return events with these ids, in this order."""
    return [Outgoing(index, b'{"n":%d}' % index, each, "a") for index, each in enumerate(ids)]


@pytest.mark.parametrize(
    ("ids", "together"),
    [
        pytest.param(["a"], [[(0, "a")]], id="one"),
        pytest.param([None], [[(0, None)]], id="one without an id"),
        pytest.param(["a", "b", "c"], [[(0, "a"), (1, "b"), (2, "c")]], id="all told apart"),
        pytest.param(["a", "a"], [[(0, "a")], [(1, "a")]], id="one id twice"),
        pytest.param([None, "a", None], [[(0, None)], [(1, "a")], [(2, None)]], id="some without an id"),
        pytest.param(
            ["a", "b", "a", "c", "b", None, "d"],
            [[(0, "a"), (1, "b")], [(2, "a"), (3, "c"), (4, "b")], [(5, None)], [(6, "d")]],
            id="an id that comes again begins an array",
        ),
    ],
)
def test_ids_are_unique_in_an_array(ids: list[str | None], together: list[list[tuple[int, str | None]]]) -> None:
    """An event without an id is alone; request order is kept."""
    found = groups(outgoing(*ids))
    assert [[(event.index, event.id) for event in group] for group in found] == together


def test_duplicate_ids_do_not_make_too_many_arrays() -> None:
    """Of 10,000 events with one id the first few are sent alone, the rest together, without ids."""
    found = groups(outgoing(*["a"] * 10_000))
    assert [len(group) for group in found] == [1] * MAX_GROUPS + [10_000 - MAX_GROUPS]
    assert {event.id for event in found[-1]} == {None}


@unhurried
@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=8))
def test_grouping_keeps_all_events(ids: list[str | None]) -> None:
    """It loses and duplicates none, and keeps order and bytes."""
    events = outgoing(*ids)
    found = groups(events)
    assert all(found)
    assert all(group == sorted(group, key=lambda event: event.index) for group in found)
    leaving = sorted((event for group in found for event in group), key=lambda event: event.index)
    assert [(event.index, event.body, event.stream) for event in leaving] == [
        (event.index, event.body, event.stream) for event in events
    ]
    for group in found:
        named = [event.id for event in group if event.id is not None]
        assert len(set(named)) == len(named) in (0, len(group))


# --- which headers they must have in common, and which they travel with ---

AGENT, REQUEST, TRACE = ("user-agent", "model/1"), ("x-request-id", "r-1"), ("traceparent", "00-1-1-01")
STATE = ("tracestate", "a=1")


@pytest.mark.parametrize(
    ("headers", "lacks", "shared"),
    [
        pytest.param((AGENT,), [False], (AGENT,), id="the user agent, always"),
        pytest.param((AGENT,), [True], (AGENT,), id="the user agent, whatever the event lacks"),
        pytest.param((REQUEST, AGENT), [False, False], (AGENT,), id="no x-request-id that nobody needs"),
        pytest.param((REQUEST, AGENT), [False, True], (REQUEST, AGENT), id="x-request-id where one event needs it"),
        pytest.param((TRACE, STATE), [True], (), id="tracing never"),
        pytest.param((), [True], (), id="none at all"),
    ],
)
def test_only_headers_that_affect_events_separate_posts(headers: Headers, lacks: list[bool], shared: Headers) -> None:
    """The user agent, and `x-request-id` if EventGate would copy it, but not tracing."""
    events = [Outgoing(index, b"{}", str(index), "s", each) for index, each in enumerate(lacks)]
    assert must_share(headers, events) == shared


@pytest.mark.parametrize(
    ("loads", "common"),
    [
        pytest.param([(REQUEST, TRACE, AGENT)], (REQUEST, TRACE, AGENT), id="one alone keeps all"),
        pytest.param([(REQUEST, AGENT), (REQUEST, AGENT)], (REQUEST, AGENT), id="all alike"),
        pytest.param([(TRACE, AGENT), (("traceparent", "00-2-2-01"), AGENT)], (AGENT,), id="other traces"),
        pytest.param([(AGENT,), (REQUEST, AGENT)], (AGENT,), id="the first lacks one"),
        pytest.param([(REQUEST, AGENT), (REQUEST, AGENT), (AGENT,)], (AGENT,), id="the last lacks one"),
        pytest.param([(TRACE,), (STATE,)], (), id="nothing in common"),
    ],
)
def test_an_array_has_the_common_headers(loads: list[Headers], common: Headers) -> None:
    """No header is applied to an event that came without it."""
    assert common_headers(loads) == common


# --- who leaves when, and with whom ---


def room(**limits: object) -> Room:
    """An empty room: up to 3 events, up to 100 bytes, 5 ms."""
    return Room(Coalesce.read({"max_events": 3, "max_bytes": "100B", "linger": "5ms", **limits}))


def rider(*ids: str, since: float = 0.0, size: int = 1) -> Rider:
    """Return events with these ids, each of this size."""
    events = [Outgoing(index, b"1" * size, each, "s") for index, each in enumerate(ids)]
    return Rider(Load("main", events), lambda _: None, since)


def busy_room() -> Room:
    """A room with many events in flight."""
    busy = room()
    let_in(busy, rider(*map(str, range(100, 200))))
    assert len(busy.board(0.0)) == 1
    return busy


def let_in(waiting: Room, *riders: Rider) -> None:
    """Queue them, one after the other."""
    for each in riders:
        waiting.enter(each)


def test_an_empty_room_has_no_departure() -> None:
    """Nothing leaves, and no timer is needed."""
    empty = room()
    assert (empty.board(99.0), empty.next_departure, empty.empty) == ([], None, True)


def test_a_post_leaves_at_once_if_nothing_is_in_flight() -> None:
    """It never waits for others; the room is busy until it is answered."""
    waiting, first = room(), rider("a")
    waiting.enter(first)
    assert waiting.board(0.0) == [first]
    assert (waiting.next_departure, waiting.empty) == (None, False)
    waiting.come_back(len(first.load.events))
    assert waiting.empty


def test_a_post_that_passes_through_is_in_flight() -> None:
    """Others wait until it is answered, as if it had been queued."""
    waiting, first, second = room(), rider("a", "b", "c"), rider("d")
    waiting.pass_through(first)
    assert not waiting.empty
    waiting.enter(second)
    assert waiting.board(0.0) == []
    waiting.come_back(3)
    assert waiting.board(0.0) == [second]
    waiting.come_back(1)
    assert waiting.empty


def test_waiting_posts_leave_when_those_in_flight_are_answered() -> None:
    """Together, in order of arrival."""
    waiting, first, *riders = room(), rider("a", "b", "c"), *(rider(each) for each in "de")
    let_in(waiting, first)
    assert waiting.board(0.0) == [first]
    let_in(waiting, *riders)
    assert waiting.board(0.0) == []
    waiting.come_back(len(first.load.events))
    assert waiting.board(0.0) == riders


@pytest.mark.parametrize(
    ("under_way", "waiting_events", "leave"),
    [(9, 8, 0), (9, 9, 9), (9, 10, 10), (1, 7, 0), (1, 8, 8)],
    ids=["one too few", "as many", "more", "a few", "enough"],
)
def test_as_many_posts_as_are_in_flight_leave_together(under_way: int, waiting_events: int, leave: int) -> None:
    """While nine events are in flight, nine more leave, which keeps EventGate busy."""
    waiting = room(max_events=20)
    let_in(waiting, rider(*(f"first {number}" for number in range(under_way))))
    assert len(waiting.board(0.0)) == 1
    let_in(waiting, *(rider(str(number)) for number in range(waiting_events)))
    assert len(waiting.board(0.0)) == leave


@pytest.mark.parametrize(
    ("now", "leave"),
    [
        pytest.param(0.0, 0, id="at once"),
        pytest.param(0.004, 0, id="after 4 ms"),
        pytest.param(0.005, 2, id="after 5 ms"),
        pytest.param(0.006, 2, id="after 6 ms"),
    ],
)
def test_no_post_waits_longer_than_linger(now: float, leave: int) -> None:
    """When the oldest has waited for `linger`, all waiting posts leave."""
    waiting = busy_room()
    let_in(waiting, rider("a"), rider("b", since=now))
    assert waiting.next_departure == 0.005
    assert len(waiting.board(now)) == leave


@pytest.mark.parametrize(
    ("sizes", "leave"),
    [
        pytest.param([1, 1], 0, id="2 events of 3"),
        pytest.param([1, 1, 1], 3, id="3 events"),
        pytest.param([50, 49], 0, id="99 bytes of 100"),
        pytest.param([50, 50], 2, id="100 bytes"),
        pytest.param([50, 51], 1, id="101 bytes: the second waits"),
        pytest.param([101, 1], 1, id="one that is too large travels alone"),
    ],
)
def test_an_array_leaves_when_it_is_full(sizes: list[int], leave: int) -> None:
    """By events or by bytes, whatever is in flight; the rest stays."""
    waiting = busy_room()
    let_in(waiting, *(rider(str(number), size=size) for number, size in enumerate(sizes)))
    assert len(waiting.board(0.0)) == leave


def test_a_request_is_never_split() -> None:
    """One over the limits is sent alone; one that does not fit is in the next array."""
    waiting = room()
    large, small, fits_not, last = rider(*"abcd"), rider("e"), rider("f", "g", "h"), rider("i")
    let_in(waiting, large, small, fits_not, last)
    assert [waiting.board(0.0), waiting.board(0.0)] == [[large], [small, last]]
    assert waiting.board(0.0) == [fits_not]
    assert waiting.board(9.0) == []


def test_events_that_left_no_longer_count() -> None:
    """Later posts wait for their own `linger`, and only they fill the room."""
    waiting = busy_room()
    let_in(waiting, rider("a", "b", size=30), rider("c", "d", since=0.002, size=20))
    assert len(waiting.board(0.002)) == 1
    assert (waiting.board(0.006), waiting.next_departure) == ([], 0.007)
    assert len(waiting.board(0.007)) == 1


def test_two_events_with_one_id_are_never_in_one_array() -> None:
    """The second is in the next array, and delays no others."""
    waiting, first, again, other = busy_room(), rider("a", "b"), rider("b"), rider("c")
    let_in(waiting, first, again, other)
    assert waiting.board(0.005) == [first, other]
    assert waiting.board(0.005) == [again]


@unhurried
@given(
    st.lists(st.tuples(st.lists(st.sampled_from("abcdef"), min_size=1, max_size=5, unique=True), st.integers(1, 60))),
    st.integers(1, 4),
)
def test_every_post_leaves_once_within_the_limits(entering: list[tuple[list[str], int]], max_events: int) -> None:
    """The oldest is in the next array, only a lone post may exceed the limits, and ids are unique."""
    waiting = room(max_events=max_events)
    riders = [rider(*ids, size=size) for ids, size in entering]
    let_in(waiting, *riders)
    left = list(riders)
    while left:
        batch = waiting.board(0.005)
        assert batch == [each for each in left if each in batch]
        assert batch[0] is left[0]
        events = [event for each in batch for event in each.load.events]
        assert len({event.id for event in events}) == len(events)
        full = len(events) > max_events or sum(len(event.body) for event in events) > 100
        assert not full or len(batch) == 1
        left = [each for each in left if each not in batch]
    assert waiting.board(9.0) == []
