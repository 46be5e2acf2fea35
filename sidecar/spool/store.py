"""The interface of the spool: stores events, hands them out for sending, and deletes them when delivered.

`groupcommit` does the writing. The order keys and the events in flight are kept here, in memory, and updated with each
transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import functools
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from sidecar.spool.directory import SpoolDir, Trouble
from sidecar.spool.file import SpoolFile
from sidecar.spool.groupcommit import STOPPING, GroupCommit, Hand, News, Operation, Writer
from sidecar.spool.policy import Ordering, SpoolClock
from sidecar.spool.record import Batch, Gone, Key, Quota, Spooled, SpoolState
from sidecar.telemetry.happenings import DeadLettered, EventsSpooled, SpoolRefused
from sidecar.telemetry.telemetry import Telemetry
from sidecar.timers import Timers

PUT_SECONDS = 1.0
"""How long an event waits for the disk; its producer may have waited for endpoints before, and needs an answer."""
MAX_WAITING_BYTES = 32 * 1024 * 1024
"""Maximum bytes of events in memory that wait for the disk."""
LAZY_EVENTS = 8
"""The delivery of up to this many events is recorded without an fsync; else a slow stream would take two per event."""

T = TypeVar("T")
Choose = Callable[[SpoolFile, frozenset[int], frozenset[Key]], Batch]
"""Finds events in the file to send, given those in flight and the keys held back."""
Cause = Literal["invalid", "errors", "age", "damaged", "refused"]
"""Why an event became a dead letter."""


class Kept(enum.StrEnum):
    """Whether events were stored."""

    STORED = "stored"
    """They are durable."""
    FULL = "full"
    BROKEN = "broken"
    """The disk did not take them, or not in time."""


@dataclass(frozen=True, slots=True)
class PutResult:
    """The result of storing events."""

    kept: Kept
    reason: str = ""
    """Why they were not stored, in words."""


STORED = PutResult(Kept.STORED)


_Call = tuple[Sequence[Spooled], Callable[[PutResult], None]]
"""Arguments of `store`."""


class _Puts(NamedTuple):
    """Calls of `store` that share a transaction."""

    operation: Operation
    calls: list[_Call]


class Spool:
    """The spool of one sidecar."""

    def __init__(
        self,
        directory: Path,
        limits: Quota,
        telemetry: Telemetry,
        now: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
        hand: Hand | None = None,
    ) -> None:
        """Touch no file before `run`; `now` is the wall clock, `steady` a monotonic one."""
        self.order = Ordering()
        self._directory = directory
        self._limits = limits
        self._telemetry = telemetry
        self._clock = SpoolClock(now, steady)
        self._knows_time = False
        self._commits = GroupCommit(SpoolDir(directory, limits), hand or Writer(), telemetry, self.now, self._learn)
        self._in_flight: set[int] = set()
        self._taken: dict[str, float] = {}
        self._full_at: float | None = None
        """`Totals.taken` when there was no room; None once an event is stored."""
        self._timers: Timers[Operation] = Timers(self._late, lambda *_: None)
        """For calls of `store`; after a stall the disk's answer is processed before they fire."""
        self._puts: _Puts | None = None
        """The last ones."""
        self._handing_out = asyncio.Lock()
        self._opened = asyncio.Event()
        self._came: dict[str, asyncio.Event] = {}
        self._awake = False

    async def run(self) -> None:
        """Open and run the spool until `close` is called and everything before is durable."""
        await self._commits.run(self._look, self._opened)

    async def opened(self) -> None:
        """Wait for the first attempt to open it; if that succeeded, its contents and their order are known."""
        await self._opened.wait()

    def close(self) -> None:
        """Refuse new events."""
        self._commits.close()

    @property
    def state(self) -> SpoolState:
        """The current state."""
        totals = self._commits.totals
        age = 0.0 if totals.oldest is None else max(0.0, self.now() - totals.oldest)
        full, trouble = self._full_at is not None and totals.taken >= self._full_at, self._commits.trouble
        return SpoolState(str(self._directory), trouble, totals, self._limits, age, len(self._in_flight), full)

    def _learn(self, news: News) -> None:
        self.order.learn(news.keys)
        self._set_clock()
        if news.newest is not None and not self._knows_time:
            self._clock.begin_after(news.newest)
        self._knows_time = True
        self._wake()

    def _set_clock(self) -> None:
        """Set the clock to the wall clock, unless there are events with older times."""
        if not self._commits.totals.events and not self._commits.waiting_size:
            self._clock.set()
            self._taken.clear()

    def now(self) -> float:
        """Return the time by which events age, see `SpoolClock`."""
        return self._clock.now()

    def _look(self) -> None:
        """Do periodic work: set the clock, and bury events that are too old."""
        self._set_clock()
        oldest, before = self._commits.totals.oldest, self.now() - self._limits.age
        # Not while events are being handed out: one that is sent must not become a dead letter.
        if oldest is not None and oldest < before and not self._handing_out.locked():
            in_flight = frozenset(self._in_flight)
            self._commits.add(lambda file: _bury_old(file, before, in_flight, self.now()), self._gone_for("age"))

    # --- putting events in ---

    def store(self, events: Sequence[Spooled], done: Callable[[PutResult], None]) -> None:
        """Store all `events` or none, durably, and call `done` once with the result.

        After `broken` they may be stored and sent nevertheless, if the disk takes them too late.
        """
        size = sum([each.size for each in events])
        if trouble := self._trouble_with(size):
            done(self._refuse(Kept.BROKEN, trouble, len(events)))
            return
        # The keys are busy until the transaction has ended, whatever the producers are told.
        self.order.storing(_keys_of(events))
        if self._puts is None or not self._commits.extend(self._puts.operation, size):
            self._puts = self._begin_puts(size)
        self._puts.calls.append((events, done))

    def _begin_puts(self, size: int) -> _Puts:
        """Begin to collect calls of `store` for the next transaction."""
        calls: list[_Call] = []

        def undone(certain: bool) -> None:
            for events, _ in calls:
                self.order.wrote(_keys_of(events), stored=not certain)

        def ended(future: asyncio.Future[list[bool]]) -> None:
            self._timers.clear(operation)
            for number, (events, done) in enumerate(calls):
                self._commits.safely(functools.partial(done, self._result(future, number, len(events))))

        operation = self._commits.add(
            lambda file: _put_each(file, [events for events, _ in calls]),
            lambda results: self._stored(calls, results),
            undone,
            size=size,
        )
        self._timers.set(operation, PUT_SECONDS)
        operation.done.add_done_callback(ended)
        return _Puts(operation, calls)

    def _late(self, operation: Operation) -> None:
        """Cancel an operation that the disk does not answer."""
        self._commits.withdraw(operation)
        self._commits.stuck(f"{self._directory}: the disk has not answered for {PUT_SECONDS:g} s")
        operation.done.cancel()

    def _trouble_with(self, size: int) -> str:
        if self._commits.trouble or self._commits.closing:
            return self._commits.trouble or STOPPING
        if self._commits.waiting_size + size > MAX_WAITING_BYTES:
            return f"{self._directory}: the disk does not keep up with the events"
        return ""

    def _result(self, future: asyncio.Future[list[bool]], number: int, events: int) -> PutResult:
        if future.cancelled():
            return self._refuse(Kept.BROKEN, self._commits.trouble, events)
        if error := future.exception():
            return self._refuse(Kept.BROKEN, str(error), events)
        if not future.result()[number]:
            most, now = self._limits.size // 1024, self.state.max_bytes // 1024
            share = f"it may take {most} KiB of the disk" + (f", which only has {now} KiB for it" if now < most else "")
            return self._refuse(Kept.FULL, f"{self._directory}: the spool is full; {share}", events)
        return STORED

    def _stored(self, calls: Sequence[_Call], results: Sequence[bool]) -> None:
        streams, upstreams = Counter[str](), set[str]()
        for (events, _), stored in zip(calls, results, strict=True):
            self.order.wrote(_keys_of(events), stored=stored)
            self._full_at = None if stored else self._commits.totals.taken
            if stored:
                streams.update([each.stream for each in events])
                upstreams.update([each.upstream for each in events])
        for stream, count in streams.items():
            self._telemetry.emit(EventsSpooled(stream, count))
        for upstream in upstreams:
            self._coming(upstream).set()

    def _refuse(self, kept: Kept, reason: str, events: int) -> PutResult:
        self._telemetry.emit(SpoolRefused(kept, reason, events))
        return PutResult(kept, reason)

    # --- handing events out ---

    def waits_for(self, upstream: str) -> bool:
        """Whether events for `upstream` wait and the spool can be used."""
        return not self._commits.trouble and upstream in self._commits.totals.upstreams

    async def something_for(self, upstream: str) -> None:
        """Wait until there are events for `upstream`, or until `wake`."""
        while not (self.waits_for(upstream) or self._awake):
            self._coming(upstream).clear()
            await self._coming(upstream).wait()

    def wake(self) -> None:
        """Let nobody wait for events any more."""
        self._awake = True
        self._wake()

    def _wake(self) -> None:
        for came in self._came.values():
            came.set()

    def _coming(self, upstream: str) -> asyncio.Event:
        return self._came.setdefault(upstream, asyncio.Event())

    async def hand_out(self, upstream: str, events: int, size: int, *, untried_first: bool = False) -> list[Spooled]:
        """Return the first events for `upstream` that may be sent, at most `events` and `size` bytes.

        None of them, and no other of its key, is handed out again before `delivered`, `failed`, `dead` or `release` is
        called for it. There are none while the spool cannot be used.
        """
        how = functools.partial(
            SpoolFile.hand_out, upstream=upstream, now=self.now(), events=events, size=size, untried_first=untried_first
        )
        return await self.choose(lambda file, in_flight, held_back: how(file, in_flight=in_flight, held_back=held_back))

    async def choose(self, choose: Choose) -> list[Spooled]:
        """Hand out the events that `choose` finds in the file, as in `hand_out`."""
        async with self._handing_out:
            if self._commits.trouble:
                return []
            in_flight, held_back = frozenset(self._in_flight), self.order.held_back()

            def handed_out(batch: Batch) -> None:
                self._in_flight.update(each.arrival for each in batch.events)
                self._gone_for("damaged")(batch.damaged)

            try:
                batch = await self.read(lambda file: choose(file, in_flight, held_back), handed_out)
            except Trouble:
                return []
            return batch.events

    async def delivered(self, events: Sequence[Spooled]) -> None:
        """Delete events; returns when that is durable, however long the disk fails."""
        arrivals = [each.arrival for each in events]

        def forgotten(gone: list[Gone]) -> None:
            self._in_flight.difference_update(arrivals)
            self._left(gone)

        # Without an fsync they may be back after a power loss; the next fsync comes within a second.
        lazy = len(arrivals) <= LAZY_EVENTS
        await self._in_the_end(lambda file: file.delivered(arrivals), forgotten, *events, lazy=lazy)

    async def failed(
        self, event: Spooled, reason: str, due: float = 0.0, *, tried: bool = True, error: bool = False
    ) -> None:
        """Record a failure: the event may be handed out again from `due` on.

        `tried`: an endpoint was tried; `error`: EventGate returned an error for this event and took others.
        """
        now = self.now() if tried else None
        await self._in_the_end(
            lambda file: file.failed(event.arrival, reason, now, due, error=error),
            lambda _: self._in_flight.discard(event.arrival),
            event,
        )

    async def dead(self, event: Spooled, cause: Cause, reason: str, verdict: bytes) -> None:
        """Make an event a dead letter; returns when that is durable, however long the disk fails."""
        now = self.now()

        def buried(gone: list[Gone]) -> None:
            self._in_flight.discard(event.arrival)
            self._gone_for(cause)(gone)

        await self._in_the_end(lambda file: file.bury(event.arrival, reason, verdict, now), buried, event)

    async def move(self, event: Spooled) -> None:
        """Store an event that was rerouted; returns when that is durable."""

        def moved(gone: list[Gone]) -> None:
            self._in_flight.discard(event.arrival)
            self._left(gone)
            if gone and event.order_key is not None:
                self.order.storing([event.order_key])
                self.order.wrote([event.order_key], stored=True)
            self._coming(event.upstream).set()

        await self._in_the_end(lambda file: file.move(event), moved, event)

    async def hurry(self, upstream: str) -> None:
        """Make events due at once that failed while `upstream` took none."""
        await self._in_the_end(lambda file: file.hurry_all(upstream), lambda _: None, lazy=True)

    async def _in_the_end(
        self, work: Callable[[SpoolFile], T], after: Callable[[T], None], *events: Spooled, lazy: bool = False
    ) -> None:
        """Run `work`, however long the disk fails; after a bug, release `events`."""
        with contextlib.suppress(Trouble):
            await self._commits.add(work, after, lambda _: self.release(events), must=True, lazy=lazy).done

    def taken(self, upstream: str) -> None:
        """Record that `upstream` took an event, live or not."""
        self._taken[upstream] = self.now()

    def last_taken(self, upstream: str) -> float | None:
        """Return when `upstream` last took an event."""
        return self._taken.get(upstream)

    def release(self, events: Iterable[Spooled]) -> None:
        """Return events that were not sent."""
        self._in_flight.difference_update(each.arrival for each in events)

    def _gone_for(self, cause: Cause) -> Callable[[list[Gone]], None]:
        def buried(gone: list[Gone]) -> None:
            self._left(gone)
            for stream, count in Counter(each.stream for each in gone).items():
                self._telemetry.emit(DeadLettered(stream, cause, count))

        return buried

    def _left(self, gone: list[Gone]) -> None:
        for each in gone:
            if each.freed is not None:
                self.order.freed(each.freed)

    async def read(self, work: Callable[[SpoolFile], T], after: Callable[[T], None] = lambda _: None) -> T:
        """Return the result of `work` on the file.

        Raises:
            Trouble: the spool cannot be used.

        """
        found: T = await self._commits.add(work, after, lazy=True).done
        return found


def _keys_of(events: Sequence[Spooled]) -> list[Key]:
    return [each.order_key for each in events if each.order_key is not None]


def _put_each(file: SpoolFile, every: Sequence[Sequence[Spooled]]) -> list[bool]:
    """Store the events of several calls, and return the result of `SpoolFile.put` for each."""
    stored = file.put([event for events in every for event in events])
    return [stored or file.put(events) for events in every]


def _bury_old(file: SpoolFile, before: float, in_flight: frozenset[int], now: float) -> list[Gone]:
    gone: list[Gone] = []
    for arrival in file.too_old(before, in_flight):
        gone += file.bury(arrival, "it waited for longer than the spool keeps events", b"", now)
    return gone
