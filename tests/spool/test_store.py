"""Promises of `store`: events are stored, come out in order and once at a time, and stay until delivered."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import uvloop

from sidecar.spool.directory import FILE, Trouble
from sidecar.spool.groupcommit import LOOK_SECONDS, Writer
from sidecar.spool.record import Quota, Spooled, SpoolState, Totals, key_of
from sidecar.spool.schema import log_of
from sidecar.spool.store import PUT_SECONDS, Kept, PutResult
from tests.spool.spools import NOON, AtOnce, arrivals, open_spool, spool_file, spooled, waiting

pytestmark = pytest.mark.looptime

ALL = (100, 10**6)
"""As many events as there are, whatever their size."""

A = key_of("main", "a")
SMALL = Quota(size=384 * 1024)
LARGE = b"x" * 100_000
"""Of which a small spool has room for one."""


class Stuck(AtOnce):
    """A hand that hangs until `free` is set."""

    def __init__(self) -> None:
        """It does not hang."""
        self.free = asyncio.Event()
        self.free.set()

    async def do(self, work: Callable[[], Any]) -> Any:
        """Do it once it is free."""
        await self.free.wait()
        await asyncio.sleep(0)
        return work()


# --- putting in ---


async def test_what_is_stored_is_durable_and_counted(tmp_path: Path) -> None:
    """In the file, and by stream in the metrics."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        result = await opened.put([spooled(1), spooled(2), spooled(3, stream="made-up")])
        assert (result.kept, result.reason) == (Kept.STORED, "")
        assert opened.counted("stored_events_total") == {'stream="score"': 2.0, 'stream="_other"': 1.0}
        assert opened.counted("events") == {"": 3.0}
    assert waiting(tmp_path) == [1, 2, 3]


async def test_a_callback_is_called(tmp_path: Path) -> None:
    """Once, when the event is durable, or at once if it cannot be stored."""
    async with open_spool(tmp_path, SMALL, hand=AtOnce()) as opened:
        told: list[tuple[Kept, list[int]]] = []

        def note(result: PutResult) -> None:
            told.append((result.kept, waiting(tmp_path)))

        for number in (1, 2):
            opened.spool.store([spooled(number, body=LARGE)], note)
        assert told == []
        await asyncio.sleep(0.1)
        assert told == [(Kept.STORED, [1]), (Kept.FULL, [1])]
        opened.spool.close()
        opened.spool.store([spooled(3)], note)
        assert told[2:] == [(Kept.BROKEN, [1])]


async def test_a_bug_in_one_callback_does_not_cost_the_others_theirs(tmp_path: Path) -> None:
    """Events that share a transaction are answered one by one, and the bug is reported."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        told: list[PutResult] = []

        def fail(_: PutResult) -> None:
            raise ValueError

        opened.spool.store([spooled(0)], fail)
        opened.spool.store([spooled(0)], told.append)
        await asyncio.sleep(0.1)
        assert told == [PutResult(Kept.STORED)]
        assert len(opened.log("Unexpected")) == 1


async def test_a_full_spool_says_so(tmp_path: Path) -> None:
    """In the error, in a metric, and once a minute in the log; stored events stay."""
    async with open_spool(tmp_path, SMALL, hand=AtOnce()) as opened:
        assert (await opened.put([spooled(1, body=LARGE)])).kept is Kept.STORED
        for number in (2, 3):
            result = await opened.put([spooled(number, body=LARGE)])
            full = f"{tmp_path}: the spool is full; it may take 384 KiB of the disk"
            assert (result.kept, result.reason) == (Kept.FULL, full)
        assert opened.counted("refused_events_total") == {'why="full"': 2.0, 'why="broken"': 0.0}
        assert len(opened.log("SpoolRefused")) == 1
    assert waiting(tmp_path) == [1]


async def test_dropped_dead_letters_are_reported(tmp_path: Path) -> None:
    """Nothing is dropped silently."""
    async with open_spool(tmp_path, Quota(size=608 * 1024), hand=AtOnce()) as opened:
        await opened.put([spooled(number, body=LARGE) for number in (1, 2, 3)])
        for event in await opened.spool.hand_out("main", 2, 10**6):
            await opened.spool.dead(event, "invalid", "no such field", b"verdict")
        assert (await opened.put([spooled(4, body=LARGE)])).kept is Kept.STORED
        assert opened.log("DeadLettersDropped") == [{"count": 1}]
        assert opened.counted("dropped_dead_letters_total") == {"": 1.0}


def test_a_busy_processor_is_not_taken_for_a_disk_that_hangs(tmp_path: Path) -> None:
    """If the event loop stalled longer than the disk may take, results that came meanwhile count."""

    async def stand_still() -> Kept:
        async with open_spool(tmp_path, hand=Writer()) as opened:
            put = asyncio.get_running_loop().create_task(opened.put([spooled(1)]))
            await asyncio.sleep(0)
            threading.Event().wait(PUT_SECONDS + 0.1)
            return (await put).kept

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # whose timers come before all else
        assert runner.run(stand_still()) is Kept.STORED


async def test_a_disk_that_hangs_is_not_waited_for(tmp_path: Path, looptime: Any) -> None:
    """The first put fails after a time limit, later ones at once, until the disk works again."""
    hand = Stuck()
    async with open_spool(tmp_path, hand=hand) as opened:
        hand.free.clear()
        assert (await opened.put([spooled(1)])).reason == f"{tmp_path}: the disk has not answered for 1 s"
        assert looptime == pytest.approx(PUT_SECONDS, abs=0.1)
        assert (await opened.put([spooled(2)])).kept is Kept.BROKEN
        assert looptime == pytest.approx(PUT_SECONDS, abs=0.1)
        assert await opened.spool.hand_out("main", *ALL) == []
        hand.free.set()
        await asyncio.sleep(1.5)
        assert (await opened.put([spooled(3)])).kept is Kept.STORED
        assert len(opened.log("SpoolBroken")) == 1
    assert waiting(tmp_path)[-1] == 3


async def test_the_memory_that_waits_for_the_disk_is_bounded(tmp_path: Path) -> None:
    """Beyond 32 MiB events are refused; earlier ones are stored."""
    hand = Stuck()
    async with open_spool(tmp_path, hand=hand) as opened, asyncio.TaskGroup() as tasks:
        hand.free.clear()
        large = b"x" * 10 * 1024 * 1024
        puts = [tasks.create_task(opened.put([spooled(number, body=large)])) for number in range(1, 5)]
        await asyncio.sleep(0.5)
        hand.free.set()
        await asyncio.wait(puts)
        assert [task.result().kept for task in puts] == [Kept.STORED] * 3 + [Kept.BROKEN]
        assert "does not keep up" in puts[3].result().reason


# --- handing out ---


async def test_an_event_is_in_flight_once(tmp_path: Path) -> None:
    """For any number of concurrent readers; after a failure it is handed out again."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(number) for number in (1, 2, 3)])
        batches = await asyncio.gather(*(opened.spool.hand_out("main", 2, 10**6) for _ in range(4)))
        assert [arrivals(batch) for batch in batches] == [[1, 2], [3], [], []]
        assert opened.spool.state.in_flight == 3
        await opened.spool.failed(batches[0][0], "no answer")
        opened.spool.release(batches[1])
        again = await opened.spool.hand_out("main", *ALL)
        assert [(event.arrival, event.attempts, event.last_error) for event in again] == [
            (1, 1, "no answer"),
            (3, 0, ""),
        ]


async def test_delivered_events_are_gone_and_dead_ones_are_kept_apart(tmp_path: Path) -> None:
    """Neither is handed out again, and their keys are free."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(1, "a"), spooled(2, "b")])
        first, second = await opened.spool.hand_out("main", *ALL)
        await opened.spool.delivered([first])
        await opened.spool.dead(second, "invalid", "no such field", b'{"a": 1}')
        assert await opened.spool.hand_out("main", *ALL) == []
        assert not opened.spool.order.is_busy(A)
        assert not opened.spool.order.is_busy(key_of("main", "b"))
        assert opened.counted("buried_events_total") == {'cause="invalid",stream="score"': 1.0}
        assert opened.counted("dead_letters") == {"": 1.0}
    with spool_file(tmp_path) as file:
        ((letter, _),) = file.dead_letters()
        assert (letter.event.arrival, letter.reason, letter.verdict, letter.died) == (
            2,
            "no such field",
            b'{"a": 1}',
            NOON,
        )


async def test_dead_and_moved_events_are_durable(tmp_path: Path) -> None:
    """Unlike a few deliveries, which cost no fsync of their own: after a power loss those are sent again."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(number) for number in range(1, 4)])
        events = await opened.spool.hand_out("main", *ALL)
        file: Any = opened.spool._commits._directory._file
        durable = []
        for record in (
            opened.spool.delivered(events[:1]),
            opened.spool.dead(events[1], "invalid", "no such field", b""),
            opened.spool.delivered(events[2:]),
        ):
            await record
            durable.append(file._durable)
    assert durable == [False, True, False]


async def test_a_moved_event_is_handed_out_for_its_new_upstream(tmp_path: Path) -> None:
    """And for no other, once."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(1, "a")])
        (event,) = await opened.spool.hand_out("main", *ALL)
        await opened.spool.move(msgspec.structs.replace(event, upstream="other"))
        assert await opened.spool.hand_out("main", *ALL) == []
        assert opened.spool.order.is_busy(A)  # a newer live event of its key must not overtake it
        assert arrivals(await opened.spool.hand_out("other", *ALL)) == [1]
        assert await opened.spool.hand_out("other", *ALL) == []


async def test_an_event_behind_a_live_one_waits_for_it(tmp_path: Path) -> None:
    """It is handed out once the live one is settled."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        order = opened.spool.order
        assert (order.arrive(A), order.arrive(A)) == (False, True)
        await opened.put([spooled(1, "a")])
        assert await opened.spool.hand_out("main", *ALL) == []
        order.settled(A)
        assert arrivals(await opened.spool.hand_out("main", *ALL)) == [1]


async def test_a_live_event_that_failed_is_the_first_of_its_key(tmp_path: Path) -> None:
    """It kept its place: stored later, it is handed out before the event behind it."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        order = opened.spool.order
        assert (order.arrive(A), order.arrive(A)) == (False, True)
        await opened.put([spooled(1, "a")])
        await opened.put([spooled(2, "a", ahead=True)])
        order.settled(A)
        assert arrivals(await opened.spool.hand_out("main", *ALL)) == [2]


async def test_a_key_stays_busy_while_the_disk_may_take_its_event_yet(tmp_path: Path) -> None:
    """Its producer was answered, but the transaction has not ended: a newer event must not go first."""
    hand = Stuck()
    async with open_spool(tmp_path, hand=hand) as opened:
        hand.free.clear()
        assert not opened.spool.order.arrive(A)
        assert (await opened.put([spooled(1, "a")])).kept is Kept.BROKEN
        opened.spool.order.settled(A)
        assert opened.spool.order.arrive(A)
        hand.free.set()
        await asyncio.sleep(1.5)
        await opened.spool.delivered(await opened.spool.hand_out("main", *ALL))
        assert not opened.spool.order.is_busy(A)


async def test_a_key_is_free_if_its_event_will_not_be_stored(tmp_path: Path) -> None:
    """The transaction had not begun, or the spool was full."""
    hand = Stuck()
    async with open_spool(tmp_path, SMALL, hand=hand) as opened:
        hand.free.clear()
        under_way = asyncio.gather(opened.put([spooled(1, "a")]))
        await asyncio.sleep(0.1)
        await asyncio.gather(under_way, opened.put([spooled(2, "b")]))
        assert [opened.spool.order.is_busy(key_of("main", key)) for key in "ab"] == [True, False]
        hand.free.set()
        await asyncio.sleep(1.5)
        for _ in range(2):
            await opened.put([spooled(0, "c", body=LARGE)])
        assert (await opened.put([spooled(0, "d", body=LARGE)])).kept is Kept.FULL
        assert not opened.spool.order.is_busy(key_of("main", "d"))


async def test_a_new_event_wakes_the_replay(tmp_path: Path) -> None:
    """Of its own upstream only."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened, asyncio.TaskGroup() as tasks:
        woken = tasks.create_task(opened.spool.something_for("main"))
        await opened.put([spooled(1, upstream="staging")])
        await asyncio.sleep(3)
        assert not woken.done()
        await opened.put([spooled(2)])
        await asyncio.sleep(0.01)
        assert woken.done()


async def test_a_recovered_disk_wakes_the_replay(tmp_path: Path) -> None:
    """Older events are handed out, even if no new one comes."""
    hand = Stuck()
    async with open_spool(tmp_path, hand=hand) as opened, asyncio.TaskGroup() as tasks:
        await opened.put([spooled(1)])
        hand.free.clear()
        await asyncio.sleep(LOOK_SECONDS)  # it hangs while nothing is put in
        assert (await opened.put([spooled(2)])).kept is Kept.BROKEN
        woken = tasks.create_task(opened.spool.something_for("main"))
        await asyncio.sleep(3)
        assert not woken.done()
        hand.free.set()
        await asyncio.sleep(LOOK_SECONDS + 0.1)
        assert woken.done()


# --- age ---


async def test_an_event_that_is_too_old_becomes_a_dead_letter(tmp_path: Path) -> None:
    """With a log line, not while it is in flight, and not too early."""
    now = [NOON]
    async with open_spool(tmp_path, Quota(age=3600), lambda: now[0], hand=AtOnce()) as opened:
        await opened.put([spooled(1), spooled(2), spooled(3, first_seen=NOON + 5000)])
        await opened.spool.hand_out("main", 1, 10**6)
        now[0] = NOON + 3600
        await asyncio.sleep(2)
        assert opened.spool.state.totals.dead == 0
        now[0] += 0.001
        await asyncio.sleep(2)
        assert opened.spool.state.totals.dead == 1
        assert opened.counted("buried_events_total") == {'cause="age",stream="score"': 1.0}
        assert opened.log("DeadLettered") == [{"stream": "score", "cause": "age", "count": 1}]
    assert waiting(tmp_path) == [1, 3]


async def test_an_event_that_is_being_handed_out_is_not_too_old(tmp_path: Path) -> None:
    """Else one that is sent might become a dead letter, too."""
    now = [NOON]
    async with open_spool(tmp_path, Quota(age=3600), lambda: now[0], hand=AtOnce()) as opened:
        await opened.put([spooled(1)])
        async with opened.spool._handing_out:
            now[0] = NOON + 3601
            await asyncio.sleep(2)
            assert opened.spool.state.totals.dead == 0
        await asyncio.sleep(2)
        assert opened.spool.state.totals.dead == 1


async def test_a_step_of_the_wall_clock_ages_no_event(tmp_path: Path) -> None:
    """By 25 hours in either direction, for a moment or for good: elapsed time counts."""
    wall, steady = [NOON], [7.0]
    async with open_spool(tmp_path, now=lambda: wall[0], steady=lambda: steady[0], hand=AtOnce()) as opened:
        await opened.put([spooled(1)])
        for step in (25 * 3600.0, -25 * 3600.0, 0.0, 10 * 365 * 86_400.0):
            wall[0] = NOON + step
            await asyncio.sleep(3)
            assert opened.spool.state.totals.dead == 0
            assert opened.spool.state.oldest_seconds == 0.0
        steady[0] += 25 * 3600
        await asyncio.sleep(3)
        assert opened.spool.state.totals.dead == 1
        await asyncio.sleep(1)
        assert opened.spool.now() == wall[0]  # nothing waits any more: the wall clock is as good as any


@pytest.mark.parametrize("wrong", [-50 * 365 * 86_400.0, -3600.0, 1e9])
async def test_a_wall_clock_that_is_wrong_at_the_start_ages_no_event(tmp_path: Path, wrong: float) -> None:
    """Neither in this process nor in the next one, which has the right time."""
    async with open_spool(tmp_path, now=lambda: NOON + wrong, steady=lambda: 0.0, hand=AtOnce()) as opened:
        await opened.put([spooled(1, first_seen=opened.spool.now())])
    async with open_spool(tmp_path, now=lambda: NOON, steady=lambda: 0.0, hand=AtOnce()) as opened:
        await asyncio.sleep(3)
        assert (opened.spool.state.totals.events, opened.spool.state.totals.dead) == (1, 0)


async def test_the_clock_is_not_set_under_an_event_that_is_about_to_be_stored(tmp_path: Path) -> None:
    """It has its time already, and would be as old as the step of the clock."""

    class Slow(AtOnce):
        async def do(self, work: Callable[[], Any]) -> Any:
            await asyncio.sleep(0.7)
            return work()

    wall = [NOON]
    async with (
        open_spool(tmp_path, now=lambda: wall[0], steady=lambda: 0.0, hand=Slow()) as opened,
        asyncio.TaskGroup() as tasks,
    ):
        await asyncio.sleep(1.05)  # it has looked, and committed until 1.7 s
        tasks.create_task(opened.spool.hurry("main"))  # until 2.45 s, and then it looks
        await asyncio.sleep(0.65)
        opened.spool.store([spooled(1)], lambda _: None)
        wall[0] += 90_000
        await asyncio.sleep(3)
        assert (opened.spool.state.totals.events, opened.spool.state.totals.dead) == (1, 0)


async def test_what_was_taken_before_the_clock_was_set_back_is_no_evidence(tmp_path: Path) -> None:
    """Its time would be in the future, and every event until then would be blamed for an outage."""
    wall = [NOON]
    async with open_spool(tmp_path, now=lambda: wall[0], steady=lambda: 0.0, hand=AtOnce()) as opened:
        opened.spool.taken("main")
        wall[0] -= 25 * 3600
        await asyncio.sleep(LOOK_SECONDS + 0.1)
        assert opened.spool.last_taken("main") is None


# --- starting, and others ---


async def test_a_restart_keeps_events_and_their_order(tmp_path: Path) -> None:
    """Their keys, and the next number."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        assert not opened.spool.order.is_busy(A)
        await opened.put([spooled(7, "a"), spooled(8)])
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        assert opened.log("SpoolOpened") == [{"directory": str(tmp_path), "events": 2, "dead_letters": 0}]
        assert opened.spool.order.arrive(A)
        await opened.put([spooled(0)])
        assert arrivals(await opened.spool.hand_out("main", *ALL)) == [7, 8, 9]


async def test_what_an_operator_changes_is_noticed_within_a_second(tmp_path: Path) -> None:
    """Dropped events are not handed out, their keys are free, and revived ones are handed out."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(1, "a"), spooled(2), spooled(3)])
        batch = await opened.spool.hand_out("main", *ALL)
        await opened.spool.dead(batch[1], "invalid", "", b"")
        with spool_file(tmp_path) as theirs, theirs.transaction():
            theirs.delivered([1])
            theirs.revive(2, NOON)
        await asyncio.sleep(1.1)
        assert not opened.spool.order.is_busy(A)
        assert arrivals(await opened.spool.hand_out("main", *ALL)) == [2]
        await opened.spool.delivered(batch)


async def test_a_damaged_event_is_reported_and_not_sent(tmp_path: Path) -> None:
    """It is a dead letter with a cause of its own."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(1), spooled(2)])
        with spool_file(tmp_path) as theirs, theirs.transaction():
            theirs._connection.execute("UPDATE waiting SET stream = 'other' WHERE arrival = 1")
        assert arrivals(await opened.spool.hand_out("main", *ALL)) == [2]
        assert opened.counted("buried_events_total") == {'cause="damaged",stream="_other"': 1.0}


async def test_an_answer_for_a_removed_file_settles_no_event_of_the_next(tmp_path: Path) -> None:
    """Numbers of events in flight are not given to others."""
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(0)])
        sent = await opened.spool.hand_out("main", *ALL)
        (tmp_path / FILE).unlink()
        log_of(tmp_path / FILE).unlink()
        await asyncio.sleep(3 * LOOK_SECONDS)
        assert (await opened.put([spooled(0)])).reason == ""
        await opened.spool.delivered(sent)
        assert waiting(tmp_path) == [2]


async def test_a_file_set_aside_is_reported(tmp_path: Path) -> None:
    """With its new name and the number of saved events, as an error and in a metric."""
    (tmp_path / "spool.db").write_bytes(b"noise" * 1000)
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        (told,) = opened.log("SpoolSetAside")
        assert (told["name"], told["saved"]) == ("spool.db.damaged-2027-01-15T080000Z", 0)
        assert opened.counted("files_set_aside_total") == {"": 1.0}
        assert (await opened.put([spooled(1)])).kept is Kept.STORED


async def test_the_state_is_complete(tmp_path: Path) -> None:
    """All that a status page shows."""
    limits = Quota()
    async with open_spool(tmp_path, limits, lambda: NOON + 60, hand=AtOnce()) as opened:
        await opened.put([spooled(1), spooled(2, upstream="staging", stream="links")])
        await opened.spool.hand_out("main", *ALL)
        size, taken = spooled(1).size, opened.spool.state.totals.taken
        totals = Totals(2, 2 * size + 3, 0, 0, NOON, {"main": 1, "staging": 1}, {"score": 1, "links": 1}, taken)
        assert 0 < taken < 0.001
        assert opened.spool.state == SpoolState(str(tmp_path), "", totals, limits, 60.0, 1)


async def test_nobody_waits_for_a_spool_that_ended(tmp_path: Path) -> None:
    """An event in flight at the end is sent again after the next start."""
    event: Spooled
    async with open_spool(tmp_path, hand=AtOnce()) as opened:
        await opened.put([spooled(1)])
        (event,) = await opened.spool.hand_out("main", *ALL)
        opened.spool.close()
        await opened.task
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await opened.spool.delivered([event])
                await opened.spool.failed(event, "no answer")
        assert await opened.spool.hand_out("main", *ALL) == []
        with pytest.raises(Trouble):
            await opened.spool.read(lambda _: None)
    assert waiting(tmp_path) == [1]


async def test_a_full_spool_says_so_until_there_is_room(tmp_path: Path) -> None:
    """From the first event refused for lack of room until another is stored, or events leave."""
    big, full = b" " * 400_000, list[bool]()
    async with open_spool(tmp_path, Quota(size=2 * 1024 * 1024), hand=AtOnce()) as opened:
        while (await opened.put([spooled(0, body=big)])).kept is Kept.STORED:
            full.append(opened.spool.state.full)
        assert not any(full)
        full = [opened.spool.state.full]
        assert (await opened.put([spooled(0)])).kept is Kept.STORED
        full.append(opened.spool.state.full)
        assert (await opened.put([spooled(0, body=big)])).kept is Kept.FULL
        full.append(opened.spool.state.full)
        await opened.spool.delivered(await opened.spool.hand_out("main", 1, 1))
        assert [*full, opened.spool.state.full] == [True, False, True, False]


async def test_an_event_revived_after_the_wall_clock_was_set_back_is_not_too_old(tmp_path: Path) -> None:
    """While nothing waits, the time is the wall clock's, for the command line too."""
    wall = [NOON]
    async with open_spool(tmp_path, now=lambda: wall[0], steady=lambda: 0.0, hand=AtOnce()) as opened:
        await opened.put([spooled(1)])
        (event,) = await opened.spool.hand_out("main", *ALL)
        await opened.spool.dead(event, "invalid", "", b"")
        wall[0] -= 25 * 3600
        with spool_file(tmp_path) as theirs, theirs.transaction():
            theirs.revive(1, wall[0])
        assert arrivals(await opened.spool.hand_out("main", *ALL)) == [1]
        opened.spool.release([event])
        await asyncio.sleep(1.1)
        assert opened.spool.state.totals.events == 1
