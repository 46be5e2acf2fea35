"""One waking of the event loop for much that waits: what is done again and again, and what is nearly always taken back.

Nearly every POST is answered long before its time is up, and a timer of the loop's own for each costs more to make
and to cancel than much of what the POST needs. So the loop's timer is left to ring when the earliest would have been
due, and whoever is still waiting then is looked at (`Timers`). What is done every second or so is done at the same
moments (`until_tick`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

EARLY_SECONDS = 0.001
"""How much before its time a timer may ring: libuv counts in whole milliseconds."""

HELD_UP_SECONDS = 0.01
"""A timer that rings later than that says that the event loop stood still."""
BEAT_SECONDS = 0.1
"""How often it is looked whether the event loop stood still, while anybody waits."""

K = TypeVar("K", bound=Hashable)


def until_tick(now: float, period: float) -> float:
    """Return the seconds until what is done every `period` is due next.

    On one clock what is done every second and what is done every half are due together: an idle sidecar pays more for
    waking than for what it then does.
    """
    return (math.floor((now + EARLY_SECONDS) / period) + 1) * period - now


class Timers(Generic[K]):
    """Rings for each of many, once, when its time is up.

    Here is decided what time a process that stood still has missed: throttled, stopped, or busy with one input. It
    shows in a timer that rings late, and while anybody waits one rings every `BEAT_SECONDS`. Everybody's time is then
    put off by as much, and before anyone is rung for the loop turns once: what the sockets hold was not read yet.
    """

    def __init__(self, ring: Callable[[K], None], stood_still: Callable[[K, float], None]) -> None:
        """`ring` is told whose time is up, `stood_still` for how many seconds nothing ran; neither may raise."""
        self._ring = ring
        self._stood_still = stood_still
        self._due: dict[K, float] = {}
        self._rings_at = math.inf
        self._held_up = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def set(self, who: K, seconds: float) -> None:
        """Ring for `who` after `seconds`, and not when it was to be before."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        now = loop.time()
        due = self._due[who] = now + seconds
        if due < self._rings_at:
            self._wind(loop, min(due, now + BEAT_SECONDS))

    def clear(self, who: K) -> None:
        """Do not ring for `who`."""
        self._due.pop(who, None)

    def _wind(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = due
        self._timer = loop.call_at(due, self._look, loop)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        late = loop.time() - self._rings_at
        self._timer, self._rings_at = None, math.inf
        if late > HELD_UP_SECONDS and not self._held_up:
            self._held_up = True  # and if the loop is slow again until then, somebody has to be rung for some time
            self._put_off(late)
            self._wind(loop, loop.time() + EARLY_SECONDS)
            return
        self._held_up = False
        now = loop.time() + EARLY_SECONDS
        for who in [who for who, due in self._due.items() if due <= now]:
            if self._due.get(who, math.inf) <= now:  # what another's ring led to may have changed that
                del self._due[who]
                self._ring(who)
        if self._due:
            earliest = min(*self._due.values(), loop.time() + BEAT_SECONDS)
            if earliest < self._rings_at:
                self._wind(loop, earliest)

    def _put_off(self, seconds: float) -> None:
        for who in self._due:
            self._due[who] += seconds
            self._stood_still(who, seconds)


class Deadline:
    """The moment until which one waits for another; it moves with all that comes.

    A timer that rings too early is left to ring, and then set again: that is cheaper than one for each request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        """`passed` is called once the moment has come."""
        self._loop = loop
        self._passed = passed
        self._due = self._rings_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Wait until `seconds` from now, and no longer until what was set before."""
        due = self._due = self._loop.time() + seconds
        if due < self._rings_at:
            self._wind(due)

    def clear(self) -> None:
        """Wait for nothing."""
        self._due = math.inf

    def cancel(self) -> None:
        """Wait for nothing ever again, and keep nothing that refers to who waited."""
        self._due, self._passed = math.inf, lambda: None
        if self._timer is not None:
            self._timer.cancel()

    def _wind(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings_at = due
        self._timer = self._loop.call_at(due, self._look)

    def _look(self) -> None:
        self._timer, self._rings_at = None, math.inf
        if self._due > self._loop.time() + EARLY_SECONDS:
            if self._due < math.inf:
                self._wind(self._due)
            return
        self._due = math.inf
        self._passed()
