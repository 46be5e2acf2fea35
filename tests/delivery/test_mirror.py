"""Promises of `mirror`: copies of accepted events are bounded and counted, and delay nothing."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest

from sidecar.delivery.mirror import MAX_COPIED_BYTES, MAX_COPIES, MAX_POSTS_OF_COPIES, Mirroring, is_chosen
from sidecar.events.outgoing import Copy, Done, Headers, Load, Outgoing
from sidecar.events.results import SUCCESS, EventStatus, Outcome, failed, refused
from sidecar.routes.language.config import Coalesce
from sidecar.telemetry.happenings import Mirrored, Unexpected
from tests.scripted import Recorder

COPY = Copy("scores", "staging", "copied", 100)
AGENT = ("user-agent", "model")
SPOOLED = EventStatus("success", Outcome.SPOOLED)
FAILED = failed(b"{}", "no endpoint", unreachable=True)


def event(number: int | None = 0, copy: Copy | None = COPY, size: int = 0) -> Outgoing:
    """Return an event of the stream `score`; without a number it has no id."""
    body = json.dumps({"meta": {"stream": "score", "id": str(number)}, "text": "x" * size}).encode()
    return Outgoing(number or 0, body, None if number is None else str(number), "score", copy=copy)


class Between:
    """A mirror between a delivery that answers at once, and a sender of copies that is answered by `end`."""

    def __init__(self, answers: Sequence[EventStatus] = (SUCCESS,), limits: Coalesce | None = None) -> None:
        """`answers` are taken in turn."""
        self.recorder = Recorder()
        self.answers = answers
        self.told: list[EventStatus] = []
        self.posts: list[Load] = []
        self.ends: list[Done] = []
        self.mirror = Mirroring(self._deliver, self._send, {"staging": limits or Coalesce()}, self.recorder.emit)

    def _deliver(self, load: Load, done: Done) -> None:
        done([self.answers[place % len(self.answers)] for place in range(len(load.events))])

    def _send(self, load: Load, done: Done) -> None:
        self.posts.append(load)
        self.ends.append(done)

    async def take(self, *events: Outgoing, headers: Headers = ()) -> None:
        """Pass a request on, and run one turn of the loop."""
        self.mirror.deliver(Load("production", events, headers), self.told.extend)
        await asyncio.sleep(0)

    def end(self, place: int, status: EventStatus = SUCCESS) -> None:
        """Set the result of an array of copies."""
        self.ends[place]([status] * len(self.posts[place].events))

    @property
    def counted(self) -> dict[str, int]:
        """The number of copies by result."""
        counts: Counter[str] = Counter()
        for each in self.recorder.all_of(Mirrored):
            assert (each.route, each.upstream) == ("scores", "staging")
            counts[each.result] += each.count
        return counts

    @property
    def sizes(self) -> list[int]:
        """The number of copies in each array."""
        return [len(each.events) for each in self.posts]


async def test_what_is_accepted_is_copied_after_its_answer() -> None:
    """Delivered or spooled; not invalid, failed, or without a mirror. The copy has the same id and its own name."""
    between = Between([SUCCESS, SPOOLED, refused(b"{}", "no", ""), FAILED, SUCCESS])
    events = [event(0), event(1), event(2), event(3), event(4, copy=None)]
    await between.take(*events, headers=(AGENT, ("traceparent", "00-1")))
    assert len(between.told) == 5
    (load,) = between.posts
    assert (load.upstream, load.headers, load.hasty, load.alone) == ("staging", (AGENT,), False, True)
    assert [json.loads(each.body)["meta"] for each in load.events] == [
        {"stream": "copied", "id": str(number)} for number in range(2)
    ]
    between.end(0)
    assert between.counted == {"sent": 2}


async def test_a_copy_under_the_same_name_has_the_same_bytes() -> None:
    """The event is not even parsed again."""
    between = Between()
    sent = event(copy=msgspec.structs.replace(COPY, stream="score"))
    await between.take(sent)
    assert between.posts[0].events[0].body is sent.body


@pytest.mark.parametrize(
    ("result", "counted"),
    [(SUCCESS, {"sent": 1}), (FAILED, {"failed": 1}), (refused(b"{}", "no", ""), {"failed": 1})],
    ids=["sent", "failed", "invalid"],
)
async def test_each_copy_is_counted(result: EventStatus, counted: dict[str, int]) -> None:
    """By its upstream's status; it is not sent again."""
    between = Between()
    await between.take(event())
    between.end(0, result)
    await asyncio.sleep(0)
    assert (between.counted, len(between.posts)) == (counted, 1)
    reasons = {"sent": "", "failed": "no endpoint" if result is FAILED else "invalid at "}
    assert [each.reason for each in between.recorder.all_of(Mirrored)] == [reasons[each] for each in counted]


async def test_a_copy_that_is_not_accepted_is_counted_and_not_sent() -> None:
    """`accepts` of the mirror's upstream was checked when the event was routed."""
    between = Between()
    await between.take(event(copy=msgspec.structs.replace(COPY, refusal="staging does not accept it")))
    assert (between.posts, between.counted) == ([], {"refused": 1})


async def test_the_queue_has_a_bound_in_copies_and_in_bytes() -> None:
    """Excess copies are dropped; there is room again once something is sent."""
    between = Between(limits=Coalesce(max_events=128))
    await between.take(*map(event, range(MAX_COPIES + 7)))
    assert between.counted == {"full": 7}
    assert between.sizes == [128] * MAX_POSTS_OF_COPIES
    between.end(0)
    await between.take(event(5000))
    assert between.counted == {"full": 7, "sent": 128}
    large = Between()
    await large.take(*(event(number, size=MAX_COPIED_BYTES // 4) for number in range(5)))
    assert large.counted == {"full": 2}


async def test_arrays_have_equal_headers_and_unique_ids() -> None:
    """And at most the events and bytes of the upstream's `coalesce`."""
    between = Between(limits=Coalesce(max_events=3, max_bytes=1000))
    await between.take(event(0), event(1), event(1), headers=(AGENT,))
    between.mirror.deliver(Load("production", [event(2), event(3)]), between.told.extend)
    await between.take(event(None), event(4))
    assert between.sizes == [2, 1, 2, 1]
    between.end(0)
    await asyncio.sleep(0)
    assert between.sizes == [2, 1, 2, 1, 1]


async def test_arrays_have_at_most_the_bytes_of_coalesce() -> None:
    """A copy that does not fit is in the next array."""
    between = Between(limits=Coalesce(max_events=9, max_bytes=1000))
    await between.take(*(event(number, size=300) for number in range(5)))
    assert between.sizes == [2, 2, 1]


async def test_copies_with_one_result_are_reported_once() -> None:
    """A large array whose copies do not fit does not flood the happenings."""
    between = Between()
    await between.take(*map(event, range(MAX_COPIES + 50)))
    assert [each.count for each in between.recorder.all_of(Mirrored)] == [50]


async def test_few_arrays_are_in_flight_at_once() -> None:
    """A hanging upstream holds a few connections; waiting copies are then sent together."""
    between = Between()
    for number in range(40):
        await between.take(event(number))
    assert between.sizes == [1] * MAX_POSTS_OF_COPIES
    between.end(0)
    await asyncio.sleep(0)
    assert between.sizes[MAX_POSTS_OF_COPIES:] == [36]


async def test_an_upstream_that_fails_at_once_costs_no_recursion() -> None:
    """Without an endpoint each array ends while it is being sent."""
    between = Between(limits=Coalesce(max_events=1))
    between.mirror._send = lambda load, done: done([FAILED] * len(load.events))
    await between.take(*map(event, range(MAX_COPIES)))
    assert between.counted == {"failed": MAX_COPIES}


async def test_after_the_end_nothing_is_sent() -> None:
    """At a stop and a reload, copies waiting, in flight or accepted later are counted once."""
    between = Between()
    for number in range(MAX_POSTS_OF_COPIES + 3):
        await between.take(event(number))
    between.mirror.end()
    assert between.counted == {"stopped": MAX_POSTS_OF_COPIES + 3}
    between.end(0)
    await between.take(event(99))
    assert (len(between.posts), between.counted) == (MAX_POSTS_OF_COPIES, {"stopped": MAX_POSTS_OF_COPIES + 4})


async def test_only_events_with_a_mirror_are_copied() -> None:
    """The others of their request are delivered, and nothing else happens to them."""
    between = Between()
    await between.take(event(1, None), event(2), event(3, None))
    assert [outgoing.id for load in between.posts for outgoing in load.events] == ["2"]
    assert between.told == [SUCCESS] * 3
    assert between.recorder.all_of(Unexpected) == []


async def test_a_bug_costs_only_copies() -> None:
    """The producer is answered first, and the exception is reported."""
    between = Between()
    await between.take(msgspec.structs.replace(event(), body=b"this cannot be renamed"))
    assert between.told == [SUCCESS]
    assert [each.where for each in between.recorder.all_of(Unexpected)] == ["mirror"]


def test_a_percentage_is_stable() -> None:
    """The same ids are always chosen, also by a larger share, and about as many as requested."""
    events = [event(number) for number in range(2000)]
    tenth, half = ({each.id for each in events if is_chosen(each, percent)} for percent in (10, 50))
    assert tenth < half
    assert (150 < len(tenth) < 250, 900 < len(half) < 1100) == (True, True)
    assert all(is_chosen(each, 100) for each in events)
    assert is_chosen(event(None), 50) == is_chosen(event(None), 50)
