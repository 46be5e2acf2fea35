"""Limits of replay while an upstream is down, beside live traffic, and with bad events."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sidecar.events.results import EventStatus, Outcome, failed
from sidecar.spool.policy import IDLE_SECONDS, MAX_ERRORS, MAX_REST_SECONDS
from sidecar.spool.record import MAX_SET_BACK_SECONDS, Spooled
from sidecar.spool.replay import Passage, Replay
from tests.scripted import now
from tests.spool.spools import NOON, AtOnce, Opened, open_spool, spooled

pytestmark = pytest.mark.looptime


@dataclass
class Sending:
    """A spool being replayed, and where its events go."""

    opened: Opened
    takes: Callable[[Spooled], EventStatus]
    pressing: bool = False
    sent: list[tuple[float, list[str | None]]] = field(default_factory=list)
    """When, and which by their ids."""

    async def send(self, _: str, events: Sequence[Spooled]) -> list[EventStatus]:
        """Send a batch."""
        self.sent.append((now(), [each.id for each in events]))
        await asyncio.sleep(0.01)
        return [self.takes(each) for each in events]

    def since(self, when: float) -> list[float]:
        """Return when batches were sent from then on."""
        return [at for at, _ in self.sent if at >= when]


def good(_: Spooled) -> EventStatus:
    """Return a success."""
    return EventStatus("success", Outcome.DELIVERED)


def unreachable(event: Spooled) -> EventStatus:
    """Return a failure without an answer."""
    return failed(event.body, "nothing answers", unreachable=True)


@contextlib.asynccontextmanager
async def sending(folder: Path, takes: Callable[[Spooled], EventStatus]) -> AsyncIterator[tuple[Sending, Replay]]:
    """Replay a spool with maximum jitter."""

    def clock() -> float:
        return NOON + now()

    async with open_spool(folder, now=clock, hand=AtOnce()) as opened, asyncio.TaskGroup() as tasks:
        its = Sending(opened, takes)
        replay = Replay(opened.spool, opened.telemetry, lambda: 1.0, clock)
        replay.follow(Passage(["main"], its.send, lambda _: its.pressing, lambda event: event))
        tasks.create_task(replay.run())
        yield its, replay
        replay.stop()


async def test_a_false_recovery_does_not_end_the_backoff(tmp_path: Path) -> None:
    """An endpoint reported healthy that still fails is tried once, not in a loop."""
    async with sending(tmp_path, unreachable) as (its, replay):
        await its.opened.put([spooled(1)])
        await asyncio.sleep(200)
        healed = now()
        replay.healed("main")
        await asyncio.sleep(59)
        assert len(its.since(healed)) == 1
        assert its.since(healed)[0] - healed < 0.1
        await asyncio.sleep(300)
        assert len(its.since(healed)) <= 7


async def test_replay_resumes_when_live_traffic_no_longer_waits(tmp_path: Path) -> None:
    """And no later."""
    async with sending(tmp_path, good) as (its, _):
        its.pressing = True
        begun = now()
        await its.opened.put([spooled(1)])
        await asyncio.sleep(MAX_REST_SECONDS / 2)
        assert its.sent == []
        its.pressing = False
        await asyncio.sleep(0.1)
        assert begun + MAX_REST_SECONDS / 2 <= its.sent[0][0] <= begun + MAX_REST_SECONDS / 2 + 0.1


async def test_stop_does_not_wait_for_live_traffic(tmp_path: Path) -> None:
    """Even while live events wait."""
    async with sending(tmp_path, good) as (its, replay):
        its.pressing = True
        await its.opened.put([spooled(1)])
        await asyncio.sleep(0.1)
        stopped = now()
        replay.stop()
    assert now() - stopped < 0.1


async def test_waiting_for_a_due_event_is_not_a_failure(tmp_path: Path) -> None:
    """It is sent within a second of its due time."""
    async with sending(tmp_path, good) as (its, _):
        await its.opened.put([spooled(1, due=NOON + 100)])
        await asyncio.sleep(100 + IDLE_SECONDS + 0.1)
        ((at, ids),) = its.sent
        assert (ids, 100 <= at <= 100 + IDLE_SECONDS) == (["1"], True)


async def test_an_event_that_always_fails_becomes_a_dead_letter_while_others_pass(tmp_path: Path) -> None:
    """Others from the same batches are taken, which shows that it is at fault."""

    def takes(event: Spooled) -> EventStatus:
        return failed(event.body, "no schema", unreachable=False) if event.id == "666" else good(event)

    async with sending(tmp_path, takes) as (its, _):
        for number in range(10):  # until batches have grown
            await its.opened.put([spooled(number + 1)])
            await asyncio.sleep(0.5)
        await its.opened.put([spooled(666), spooled(1000)])
        for number in range(1001, 1001 + MAX_ERRORS):
            tried = max((at for at, ids in its.sent if "666" in ids), default=now())
            due = tried + 0.01 + MAX_SET_BACK_SECONDS
            await asyncio.sleep(due - 0.5 - now())
            await its.opened.put([spooled(number, due=NOON + due)])
            await asyncio.sleep(2 * IDLE_SECONDS)
        totals = its.opened.spool.state.totals
        assert (totals.events, totals.dead) == (0, 1)


async def test_errors_for_all_events_count_against_none(tmp_path: Path) -> None:
    """However often each was tried: Kafka is down, and all arrive afterwards."""
    async with sending(tmp_path, lambda event: failed(event.body, "no Kafka", unreachable=False)) as (its, _):
        await its.opened.put([spooled(number) for number in (1, 2, 3)])
        await asyncio.sleep(2 * MAX_ERRORS * MAX_SET_BACK_SECONDS)
        its.takes = good
        await asyncio.sleep(2 * MAX_SET_BACK_SECONDS)
        totals = its.opened.spool.state.totals
        assert (totals.events, totals.dead) == (0, 0)
