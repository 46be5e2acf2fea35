"""Sends concurrent POSTs together as one array, and gives each its own answer.

EventGate takes an array almost as cheaply as one event. So a POST leaves at once if nothing is in flight; otherwise it
waits for others, for at most `linger`. "At once" means after the loop has read everything that has arrived; but after a
batch of one POST the next POST does not even wait for that.

An array that is refused as a whole is halved until the event at fault is alone. A bad event only delays the others.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from sidecar.delivery.batching import Rider, Room, common_headers, must_share
from sidecar.delivery.journey import MIN_ATTEMPT_SECONDS
from sidecar.delivery.retry import Undelivered
from sidecar.delivery.sender import Sender
from sidecar.eventgate.failures import FailureClass
from sidecar.events.outgoing import Done, Headers, Load, Outgoing
from sidecar.events.results import EventStatus
from sidecar.routes.language.config import Coalesce
from sidecar.telemetry.contained import unexpected
from sidecar.telemetry.telemetry import Telemetry

HALVED = frozenset({FailureClass.REFUSED, FailureClass.INFRASTRUCTURE})
"""Failures of an array that one of its events may cause."""

_Key = tuple[str, bool, Headers]
"""What loads of a batch have in common: upstream, hasty or not, and the headers of `must_share`."""


class Coalescer:
    """Batches the events of concurrent requests."""

    def __init__(
        self,
        sender: Sender,
        limits: Mapping[str, Coalesce],
        telemetry: Telemetry,
        clock: Callable[[], float] = time.monotonic,
        joined: Callable[[Sequence[Headers]], Headers] | None = None,
    ) -> None:
        """`limits` are per upstream; `joined` is an `Observer`'s."""
        self._sender = sender
        self._limits = limits
        self._telemetry = telemetry
        self._clock = clock
        self._joined = joined or common_headers
        self._rooms: dict[_Key, Room] = {}
        self._alarms: dict[_Key, asyncio.TimerHandle] = {}
        """A timer for each room with waiting loads; it may fire early, which is harmless."""
        self._departing: set[_Key] = set()
        """Rooms to be checked in the next turn of the loop."""
        self._alone = False
        """Whether the last batch was a single load."""

    def deliver(self, load: Load, done: Done) -> None:
        """Deliver `load`, and call `done` with its statuses, as if it had been sent alone."""
        if load.alone or load.events[0].id is None:
            self._send(load, done)
            return
        rider = Rider(load, done, self._clock())
        key = (load.upstream, load.hasty, must_share(load.headers, load.events))
        room = self._rooms.get(key)
        if room is None:
            room = self._rooms[key] = Room(self._limits[load.upstream])
            if self._alone:
                room.pass_through(rider)
                self._travel(key, room, [rider])
                return
        room.enter(rider)
        self._depart_soon(key, room)

    def pressing(self, upstream: str) -> bool:
        """Whether loads wait to be sent to `upstream`."""
        return any(key[0] == upstream and room.next_departure is not None for key, room in self._rooms.items())

    def _depart_soon(self, key: _Key, room: Room) -> None:
        """Send what is due, after everything that has arrived is queued."""
        if key not in self._departing:
            self._departing.add(key)
            asyncio.get_running_loop().call_soon(self._depart, key, room)

    def _depart(self, key: _Key, room: Room) -> None:
        """Send all batches that are due, and set the timer for the next."""
        self._departing.discard(key)
        if room.empty:
            if self._rooms.get(key) is room:
                del self._rooms[key]
            return
        now = self._clock()
        while batch := room.board(now):
            self._alone = len(batch) == 1
            self._travel(key, room, batch)
        departure = room.next_departure
        if departure is not None and key not in self._alarms:
            seconds = max(departure - now, 0.0)
            self._alarms[key] = asyncio.get_running_loop().call_later(seconds, self._ring, key)

    def _ring(self, key: _Key) -> None:
        """Check the room when its timer fires; it may be another room of the same key by now."""
        self._alarms.pop(key, None)
        room = self._rooms.get(key)
        if room is not None:
            self._depart(key, room)

    def _travel(self, key: _Key, room: Room, batch: list[Rider]) -> None:
        load = batch[0].load
        if len(batch) > 1:
            events = [event for each in batch for event in each.load.events]
            headers = self._joined([each.load.headers for each in batch])
            load = msgspec.structs.replace(load, events=events, headers=headers)

        def arrived(statuses: Sequence[EventStatus]) -> None:
            if room.next_departure is None:  # nothing else to send
                self._hand_out(batch, statuses)
                room.come_back(len(load.events))
                self._depart(key, room)
            else:
                room.come_back(len(load.events))
                self._depart(key, room)  # first, so that EventGate works while the answers are written
                self._hand_out(batch, statuses)

        self._send(load, arrived, since=batch[0].since)

    def _hand_out(self, batch: Sequence[Rider], statuses: Sequence[EventStatus]) -> None:
        start = 0
        for each in batch:
            end = start + len(each.load.events)
            try:
                each.done(statuses[start:end])
            except Exception as error:  # noqa: BLE001  a bug must not cost the others their answers
                self._telemetry.emit(unexpected("coalescer", error))
            start = end

    def _send(self, load: Load, done: Done, give_up: float | None = None, since: float | None = None) -> None:
        """Send events as one array, and in halves if that is refused and there is time."""

        def ended(result: list[EventStatus] | Undelivered) -> None:
            if not isinstance(result, Undelivered):
                done(result)
            elif self._may_halve(load.events, result):
                self._send_halves(load, done, result.give_up)
            else:
                done([result.status_of(event) for event in load.events])

        self._sender.send(load, ended, give_up, since)

    def _may_halve(self, events: Sequence[Outgoing], result: Undelivered) -> bool:
        in_time = self._clock() + MIN_ATTEMPT_SECONDS < result.give_up
        return len(events) > 1 and result.failure in HALVED and events[0].id is not None and in_time

    def _send_halves(self, load: Load, done: Done, give_up: float) -> None:
        middle = len(load.events) // 2
        ends: dict[int, Sequence[EventStatus]] = {}

        def ended(half: int, statuses: Sequence[EventStatus]) -> None:
            ends[half] = statuses
            if len(ends) == 2:
                done([*ends[0], *ends[1]])

        for half, events in enumerate((load.events[:middle], load.events[middle:])):
            part = msgspec.structs.replace(load, events=events, doubted=True)
            self._send(part, functools.partial(ended, half), give_up)
