"""Promises of `coalescer` for any events, in any posts, at any time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import looptime
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.events.outgoing import Outgoing
from sidecar.events.results import EventStatus
from tests.callers import Array, Caller, call, coalescing, event, statuses_from

thoroughly = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

KINDS = st.sampled_from(["good", "good", "good", "invalid", "error", "poison", "crash"])
TAKES = st.sampled_from([0.0, 0.003, 0.03, 0.5])
MOMENT = 0.0001
"""Seconds by which the loop's own clock may be off."""


@dataclass(frozen=True)
class Posted:
    """One POST: when it comes, its headers and its events."""

    at: float
    agent: str
    events: Sequence[Outgoing]


@dataclass(frozen=True)
class Case:
    """The posts, the latencies and the limits."""

    posts: Sequence[Posted]
    takes: Sequence[float]
    max_events: int
    max_bytes: int
    linger_ms: int


@st.composite
def posts(draw: st.DrawFn) -> Posted:
    """Draw a POST with unique ids, which other posts may share."""
    ids = draw(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True))
    events = [event(draw(KINDS), each, index) for index, each in enumerate(ids)]
    return Posted(draw(st.sampled_from([0, 0, 1, 2, 4, 7, 20])) / 1000, draw(st.sampled_from("112")), events)


cases = st.builds(
    Case,
    st.lists(posts(), min_size=1, max_size=8),
    st.lists(TAKES, max_size=6),
    st.integers(1, 6),
    st.sampled_from([20, 80, 200, 2000]),
    st.sampled_from([1, 5, 50]),
)


async def play(case: Case) -> tuple[list[Caller], list[Array]]:
    """Send all posts; return their statuses, and the arrays sent."""
    callers = [Caller() for _ in case.posts]
    async with coalescing(
        *case.takes, max_events=case.max_events, max_bytes=f"{case.max_bytes}B", linger=f"{case.linger_ms}ms"
    ) as (coalescer, delivery, tasks):
        for caller, post in zip(callers, case.posts, strict=True):
            tasks.create_task(call(caller, coalescer, post.events, post.at, (("user-agent", post.agent),)))
    return callers, delivery.arrays


async def one_by_one(events: Sequence[Outgoing]) -> list[EventStatus]:
    """Return the status of each event when sent alone."""
    async with coalescing() as (alone, _, _):
        return [status for each in events for status in await statuses_from(alone, [each])]


@thoroughly
@given(cases)
def test_posts_do_not_affect_each_other(case: Case) -> None:
    """Each gets the statuses it would get alone, in order, and leaves within `linger`."""
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        callers, arrays = runner.run(play(case))
        expected = [runner.run(one_by_one(post.events)) for post in case.posts]
    assert [caller.statuses for caller in callers] == expected
    for caller, post in zip(callers, case.posts, strict=True):
        left = min(array.begun for array in arrays if post.events[0] in array.events)
        assert left <= caller.came + case.linger_ms / 1000 + MOMENT


@thoroughly
@given(cases)
def test_every_array_keeps_the_rules(case: Case) -> None:
    """Ids are unique, user agents are not mixed, and only a lone POST exceeds the limits."""
    with asyncio.Runner(loop_factory=looptime.new_event_loop) as runner:
        _, arrays = runner.run(play(case))
    sender = {each.body: number for number, post in enumerate(case.posts) for each in post.events}
    for array in arrays:
        senders = {sender[each.body] for each in array.events}
        assert len({each.id for each in array.events}) == len(array.events)
        assert {(("user-agent", case.posts[number].agent),) for number in senders} == {array.headers}
        if len(senders) > 1:
            assert len(array.events) <= case.max_events
            assert sum(len(each.body) for each in array.events) <= case.max_bytes
