"""Promises of `replay`: the spool is emptied, live traffic has priority, and EventGate is not overloaded."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from sidecar.events.results import EventStatus, Outcome, failed, refused
from sidecar.spool import policy
from sidecar.spool.policy import IDLE_SECONDS, MAX_BATCHES, MAX_ERRORS, MAX_REST_SECONDS
from sidecar.spool.record import Quota, Spooled, key_of
from sidecar.spool.replay import Passage, Replay, Send
from sidecar.spool.store import Spool
from tests.scripted import Recorder
from tests.spool.spools import NOON, AtOnce, Opened, arrivals, fill, open_spool, spool_file, spooled, waiting

pytestmark = pytest.mark.looptime

Verdict = Callable[[Spooled], EventStatus]


def taken(_: Spooled) -> EventStatus:
    """Return a success."""
    return EventStatus("success", Outcome.DELIVERED)


def unavailable(event: Spooled) -> EventStatus:
    """Return a failure without an attempt."""
    return failed(event.body, "no endpoint is available", unreachable=True)


def unreachable(event: Spooled) -> EventStatus:
    """Return a failure without an answer."""
    return msgspec.structs.replace(failed(event.body, "nothing answers", unreachable=True), endpoint="eqiad")


def invalid(event: Spooled) -> EventStatus:
    """Return EventGate's `invalid`."""
    return refused(event.body, "is not allowed", "")


def error(event: Spooled) -> EventStatus:
    """Return EventGate's `error`."""
    return msgspec.structs.replace(failed(event.body, "no schema", unreachable=False), endpoint="eqiad")


@dataclass
class Wire:
    """Takes the events; each batch takes a while and gets scripted statuses."""

    verdict: Verdict = taken
    takes: float = 0.01
    sent: list[tuple[float, list[int]]] = field(default_factory=list)
    """When, and which."""
    upstreams: list[str] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    pressing: bool = False

    async def send(self, upstream: str, events: Sequence[Spooled]) -> list[EventStatus]:
        """Send a batch."""
        self.upstreams.append(upstream)
        self.sent.append((asyncio.get_running_loop().time(), arrivals(list(events))))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.takes)
        finally:
            self.under_way -= 1
        return [self.verdict(event) for event in events]

    @property
    def numbers(self) -> list[int]:
        """All that was sent, in order."""
        return [number for _, batch in self.sent for number in batch]


@dataclass
class Replaying:
    """A spool being replayed."""

    opened: Opened
    replay: Replay
    wire: Wire


@contextlib.asynccontextmanager
async def replaying(
    folder: Path,
    wire: Wire,
    *events: Spooled,
    jitter: float = 0.5,
    upstreams: Sequence[str] = ("main",),
    send: Send | None = None,
    route: Callable[[Spooled], Spooled | str] = lambda event: event,
) -> AsyncIterator[Replaying]:
    """Store events and replay them."""

    def now() -> float:
        return NOON + asyncio.get_running_loop().time()

    async with open_spool(folder, now=now, hand=AtOnce()) as opened:
        await opened.put(events)
        replay = Replay(opened.spool, opened.telemetry, lambda: jitter, now)
        async with asyncio.TaskGroup() as tasks:
            replay.follow(Passage(upstreams, send or wire.send, lambda _: wire.pressing, route))
            tasks.create_task(replay.run())
            yield Replaying(opened, replay, wire)
            replay.stop()


async def test_everything_is_sent_once_in_the_order_it_came(tmp_path: Path) -> None:
    """And nothing is left."""
    events = [spooled(number) for number in range(1, 1001)]
    async with replaying(tmp_path, Wire(), *reversed(events)) as it:
        await asyncio.sleep(5)
        assert sorted(it.wire.numbers) == list(range(1, 1001))
        assert [batch[0] for _, batch in it.wire.sent] == sorted(batch[0] for _, batch in it.wire.sent)
        assert it.opened.spool.state.totals.events == 0
        assert it.opened.counted("replayed_events_total") == {'result="delivered",upstream="main"': 1000.0}
    assert waiting(tmp_path) == []


async def test_batches_grow_from_one_event(tmp_path: Path) -> None:
    """1, 2, 4, … events in a batch, then parallel batches, up to a limit."""
    async with replaying(tmp_path, Wire(), *(spooled(number) for number in range(1, 2001))) as it:
        await asyncio.sleep(5)
        sizes = [len(batch) for _, batch in it.wire.sent]
        assert sizes[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 128]
        assert it.wire.most_under_way == MAX_BATCHES


async def test_batches_have_at_most_a_mebibyte(tmp_path: Path) -> None:
    """Also when several are sent at once; a larger event is sent alone."""
    small = [spooled(number) for number in range(1, 1001)]
    large = [spooled(number, body=b"x" * 300_000) for number in range(1001, 1041)]
    async with replaying(tmp_path, Wire(), *small, *large, spooled(1041, body=b"x" * 2_000_000)) as it:
        await asyncio.sleep(5)
        large_ones = [sum(number > 1000 for number in batch) for _, batch in it.wire.sent]
    assert (sum(large_ones), max(large_ones), large_ones[-1]) == (41, 3, 1)


async def test_without_answers_one_event_is_tried_with_growing_pauses(tmp_path: Path) -> None:
    """0.5, 1, 2, … s, at most a minute; the event stays, and its attempts are recorded."""
    async with replaying(tmp_path, Wire(unreachable, 0.0), spooled(1), spooled(2), jitter=1.0) as it:
        await asyncio.sleep(300)
        pauses = [round(later - at) for at, later in itertools.pairwise(at for at, _ in it.wire.sent)]
        assert pauses == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60], abs=2 * IDLE_SECONDS)
        assert it.wire.numbers[:2] == [1, 2]
        assert len(it.opened.log("Replayed")) <= 6
        assert {each["reason"] for each in it.opened.log("Replayed")} == {"nothing answers"}
    with spool_file(tmp_path) as file:
        found = [event for event, _ in file.waiting()]
        assert sum(event.attempts for event in found) == 10
        assert {(event.errors, event.last_error) for event in found} == {(0, "nothing answers")}


async def test_no_event_is_tried_while_no_endpoint_is_available(tmp_path: Path) -> None:
    """So none counts as failed: it is sent with others, and before those that failed."""
    async with replaying(tmp_path, Wire(unavailable), spooled(1)) as it:
        await asyncio.sleep(10)
        it.replay.stop()
    with spool_file(tmp_path) as file:
        ((event, _),) = file.waiting()
    assert (len(it.wire.sent) > 1, event.attempts, event.last_attempt) == (True, 0, None)


async def test_a_recovered_endpoint_ends_the_pause(tmp_path: Path) -> None:
    """It starts again with one event."""
    async with replaying(tmp_path, Wire(unreachable), *(spooled(number) for number in range(1, 101)), jitter=1.0) as it:
        await asyncio.sleep(100)
        it.wire.verdict = taken
        it.replay.healed("main")
        await asyncio.sleep(1)
        assert it.opened.spool.state.totals.events == 0


async def test_events_that_come_later_are_sent_too(tmp_path: Path) -> None:
    """An empty spool is watched."""
    async with replaying(tmp_path, Wire()) as it:
        await asyncio.sleep(100)
        await it.opened.put([spooled(1)])
        await asyncio.sleep(0.1)
        assert it.wire.numbers == [1]


async def test_live_traffic_has_priority(tmp_path: Path) -> None:
    """At most a batch a second; full speed afterwards."""
    wire = Wire(pressing=True)
    async with replaying(tmp_path, wire, *(spooled(number) for number in range(1, 1001))) as it:
        await asyncio.sleep(4.5)
        assert len(wire.sent) == pytest.approx(4.5 / MAX_REST_SECONDS, abs=1)
        wire.pressing = False
        await asyncio.sleep(1)
        assert it.opened.spool.state.totals.events == 0


async def test_an_upstream_that_is_down_does_not_delay_another(tmp_path: Path) -> None:
    """Each has its own pace."""

    def verdict(event: Spooled) -> EventStatus:
        return (taken if event.upstream == "staging" else unreachable)(event)

    events = [spooled(number, upstream=("main", "staging")[number % 2]) for number in range(1, 101)]
    async with replaying(tmp_path, Wire(verdict), *events, upstreams=["main", "staging"]) as it:
        await asyncio.sleep(2)
        assert it.opened.spool.state.totals.upstreams == {"main": 50}


async def test_an_invalid_event_becomes_a_dead_letter_and_the_rest_go_on(tmp_path: Path) -> None:
    """With EventGate's verdict."""

    def verdict(event: Spooled) -> EventStatus:
        return (invalid if event.arrival == 2 else taken)(event)

    async with replaying(tmp_path, Wire(verdict), *(spooled(number) for number in (1, 2, 3))) as it:
        await asyncio.sleep(1)
        assert it.opened.spool.state.totals.events == 0
        assert it.opened.counted("buried_events_total") == {'cause="invalid",stream="score"': 1.0}
    with spool_file(tmp_path) as file:
        ((letter, _),) = file.dead_letters()
        assert (letter.event.arrival, letter.reason) == (2, "'.meta.stream' is not allowed")
        assert letter.verdict == policy.verdict(invalid(letter.event))


async def test_an_event_with_errors_lets_others_pass_and_ends_as_a_dead_letter(tmp_path: Path) -> None:
    """It is tried every few minutes while others are taken, up to a limit."""

    def verdict(event: Spooled) -> EventStatus:
        return (error if event.arrival == 1 else taken)(event)

    async with replaying(tmp_path, Wire(verdict), *(spooled(number) for number in (1, 2, 3))) as it:
        await asyncio.sleep(5)
        assert it.opened.spool.state.totals.events == 1
        for number in range(10, 95):
            await it.opened.put([spooled(number)])
            await asyncio.sleep(30)
        assert MAX_ERRORS <= it.wire.numbers.count(1) < 2 * MAX_ERRORS
        assert (it.opened.spool.state.totals.events, it.opened.spool.state.totals.dead) == (0, 1)
        assert it.opened.counted("buried_events_total") == {'cause="errors",stream="score"': 1.0}


async def test_while_eventgate_has_errors_for_all_no_event_is_to_blame(tmp_path: Path) -> None:
    """Kafka is down for half an hour: there are no dead letters, and all events arrive afterwards."""
    async with replaying(tmp_path, Wire(error), *(spooled(number) for number in range(1, 51))) as it:
        await asyncio.sleep(1800)
        assert (it.opened.spool.state.totals.events, it.opened.spool.state.totals.dead) == (50, 0)
        it.wire.verdict = taken
        await asyncio.sleep(600)
        assert (it.opened.spool.state.totals.events, it.opened.spool.state.totals.dead) == (0, 0)


async def test_events_with_errors_do_not_keep_a_good_one_waiting_for_long(tmp_path: Path) -> None:
    """Even if nothing was taken before: while EventGate answers, some are sent together."""
    events = [spooled(number) for number in range(1, 31)]
    wire = Wire(lambda event: taken(event) if event.arrival == 30 else error(event))
    async with replaying(tmp_path, wire, *events) as it:
        await asyncio.sleep(10)
        assert it.opened.counted("replayed_events_total")['result="delivered",upstream="main"'] == 1.0


async def test_what_failed_beside_what_worked_is_sent_again_soon(tmp_path: Path) -> None:
    """It may have met the last moment of an outage; what worked says that the outage is over."""
    tried: list[int] = []

    def verdict(event: Spooled) -> EventStatus:
        tried.append(event.arrival)
        if event.arrival == 8:
            return invalid(event)
        return error(event) if event.arrival == 9 and tried.count(9) == 1 else taken(event)

    late = spooled(9, attempts=1, last_attempt=NOON + 50)  # nothing was taken since
    events = [*(spooled(number) for number in range(1, 8)), spooled(8, attempts=1), late]
    async with replaying(tmp_path, Wire(verdict), *events) as it:
        await asyncio.sleep(10)
        assert it.opened.spool.state.totals.events == 0


async def test_what_failed_in_an_earlier_process_is_sent_at_once(tmp_path: Path) -> None:
    """Then nothing may have worked, so none of it is the event's fault."""
    fill(tmp_path, spooled(1, attempts=1, due=NOON + 60))
    async with replaying(tmp_path, Wire()) as it:
        await asyncio.sleep(0.1)
        assert it.wire.numbers == [1]


async def test_what_is_only_received_blames_no_event(tmp_path: Path) -> None:
    """EventGate answers `?hasty=true` before Kafka does: such a 202 does not show that it takes events."""
    wire = Wire(lambda event: (taken if event.hasty else error)(event))
    async with replaying(tmp_path, wire, spooled(1), spooled(2, hasty=True)) as it:
        await asyncio.sleep(5)
        assert (wire.numbers[:2], it.opened.spool.last_taken("main")) == ([1, 2], None)


async def test_events_of_a_key_go_one_after_the_other(tmp_path: Path) -> None:
    """Never two in one batch, and the later one only after the earlier one is gone, even if that has errors."""
    errors = [3]

    def verdict(event: Spooled) -> EventStatus:
        if event.arrival == 1 and errors[0]:
            errors[0] -= 1
            return error(event)
        return taken(event)

    keyed = [spooled(number, "a" if number <= 3 else None) for number in range(1, 40)]
    async with replaying(tmp_path, Wire(verdict), *keyed) as it:
        await asyncio.sleep(600)
        assert [number for number in it.wire.numbers if number <= 3] == [1, 1, 1, 1, 2, 3]
        assert all(len({*batch} & {1, 2, 3}) <= 1 for _, batch in it.wire.sent)


@pytest.mark.parametrize("poisons", [1, 5])
async def test_events_that_cut_the_connection_hold_up_no_others(tmp_path: Path, poisons: int) -> None:
    """Everything sent with them fails at first; the others arrive, and these become dead letters."""

    async def send(upstream: str, events: Sequence[Spooled]) -> list[EventStatus]:
        await wire.send(upstream, events)
        cut = any(event.arrival <= poisons for event in events)
        return [(unreachable if cut else taken)(event) for event in events]

    wire = Wire()
    async with replaying(tmp_path, wire, *(spooled(number) for number in range(1, 51)), send=send) as it:
        await asyncio.sleep(30)
        assert it.opened.spool.state.totals.events == poisons
        for number in range(100, 250):
            await it.opened.put([spooled(number)])
            await asyncio.sleep(20)
        await asyncio.sleep(5)
        assert (it.opened.spool.state.totals.events, it.opened.spool.state.totals.dead) == (0, poisons)


async def test_an_outage_is_no_events_fault(tmp_path: Path) -> None:
    """However long it lasts there are no dead letters, and all events arrive afterwards."""
    async with replaying(tmp_path, Wire(unreachable), *(spooled(number) for number in range(1, 301))) as it:
        await asyncio.sleep(1800)
        assert it.opened.spool.state.totals.dead == 0
        it.wire.verdict = taken
        it.replay.healed("main")
        await asyncio.sleep(10)
        assert (it.opened.spool.state.totals.events, it.opened.spool.state.totals.dead) == (0, 0)


async def test_one_hot_key_takes_one_transaction_an_event(tmp_path: Path) -> None:
    """The delivery is recorded together with the next fetch: hundreds a second, however many wait."""
    events = [spooled(number, "a") for number in range(1, 501)]
    async with replaying(tmp_path, Wire(takes=0.001), *events) as it:
        before = it.opened.counted("commit_seconds_count")[""]
        await asyncio.sleep(1)
        assert it.wire.numbers == list(range(1, 501))
        assert it.opened.counted("commit_seconds_count")[""] - before <= 510


# --- where they go now ---


async def test_an_event_without_a_route_becomes_a_dead_letter(tmp_path: Path) -> None:
    """It is not sent, and the reason is kept."""
    async with replaying(tmp_path, Wire(), spooled(1), spooled(2), route=refusing_the_first) as it:
        await asyncio.sleep(1)
        assert it.wire.numbers == [2]
        assert it.opened.counted("buried_events_total") == {'cause="refused",stream="score"': 1.0}
    with spool_file(tmp_path) as file:
        ((letter, _),) = file.dead_letters()
        assert (letter.event.arrival, letter.reason) == (1, "it is not accepted")


def refusing_the_first(event: Spooled) -> Spooled | str:
    """Refuse the event 1."""
    return "it is not accepted" if event.arrival == 1 else event


async def test_an_event_routed_to_another_upstream_is_sent_there(tmp_path: Path) -> None:
    """With its number and its order there; its previous upstream may be gone."""

    def to_main(event: Spooled) -> Spooled:
        return msgspec.structs.replace(event, upstream="main", order_key=key_of("main", "a"), body=b"{}")

    events = [spooled(number, "b", upstream="old") for number in range(1, 11)]
    wire = Wire()
    async with replaying(tmp_path, wire, *events, route=to_main) as it:
        await asyncio.sleep(10)
        assert wire.numbers == list(range(1, 11))
        assert set(it.wire.upstreams) == {"main"}
        assert it.opened.spool.state.totals.events == 0
        assert not it.opened.spool.order.is_busy(key_of("main", "a"))
        assert not it.opened.spool.order.is_busy(key_of("old", "b"))


async def test_an_upstream_that_goes_and_comes_back_gets_no_event_twice_at_once(tmp_path: Path) -> None:
    """Events in flight end as they started, and none stays in flight for ever."""
    wire = Wire(takes=2.0)
    async with replaying(tmp_path, wire, *(spooled(number, "a") for number in range(1, 6))) as it:
        for _ in range(20):
            await asyncio.sleep(0.3)
            it.replay.follow(Passage([], wire.send, lambda _: False, lambda event: event))
            await asyncio.sleep(0.1)
            it.replay.follow(Passage(["main"], wire.send, lambda _: False, lambda event: event))
        await asyncio.sleep(10)
        assert wire.most_under_way == 1
        assert wire.numbers == [1, 2, 3, 4, 5]
        assert (it.opened.spool.state.totals.events, it.opened.spool.state.in_flight) == (0, 0)


async def test_replay_survives_a_bug(tmp_path: Path) -> None:
    """It is logged, the events stay, and are sent later."""

    def bug(_: Spooled) -> EventStatus:
        raise ZeroDivisionError("a bug")

    async with replaying(tmp_path, Wire(bug), spooled(1)) as it:
        await asyncio.sleep(0.2)
        assert it.opened.log("Unexpected") == [{"where": "replay", "error": "ZeroDivisionError: a bug"}]
        it.wire.verdict = taken
        await asyncio.sleep(100)
        assert it.opened.spool.state.totals.events == 0


async def test_replay_survives_a_bug_between_two_attempts(tmp_path: Path) -> None:
    """It restarts, for this upstream and others, and no event stays in flight."""
    bugs = [ZeroDivisionError("a bug")]

    def jitter() -> float:
        if bugs:
            raise bugs.pop()
        return 0.5

    def now() -> float:
        return NOON + asyncio.get_running_loop().time()

    async with open_spool(tmp_path, now=now, hand=AtOnce()) as opened, asyncio.TaskGroup() as tasks:
        await opened.put([spooled(1), spooled(2, upstream="staging")])
        wire = Wire(unreachable)
        replay = Replay(opened.spool, opened.telemetry, jitter, now)
        replay.follow(Passage(["main", "staging"], wire.send, lambda _: False, lambda event: event))
        tasks.create_task(replay.run())
        await asyncio.sleep(0.2)
        assert opened.log("Unexpected") == [{"where": "replay", "error": "ZeroDivisionError: a bug"}]
        assert opened.spool.state.in_flight == 0
        wire.verdict = taken
        for name in ("main", "staging"):
            replay.healed(name)
        await asyncio.sleep(100)
        assert (opened.spool.state.totals.events, opened.spool.state.in_flight) == (0, 0)
        replay.stop()


async def test_stop_waits_for_events_in_flight(tmp_path: Path) -> None:
    """No new attempts start, and delivered events are deleted in time."""
    wire = Wire(takes=2.0)
    async with replaying(tmp_path, wire, *(spooled(number) for number in (1, 2, 3))):
        await asyncio.sleep(0.5)
    assert wire.numbers == [1]
    assert waiting(tmp_path) == [2, 3]


async def test_cancellation_returns_events_in_flight(tmp_path: Path) -> None:
    """They stay in the spool."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened, asyncio.TaskGroup() as tasks:
        await opened.put([spooled(1)])
        wire = Wire(takes=60.0)
        replay = Replay(opened.spool, opened.telemetry, lambda: 0.5, lambda: NOON)
        replay.follow(Passage(["main"], wire.send, lambda _: False, lambda event: event))
        running = tasks.create_task(replay.run())
        await asyncio.sleep(1)
        running.cancel()
        await asyncio.wait([running])
        assert opened.spool.state.in_flight == 0
    assert waiting(tmp_path) == [1]


async def test_events_that_are_not_due_are_polled_once_a_second(tmp_path: Path) -> None:
    """They are sent when they are due."""
    async with replaying(tmp_path, Wire(), spooled(1, due=NOON + 10, errors=1)) as it:
        await asyncio.sleep(9.9)
        assert it.wire.sent == []
        await asyncio.sleep(2 * IDLE_SECONDS)
        assert it.wire.numbers == [1]


async def test_events_for_a_new_upstream_are_sent(tmp_path: Path) -> None:
    """From then on."""
    events = [spooled(number, upstream=upstream) for number, upstream in enumerate(("main", "other"), 1)]
    async with replaying(tmp_path, Wire(), *events, route=lambda event: event) as it:
        await asyncio.sleep(1)
        it.replay.follow(Passage(["main", "other"], it.wire.send, lambda _: False, lambda event: event))
        await it.opened.put([spooled(3, upstream="new")])
        it.replay.follow(Passage(["main", "other", "new"], it.wire.send, lambda _: False, lambda event: event))
        await asyncio.sleep(5)
        assert sorted(it.wire.numbers) == [1, 2, 3]


async def test_events_of_an_upstream_that_is_not_configured_are_sent_too(tmp_path: Path) -> None:
    """Such as dead letters that an operator retries: together with the next events of any other."""
    async with replaying(tmp_path, Wire()) as it:
        await it.opened.put([spooled(1, upstream="old")])
        await it.opened.put([spooled(2)])
        await asyncio.sleep(1)
        assert sorted(it.wire.numbers) == [1, 2]


async def test_replay_waits_until_the_file_is_open(tmp_path: Path) -> None:
    """Only then it is known which upstreams events wait for."""
    fill(tmp_path, spooled(1, upstream="old"))
    wire = Wire()
    spool = Spool(tmp_path, Quota(), Recorder(), lambda: NOON, lambda: NOON, hand=AtOnce())
    replay = Replay(spool, Recorder(), lambda: 0.5, lambda: NOON)
    replay.follow(Passage([], wire.send, lambda _: False, lambda event: event))
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(replay.run())
        await asyncio.sleep(0.1)
        tasks.create_task(spool.run())
        await asyncio.sleep(1)
        assert wire.numbers == [1]
        replay.stop()
        spool.close()


@pytest.mark.parametrize(("verdict", "order"), [(taken, [1, 2, 3]), (unreachable, [1, 3, 2])])
async def test_after_a_failure_events_not_tried_yet_go_first(
    tmp_path: Path, verdict: Verdict, order: list[int]
) -> None:
    """One that failed before may be at fault; while nothing fails they keep their order."""
    events = (spooled(1), spooled(2, attempts=1, due=NOON - 1, errors=1), spooled(3))
    async with replaying(tmp_path, Wire(verdict), *events, jitter=1.0) as it:
        await asyncio.sleep(5)
        assert it.wire.numbers[:3] == order
