"""Sends the spool beside live traffic, with lower priority.

Before each attempt an event is routed by the current configuration, by the stream it came with. If it has no route now,
or its upstream does not accept it, it becomes a dead letter; if it is for another upstream now, it moves to that one's
replay. An event that failed before is sent alone, so that its failures do not affect others.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sidecar.events.results import EventStatus, failed
from sidecar.spool.policy import (
    IDLE_SECONDS,
    MAX_BYTES,
    MAX_POSTS,
    MAX_REST_SECONDS,
    Fate,
    Window,
    backoff,
    fate,
    reason,
    set_back,
    verdict,
)
from sidecar.spool.record import Spooled
from sidecar.spool.store import Spool
from sidecar.telemetry.contained import keep_running, unexpected
from sidecar.telemetry.happenings import Replayed
from sidecar.telemetry.telemetry import Telemetry

Send = Callable[[str, Sequence[Spooled]], Awaitable[Sequence[EventStatus]]]
"""Sends events to an upstream; returns their statuses, in order."""

REST_SECONDS = 0.02
"""How often to check whether live traffic still has priority."""


@dataclass(frozen=True)
class Passage:
    """How replay sends events under one configuration."""

    upstreams: Collection[str]
    send: Send
    pressing: Callable[[str], bool]
    """Whether live events for an upstream are waiting."""
    route: Callable[[Spooled], Spooled | str]
    """Returns an event as it is sent now, or why it is not."""


class Replay:
    """Sends the events of the spool until it is empty."""

    def __init__(
        self,
        spool: Spool,
        telemetry: Telemetry,
        jitter: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`now` is the spool's clock; `follow` must be called before anything is sent."""
        self._spool = spool
        self._passage = Passage((), _nobody, lambda _: False, lambda event: event)
        self._group: asyncio.TaskGroup | None = None
        self._running: set[str] = set()
        self._telemetry = telemetry
        self._jitter = jitter
        self._now = now
        self._healed: dict[str, asyncio.Event] = {}
        self.failing: set[str] = set()
        """The upstreams that took nothing when events were last sent to them."""
        self._stopping = asyncio.Event()
        self._room = asyncio.Semaphore(MAX_POSTS)

    async def run(self) -> None:
        """Send waiting events until `stop` is called and those in flight have ended."""
        await self._spool.opened()
        async with asyncio.TaskGroup() as self._group:
            self._begin()
            await self._stopping.wait()

    def follow(self, passage: Passage) -> None:
        """Send through this passage from now on; events in flight end with the previous one."""
        self._passage = passage
        self._begin()

    def _begin(self) -> None:
        """Start a task for each configured upstream, and for each other one that events wait for."""
        if self._group is None or self._stopping.is_set():
            return
        for upstream in {*self._passage.upstreams, *self._spool.state.totals.upstreams} - self._running:
            self._running.add(upstream)
            replay = functools.partial(self._replay, upstream)
            self._group.create_task(keep_running("replay", replay, self._telemetry.emit))

    def stop(self) -> None:
        """Start no more attempts."""
        self._stopping.set()
        self._spool.wake()
        for healed in self._healed.values():
            healed.set()

    def healed(self, upstream: str) -> None:
        """Try again at once, since an endpoint of `upstream` takes events again."""
        self._healing(upstream).set()

    def _healing(self, upstream: str) -> asyncio.Event:
        return self._healed.setdefault(upstream, asyncio.Event())

    async def _replay(self, upstream: str) -> None:
        held: list[Spooled] = []
        try:
            await self._send_what_waits(upstream, held)
        finally:  # after an error, so that nothing stays in flight for ever
            self._spool.release(held)

    async def _send_what_waits(self, upstream: str, held: list[Spooled]) -> None:
        """Send until stopped; `held` has the events handed out."""
        window = Window()
        if self._spool.waits_for(upstream):  # from an earlier process, in which perhaps nothing worked
            await self._spool.hurry(upstream)
        while held or await self._something_for(upstream):
            if not held:
                await self._let_live_go_first(upstream)
                held[:] = await self._next(upstream, window)
            if not held or self._stopping.is_set():
                self._spool.release(held)
                held.clear()
                await self._pause(upstream, IDLE_SECONDS)
                continue
            ended = await asyncio.gather(*(self._send_batch(upstream, batch) for batch in _batches(held, window)))
            worked, failures = any(each.worked for each in ended), window.failures
            failed = any(Fate.FAILED in each.fates for each in ended)
            reached = {not status.unreachable for each in ended for status in each.statuses}
            window = window.after_success() if worked else window.after_failure(answered=reached == {True})
            (self.failing.discard if worked else self.failing.add)(upstream)
            pause = backoff(window.failures, self._jitter()) if window.failures else 0.0
            notes = [note for each in ended for note in self._notes(upstream, each, pause)]
            if worked and (failures or failed):  # last, since it is about those that just failed, too
                notes.append(self._spool.hurry(upstream))
            if pause or self._stopping.is_set() or self._presses(upstream):
                await asyncio.gather(*notes)
                held.clear()
                await self._pause(upstream, pause)
            else:  # record the results and fetch the next events in one transaction
                *noted, found = await asyncio.gather(*notes, self._next(upstream, window), return_exceptions=True)
                held[:] = found if isinstance(found, list) else held
                for each in (*noted, found):
                    if isinstance(each, BaseException):
                        raise each

    async def _next(self, upstream: str, window: Window) -> list[Spooled]:
        """Return the next events to send; after failures, prefer one that was not tried yet."""
        return await self._spool.hand_out(
            upstream, window.events * window.batches, MAX_BYTES * window.batches, untried_first=window.failures > 0
        )

    async def _something_for(self, upstream: str) -> bool:
        """Wait until events wait, and return True; return False when stopped."""
        await self._spool.something_for(upstream)
        self._begin()  # a moved event may be the first for its upstream
        return not self._stopping.is_set()

    async def _let_live_go_first(self, upstream: str) -> None:
        rested = 0.0
        while self._presses(upstream) and rested < MAX_REST_SECONDS and not self._stopping.is_set():
            await asyncio.sleep(REST_SECONDS)
            rested += REST_SECONDS

    def _presses(self, upstream: str) -> bool:
        return upstream in self._passage.upstreams and self._passage.pressing(upstream)

    async def _pause(self, upstream: str, seconds: float) -> None:
        healed = self._healing(upstream)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                if seconds and not self._stopping.is_set():
                    healed.clear()
                    await healed.wait()
                    await self._spool.hurry(upstream)

    async def _send_batch(self, upstream: str, events: Sequence[Spooled]) -> _Ended:
        """Send events; a bug here must not end the task group."""
        ended = _Ended()
        try:
            async with self._room:
                passage = self._passage  # of now: routes may have changed while there was no room
                for event in events:
                    routed = passage.route(event)
                    if isinstance(routed, str):
                        ended.refused.append((event, routed))
                    elif routed.upstream != upstream:
                        ended.moved.append(routed)
                    else:
                        ended.sent.append(routed)
                if ended.sent:
                    ended.statuses = list(await passage.send(upstream, ended.sent))
            its = zip(ended.sent, ended.statuses, strict=True)
            if any(status.status == "success" and not event.hasty for event, status in its):
                self._spool.taken(upstream)
        except Exception as error:  # noqa: BLE001  see above
            self._telemetry.emit(unexpected("replay", error))
            self._spool.release(ended.sent or events)
            ended.sent, ended.statuses = [], []
            return ended
        except asyncio.CancelledError:
            self._spool.release(events)
            raise
        last = self._spool.last_taken(upstream)
        ended.fates = [
            fate(event, status, last, alone=len(ended.sent) == 1)
            for event, status in zip(ended.sent, ended.statuses, strict=True)
        ]
        return ended

    def _notes(self, upstream: str, ended: _Ended, pause: float) -> list[Coroutine[Any, Any, None]]:
        """Report the results of a batch; return the coroutines that record them."""
        its = list(zip(ended.sent, ended.statuses, ended.fates, strict=True))
        words = next((reason(status) for _, status, each in its if each is Fate.FAILED), "")
        for each, count in Counter(ended.fates).items():
            self._telemetry.emit(Replayed(upstream, each.value, count, words if each is Fate.FAILED else ""))
        delivered = [event for event, _, each in its if each is Fate.DELIVERED]
        return [
            *([self._spool.delivered(delivered)] if delivered else []),
            *(self._keep_or_bury(*each, pause) for each in its if each[2] is not Fate.DELIVERED),
            *(self._spool.dead(event, "refused", words, b"") for event, words in ended.refused),
            *(self._spool.move(event) for event in ended.moved),
        ]

    async def _keep_or_bury(self, event: Spooled, status: EventStatus, its: Fate, pause: float) -> None:
        if its is Fate.DEAD:
            cause: Literal["invalid", "errors"] = "invalid" if status.status == "invalid" else "errors"
            await self._spool.dead(event, cause, reason(status), verdict(status))
        else:
            error = its is Fate.ERROR
            due = self._now() + set_back(event.errors + error, status, pause)
            tried = status.endpoint != ""  # else no endpoint was available, which says nothing about the event
            await self._spool.failed(event, reason(status), due, tried=tried, error=error)


async def _nobody(_: str, events: Sequence[Spooled]) -> list[EventStatus]:
    """Send nothing, until `follow` is called."""
    return [failed(event.body, "the sidecar is starting", unreachable=True) for event in events]


class _Ended:
    """The results of a batch."""

    def __init__(self) -> None:
        self.sent: list[Spooled] = []
        self.statuses: list[EventStatus] = []
        self.fates: list[Fate] = []
        self.refused: list[tuple[Spooled, str]] = []
        """Refused by the current configuration, and why."""
        self.moved: list[Spooled] = []
        """For another upstream now."""

    @property
    def worked(self) -> bool:
        """Whether at least one event is settled, moved or to blame."""
        return bool(self.refused or self.moved) or any(each is not Fate.FAILED for each in self.fates)


def _batches(events: Sequence[Spooled], window: Window) -> list[list[Spooled]]:
    """Split events into arrays as large as the window allows; those that failed before are sent alone."""
    batches: list[list[Spooled]] = [[each] for each in events if each.attempts]
    batch, size = list[Spooled](), 0
    for each in events:
        if each.attempts:
            continue
        if batch and (len(batch) == window.events or size + each.size > MAX_BYTES):
            batches.append(batch)
            batch, size = [], 0
        batch.append(each)
        size += each.size
    return [*batches, batch] if batch else batches
