"""Promises of `timers`: each key times out once, when its time is up, unless it was cleared."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.timers import Deadline, Timers, until_tick
from tests.fakes import PATIENCE

pytestmark = pytest.mark.looptime


class Bell:
    """Records which keys time out, and when."""

    def __init__(self) -> None:
        """Nobody was."""
        self.rings: list[tuple[str, float]] = []
        self.timers: Timers[str] = Timers(self.ring, self.stood_still)
        self.still: list[tuple[str, float]] = []
        self.rung = asyncio.Event()
        self._begun = asyncio.get_running_loop().time()

    def ring(self, who: str) -> None:
        """Take a ring."""
        self.rung.set()
        self.rings.append((who, round(asyncio.get_running_loop().time() - self._begun, 6)))

    def stood_still(self, who: str, seconds: float) -> None:
        """Take note of a standstill."""
        self.still.append((who, round(seconds, 3)))


async def test_each_key_times_out_at_its_time() -> None:
    """The order in which timeouts are set does not matter."""
    bell = Bell()
    for who, seconds in (("b", 0.2), ("a", 0.1), ("c", 0.3)):
        bell.timers.set(who, seconds)
    await asyncio.sleep(1)
    assert bell.rings == [("a", 0.1), ("b", 0.2), ("c", 0.3)]


async def test_a_cleared_key_does_not_time_out() -> None:
    """The others do; clearing an unknown key, or one twice, is allowed."""
    bell = Bell()
    bell.timers.set("a", 0.1)
    bell.timers.set("b", 0.2)
    for who in ("a", "a", "c"):
        bell.timers.clear(who)
    await asyncio.sleep(1)
    assert bell.rings == [("b", 0.2)]


@pytest.mark.parametrize(("seconds", "rings"), [(0.3, 0.35), (0.02, 0.07)], ids=["later", "earlier"])
async def test_a_key_set_again_times_out_once(seconds: float, rings: float) -> None:
    """At the new time, not at the old one."""
    bell = Bell()
    bell.timers.set("a", 0.1)
    await asyncio.sleep(0.05)
    bell.timers.set("a", seconds)
    await asyncio.sleep(1)
    assert bell.rings == [("a", rings)]


async def test_a_timeout_may_change_others() -> None:
    """A key cleared or set by another's callback is treated so at once."""
    rings: list[str] = []

    def ring(who: str) -> None:
        rings.append(who)
        if who == "a":
            timers.clear("b")
            timers.set("c", 0.1)
            timers.set("d", 0.0)

    timers: Timers[str] = Timers(ring, lambda *_: None)
    for who in ("a", "b", "c"):
        timers.set(who, 0.1)
    await asyncio.sleep(0.15)
    assert rings == ["a", "d"]
    await asyncio.sleep(0.1)
    assert rings == ["a", "d", "c"]


@pytest.mark.looptime(False)
async def test_a_stall_postpones_timeouts() -> None:
    """A process that was stopped for a second times out a second later, and reports the stall."""
    bell = Bell()
    bell.timers.set("a", 0.3)
    loop = asyncio.get_running_loop()
    before = loop.time()
    loop.call_soon(lambda: busy_until(before + 1.0))
    await asyncio.sleep(1.0)
    async with asyncio.timeout(PATIENCE):
        await bell.rung.wait()
    (who, seconds), *_ = bell.still
    assert who == "a"
    assert 0.85 < seconds < 5.0
    assert bell.rings[0][1] >= 0.3 + seconds - 0.01


def busy_until(moment: float) -> None:
    """Block the loop."""
    loop = asyncio.get_running_loop()
    while loop.time() < moment:
        pass


async def test_thousands_of_cleared_timeouts_cost_one_loop_timer() -> None:
    """The loop has one timer, whatever is set and cleared before it fires."""
    asked = 0
    loop = asyncio.get_running_loop()
    call_at = loop.call_at

    def counted(*arguments: object, **options: object) -> asyncio.TimerHandle:
        nonlocal asked
        asked += 1
        return call_at(*arguments, **options)  # type: ignore[arg-type]

    loop.call_at = counted  # type: ignore[method-assign]
    timers: Timers[int] = Timers(lambda _: None, lambda *_: None)
    for number in range(5000):
        timers.set(number, 4.0)
        timers.clear(number)
    assert asked == 1


# --- one deadline that moves ---


async def test_a_deadline_passes_once() -> None:
    """At the time it was moved to, whether later or earlier."""
    loop, rings = asyncio.get_running_loop(), list[float]()
    deadline = Deadline(loop, lambda: rings.append(loop.time()))
    for seconds in (2.0, 5.0):
        deadline.set(seconds)
    await asyncio.sleep(10)
    assert rings == [5.0]
    for seconds in (5.0, 2.0):
        deadline.set(seconds)
    await asyncio.sleep(10)
    assert rings == [5.0, 12.0]


async def test_a_cleared_deadline_does_not_pass() -> None:
    """One that is set again does; one that is cancelled never does."""
    loop, rings = asyncio.get_running_loop(), list[float]()
    deadline = Deadline(loop, lambda: rings.append(loop.time()))
    deadline.set(2.0)
    deadline.clear()
    await asyncio.sleep(3)
    deadline.set(2.0)
    await asyncio.sleep(3)
    assert rings == [5.0]
    deadline.set(2.0)
    deadline.cancel()
    await asyncio.sleep(3)
    assert rings == [5.0]


# --- what is done again and again ---


@pytest.mark.parametrize(
    ("now", "due"),
    [(7.0, 8.0), (7.001, 8.0), (7.4, 8.0), (7.9, 8.0), (7.9995, 9.0)],
    ids=["in time", "a little late", "late", "very late", "a little early"],
)
def test_ticks_are_at_multiples_of_the_period(now: float, due: float) -> None:
    """However late the last one was, and not twice if the event loop woke a little early."""
    assert now + until_tick(now, 1.0) == pytest.approx(due)


def test_ticks_of_different_periods_coincide() -> None:
    """Every other half second is a full second."""
    moments = [7.25 + until_tick(7.25, 0.5)]
    moments.append(moments[-1] + until_tick(moments[-1], 0.5))
    assert 7.25 + until_tick(7.25, 1.0) in moments
