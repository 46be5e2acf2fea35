"""Many timeouts on one timer of the event loop, and periodic work on a common tick.

Nearly every POST is answered long before it times out, and creating and cancelling a loop timer for each would be a
noticeable part of its cost. `Timers` keeps one loop timer for the earliest timeout, and checks the others when it
fires. Periodic work runs on the same ticks (`until_tick`).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

EARLY_SECONDS = 0.001
"""How early a timer may fire: libuv counts in whole milliseconds."""

HELD_UP_SECONDS = 0.01
"""A timer this late means that the event loop was stalled."""
BEAT_SECONDS = 0.1
"""How often to check for a stall while anything waits."""

K = TypeVar("K", bound=Hashable)


def until_tick(now: float, period: float) -> float:
    """Return the seconds until the next multiple of `period`.

    Work done every second and every half second falls together: an idle sidecar pays mostly for waking up.
    """
    return (math.floor((now + EARLY_SECONDS) / period) + 1) * period - now


class Timers(Generic[K]):
    """One timeout per key, on a shared loop timer.

    A process that is throttled, stopped or busy must not count that time against its peers. A stall shows as a timer
    that fires late; while anything waits, one fires every `BEAT_SECONDS`. All timeouts are then postponed by the
    delay, and the loop turns once before any expires, to read what the sockets already hold.
    """

    def __init__(self, ring: Callable[[K], None], stood_still: Callable[[K, float], None]) -> None:
        """`ring` gets each key that times out, `stood_still` each key and the seconds of a stall; neither may raise."""
        self._ring = ring
        self._stood_still = stood_still
        self._due: dict[K, float] = {}
        self._fires_at = math.inf
        self._held_up = False
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def set(self, who: K, seconds: float) -> None:
        """Time out `who` after `seconds`, in place of an earlier timeout."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        now = loop.time()
        due = self._due[who] = now + seconds
        if due < self._fires_at:
            self._schedule(loop, min(due, now + BEAT_SECONDS))

    def clear(self, who: K) -> None:
        """Remove the timeout of `who`."""
        self._due.pop(who, None)

    def _schedule(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = due
        self._timer = loop.call_at(due, self._fire, loop)

    def _fire(self, loop: asyncio.AbstractEventLoop) -> None:
        late = loop.time() - self._fires_at
        self._timer, self._fires_at = None, math.inf
        if late > HELD_UP_SECONDS and not self._held_up:
            self._held_up = True  # postpone only once in a row: a loop that is always slow must time out too
            self._postpone(late)
            self._schedule(loop, loop.time() + EARLY_SECONDS)
            return
        self._held_up = False
        now = loop.time() + EARLY_SECONDS
        for who in [who for who, due in self._due.items() if due <= now]:
            if self._due.get(who, math.inf) <= now:  # an earlier callback may have cleared or moved it
                del self._due[who]
                self._ring(who)
        if self._due:
            earliest = min(*self._due.values(), loop.time() + BEAT_SECONDS)
            if earliest < self._fires_at:
                self._schedule(loop, earliest)

    def _postpone(self, seconds: float) -> None:
        for who in self._due:
            self._due[who] += seconds
            self._stood_still(who, seconds)


class Deadline:
    """One timeout that is moved often.

    When it is moved to later, the old loop timer is kept and set again as it fires: cheaper than one for each request.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, passed: Callable[[], None]) -> None:
        """`passed` is called when the time is up."""
        self._loop = loop
        self._passed = passed
        self._due = self._fires_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def set(self, seconds: float) -> None:
        """Set the deadline to `seconds` from now."""
        due = self._due = self._loop.time() + seconds
        if due < self._fires_at:
            self._schedule(due)

    def clear(self) -> None:
        """Remove the deadline; it can be set again."""
        self._due = math.inf

    def cancel(self) -> None:
        """Remove the deadline for good, and drop the callback."""
        self._due, self._passed = math.inf, lambda: None
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fires_at = due
        self._timer = self._loop.call_at(due, self._fire)

    def _fire(self) -> None:
        self._timer, self._fires_at = None, math.inf
        if self._due > self._loop.time() + EARLY_SECONDS:
            if self._due < math.inf:
                self._schedule(self._due)
            return
        self._due = math.inf
        self._passed()
