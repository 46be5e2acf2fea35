"""Promises of `coalescer`: which posts are sent together, how long they wait, and that each gets its own answer."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any

import pytest

from sidecar.delivery.batching import must_share
from sidecar.delivery.coalescer import Coalescer
from sidecar.delivery.journey import MIN_ATTEMPT_SECONDS, OnEnd
from sidecar.events.outgoing import Headers, Load, Outgoing
from sidecar.events.results import EventStatus
from sidecar.routes.language.config import Coalesce
from sidecar.telemetry.happenings import Unexpected
from tests.callers import (
    AGENT,
    Array,
    Caller,
    ScriptedSender,
    call,
    call_at,
    coalescing,
    event,
    request,
    statuses_from,
)
from tests.scripted import Recorder, now

pytestmark = pytest.mark.looptime

LONGEST = 0.035
"""Seconds there and back, and `linger` before it."""


# --- who waits, and how long ---


async def test_a_lone_post_leaves_at_once() -> None:
    """Sequential posts do not wait, and keep all their headers."""
    async with coalescing() as (coalescer, delivery, _):
        callers = await call_at(coalescer, 0.0, 0.03, 0.1)
    assert [each.waited for each in callers] == [0.03] * 3
    assert delivery.sizes == [1, 1, 1]


class Watched(ScriptedSender):
    """Counts calls of the clock."""

    asked = 0

    def send(self, *arguments: Any) -> None:
        """Take an array."""
        self.asked += 1
        super().send(*arguments)


async def test_sequential_posts_do_not_wait_for_a_turn_of_the_loop() -> None:
    """After a batch of one the next post leaves at once; the very first may still get company."""
    async with asyncio.TaskGroup() as tasks:
        delivery = Watched(tasks)
        coalescer = Coalescer(delivery, {"main": Coalesce()}, Recorder(), now)
        for number in range(3):
            statuses: list[EventStatus] = []
            coalescer.deliver(Load("main", request(), AGENT), statuses.extend)
            assert delivery.asked == (number + 1 if number else 0)
            await asyncio.sleep(1)
            assert [each.status for each in statuses] == ["success"]


async def test_concurrent_posts_are_batched_again() -> None:
    """Of three posts after a lone one the first leaves alone; of the next three none does."""
    async with coalescing(linger="1s") as (coalescer, delivery, _):
        await call_at(coalescer, 0.0, 0.1, 0.1, 0.1, 0.3, 0.3, 0.3)
    assert delivery.sizes == [1, 1, 2, 3]


async def test_posts_leave_when_the_previous_array_is_answered() -> None:
    """If that takes less than `linger`."""
    callers = [Caller() for _ in range(3)]
    async with coalescing(otherwise=0.003) as (coalescer, delivery, tasks):
        for caller, kinds, at in zip(callers, (["good"] * 3, ["good"], ["good"]), (0.0, 0.001, 0.002), strict=True):
            tasks.create_task(call(caller, coalescer, request(*kinds), at))
    assert delivery.sizes == [3, 2]
    assert [each.waited for each in callers] == [0.003, 0.005, 0.004]


async def test_as_many_posts_as_are_in_flight_do_not_wait() -> None:
    """With a latency of 30 ms each array is as large as all those in flight, which keeps EventGate busy."""
    async with coalescing(linger="1s") as (coalescer, delivery, _):
        callers = await call_at(coalescer, *(number / 10_000 for number in range(36)))
    assert delivery.sizes == [1, 8, 9, 18]
    assert callers[0].waited == callers[8].waited == callers[17].waited == 0.03


async def test_linger_is_the_longest_wait() -> None:
    """With a longer latency, posts leave after `linger`, with all that arrived by then."""
    async with coalescing() as (coalescer, delivery, _):
        callers = await call_at(coalescer, 0.0, 0.001, 0.003, 0.0055, 0.0061)
    assert [round(array.begun, 6) for array in delivery.arrays] == [0.0, 0.006, 0.0111]
    assert sum(delivery.sizes) == 5
    assert max(each.waited for each in callers) <= LONGEST


async def test_many_at_once_are_not_serialised() -> None:
    """With a latency of 30 ms, 640 posts at once take 30 ms, not 30 ms per array."""
    async with coalescing() as (coalescer, delivery, _):
        callers = await call_at(coalescer, *[0.0] * 640)
    assert {each.waited for each in callers} == {0.03}
    assert delivery.sizes == [128] * 5
    assert delivery.most_at_once == 5


async def test_a_steady_stream_is_not_serialised() -> None:
    """With a post each millisecond and a latency of 30 ms, arrays overlap, and no post waits longer than `linger`."""
    async with coalescing() as (coalescer, delivery, _):
        callers = await call_at(coalescer, *(number / 1000 for number in range(300)))
    assert max(each.waited for each in callers) <= LONGEST
    assert delivery.most_at_once >= 5
    assert len(delivery.arrays) <= 61


async def test_a_hung_array_does_not_delay_others() -> None:
    """While one array hangs for 4 s, later posts leave after `linger` and are answered as usual."""
    async with coalescing(4.0) as (coalescer, _, _):
        hung, *others = await call_at(coalescer, 0.0, *(number / 100 for number in range(1, 100)))
    assert hung.waited == 4.0
    assert max(each.waited for each in others) == LONGEST


async def test_a_timer_set_before_a_pause_does_not_delay_posts() -> None:
    """A post after a pause leaves in time, although an earlier timer is still set."""
    last = Caller()
    async with coalescing(0.001, 0.001, 4.0) as (coalescer, delivery, tasks):
        for count, at in ((2, 0.0), (1, 0.0005), (2, 0.0025)):
            tasks.create_task(call(Caller(), coalescer, request(*["good"] * count), at))
        tasks.create_task(call(last, coalescer, request(), 0.003))
    assert delivery.sizes == [2, 1, 2, 1]
    assert last.waited == LONGEST


async def test_each_post_costs_the_same() -> None:
    """The clock is read a few times for each, so no timers pile up."""
    looks = itertools.count()

    def clock() -> float:
        next(looks)
        return now()

    async with asyncio.TaskGroup() as tasks:
        coalescer = Coalescer(ScriptedSender(tasks, [4.0]), {"main": Coalesce()}, Recorder(), clock)
        await call_at(coalescer, *(number / 2000 for number in range(2000)))
    assert next(looks) <= 3 * 2000


async def test_a_room_is_forgotten_when_it_is_empty() -> None:
    """Nothing is kept of user agents and request ids after their posts are answered."""
    async with coalescing() as (coalescer, delivery, tasks):
        for number in range(100):
            headers = (("x-request-id", str(number)), ("user-agent", str(number)))
            tasks.create_task(call(Caller(), coalescer, [event(needs_request_id=True)], headers=headers))
        await asyncio.sleep(0.01)
        assert len(coalescer._rooms) == 100
        await asyncio.sleep(0.03)
        assert (coalescer._rooms, coalescer._alarms) == ({}, {})
    assert delivery.sizes == [1] * 100


# --- with whom ---


async def together(*posts: tuple[Sequence[Outgoing], Headers, bool]) -> list[Array]:
    """Send these while another is in flight; return the arrays they form."""
    async with coalescing() as (coalescer, delivery, tasks):
        for shared, hasty in {(must_share(headers, events), hasty) for events, headers, hasty in posts}:
            first = [event("ahead", needs_request_id=True)]
            tasks.create_task(call(Caller(), coalescer, first, 0.0, shared, hasty=hasty))
        for events, headers, hasty in posts:
            tasks.create_task(call(Caller(), coalescer, events, 0.001, headers, hasty=hasty))
    return [array for array in delivery.arrays if array.events[0].stream != "ahead"]


async def test_different_user_agents_are_not_batched() -> None:
    """EventGate logs the user agent."""
    other: Headers = (("user-agent", "model/2"),)
    arrays = await together((request(), AGENT, False), (request(), other, False), (request(), AGENT, False))
    assert sorted((len(array.events), array.headers) for array in arrays) == [(1, other), (2, AGENT)]


async def test_hasty_posts_are_batched_separately() -> None:
    """Only their producers asked EventGate not to wait."""
    arrays = await together((request(), AGENT, False), (request(), AGENT, True), (request(), AGENT, True))
    assert sorted((len(array.events), array.hasty) for array in arrays) == [(1, False), (2, True)]


@pytest.mark.parametrize(("needs", "sizes"), [(False, [2]), (True, [1, 1])], ids=["own request_id", "none"])
async def test_request_ids_separate_only_events_that_need_them(needs: bool, sizes: list[int]) -> None:
    """EventGate fills in `meta.request_id` from the header, which must be the event's own."""
    headers: list[Headers] = [(("x-request-id", each), *AGENT) for each in "12"]
    arrays = await together(*(([event(needs_request_id=needs)], each, False) for each in headers))
    assert [len(array.events) for array in arrays] == sizes
    if needs:
        assert sorted(array.headers for array in arrays) == sorted(headers)
    else:
        assert arrays[0].headers == AGENT


async def test_waiting_is_part_of_the_deadline() -> None:
    """The deadline starts when a post arrives."""
    given_up: list[float] = []

    class Asked(ScriptedSender):
        def send(self, load: Load, on_end: OnEnd, give_up: float | None = None, since: float | None = None) -> None:
            given_up.append(since if since is not None else -1.0)
            super().send(load, on_end, give_up, since)

    async with asyncio.TaskGroup() as tasks:
        coalescer = Coalescer(Asked(tasks, [3.0]), {"main": Coalesce(linger=2.0)}, Recorder(), now)
        begun = now()
        for _ in range(2):
            coalescer.deliver(Load("main", request(), AGENT), lambda _: None)
            await asyncio.sleep(0.1)
    assert given_up == pytest.approx([begun, begun + 0.1], abs=0.01)


async def test_tracing_headers_do_not_separate_posts() -> None:
    """Those that differ are dropped."""
    traces: list[Headers] = [(("traceparent", each), *AGENT) for each in "12"]
    (array,) = await together(*((request(), each, False) for each in traces))
    assert (len(array.events), array.headers) == (2, AGENT)


async def test_events_without_an_id_are_sent_alone() -> None:
    """At once, and their array is not halved."""
    named = request("good", "invalid")
    nameless = [event("good", None), event("poison", None, 1)]
    arrays = await together((named, AGENT, False), (nameless, AGENT, False), (nameless[:1], AGENT, False))
    assert sorted((round(array.begun, 6), len(array.events)) for array in arrays) == [
        (0.001, 1),
        (0.001, 2),
        (0.006, 2),
    ]
    assert all(len({each.id is None for each in array.events}) == 1 for array in arrays)


# --- each its own answer, whatever happens ---


async def test_an_array_is_halved_until_the_bad_event_is_alone() -> None:
    """One poisonous event among 128 only delays the other 127 posts."""
    async with coalescing() as (coalescer, delivery, tasks):
        callers = [Caller() for _ in range(129)]
        for number, caller in enumerate(callers):
            tasks.create_task(call(caller, coalescer, request("poison" if number == 77 else "good")))
    assert [number for number, each in enumerate(callers) if each.words != ["success"]] == [77]
    assert b'"message":"there is poison in it"' in callers[77].statuses[0].described
    assert delivery.sizes == [128, 1, 64, 64, 32, 32, 16, 16, 8, 8, 4, 4, 2, 2, 1, 1]
    assert [each.doubted for each in delivery.arrays] == [False, False, *[True] * 14], "they count against no address"


async def test_halves_share_the_deadline_of_their_array() -> None:
    """No post waits longer than a lone one would."""
    async with coalescing(otherwise=1.0) as (coalescer, delivery, tasks):
        delivery.deadline = 2.5
        callers = [Caller() for _ in range(9)]
        for caller in callers:
            tasks.create_task(call(caller, coalescer, request("poison")))
    assert delivery.sizes == [9, 4, 5, 2, 2, 2, 3]
    assert [each.words for each in callers] == [["error"]] * 9


async def test_an_array_that_may_have_been_taken_is_not_halved() -> None:
    """Each event gets the result of the array."""
    async with coalescing() as (coalescer, delivery, tasks):
        callers = [Caller() for _ in range(3)]
        for caller, kind in zip(callers, ("good", "lost", "good"), strict=True):
            tasks.create_task(call(caller, coalescer, request(kind)))
    assert [each.words for each in callers] == [["error"]] * 3
    assert delivery.sizes == [3]


async def test_a_callback_that_raises_does_not_affect_others() -> None:
    """They have their answers, and the bug is logged."""

    def fails(_: Sequence[EventStatus]) -> None:
        raise KeyError("a bug")

    async with coalescing() as (coalescer, _, tasks):
        callers = [Caller() for _ in range(2)]
        tasks.create_task(call(callers[0], coalescer, request()))
        await asyncio.sleep(0)
        coalescer.deliver(Load("main", request(), AGENT), fails)
        tasks.create_task(call(callers[1], coalescer, request()))
    assert [each.words for each in callers] == [["success"]] * 2
    assert coalescer._telemetry.all_of(Unexpected) == [Unexpected("coalescer", "KeyError: 'a bug'")]  # type: ignore[attr-defined]


async def test_a_caller_that_leaves_does_not_affect_others() -> None:
    """Waiting or in flight; its events are delivered."""
    async with coalescing() as (coalescer, delivery, tasks):
        stays = [Caller(), Caller()]
        going = [tasks.create_task(call(Caller(), coalescer, request(), at)) for at in (0.0, 0.001, 0.002)]
        for caller in stays:
            tasks.create_task(call(caller, coalescer, request(), 0.002))
        for at, leaver in zip((0.003, 0.004, 0.01), going[1:] + going[:1], strict=True):
            await asyncio.sleep(at - now())
            leaver.cancel()
    assert [each.words for each in stays] == [["success"]] * 2
    assert delivery.sizes == [1, 4]


async def test_an_array_refused_at_its_deadline_is_not_halved() -> None:
    """The halves could not be answered in time: each event gets the answer of the array."""
    events = request("poison", "good")
    async with coalescing() as (coalescer, delivery, _):
        delivery.deadline = delivery.otherwise + MIN_ATTEMPT_SECONDS / 2
        statuses = await statuses_from(coalescer, events)
    assert ([each.status for each in statuses], delivery.sizes) == (["error", "error"], [2])


async def test_pressing_tells_whether_posts_wait() -> None:
    """Replay lets live events of the same upstream go first."""
    async with coalescing(linger="1s") as (coalescer, _, tasks):
        asked = []
        for at in (0.0, 0.01):
            tasks.create_task(call(Caller(), coalescer, request(), at))
        for at in (0.005, 0.02, 0.1):
            await asyncio.sleep(at - now())
            asked.append((coalescer.pressing("main"), coalescer.pressing("other")))
    assert asked == [(False, False), (True, False), (False, False)]
