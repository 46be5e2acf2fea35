"""Decides which events share one array POST, and when it leaves.

EventGate reports failures by echoing the events, and `verdict` matches them by `meta.id`. So the events of an array all
need ids, and different ones. An event without an id (no `meta`, an id that is not a string) is sent alone, and a
duplicate id starts a new array.

A batch leaves for one of four reasons: nothing is in flight, at least as many events wait as are in flight (and more
than a few), it is full, or its oldest event has waited `linger`. The second reason keeps EventGate busy while the next
batch fills up: if each batch waited for the previous one, sidecar and EventGate would each be idle half of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sidecar.events.outgoing import Done, Headers, Load, Outgoing
from sidecar.routes.language.config import Coalesce

WORTH_ITS_COST = 8
"""Fewer waiting events do not leave while others are in flight: a POST costs about as much as this many events."""
MAX_GROUPS = 64
"""Arrays that one request is split into because of ids, before the rest goes in one."""


def groups(events: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """Split the events of one request for one upstream into arrays, in request order.

    Ids are unique in each array. If that takes too many arrays, the rest is one array without ids.
    """
    ids = {event.id for event in events}
    if len(ids) == len(events) and None not in ids:  # nearly always
        return [list(events)]
    found: list[list[Outgoing]] = []
    ids = set()
    for place, event in enumerate(events):
        if found and event.id is not None and event.id not in ids and found[-1][0].id is not None:
            found[-1].append(event)
        elif len(found) < MAX_GROUPS:
            found.append([event])
            ids = set()
        else:
            found.append([msgspec.structs.replace(each, id=None) for each in events[place:]])
            break
        ids.add(event.id)
    return found


def must_share(headers: Headers, events: Sequence[Outgoing]) -> Headers:
    """Return the headers that loads sent together must have in common.

    EventGate copies `x-request-id` into events that lack `meta.request_id`, and logs the user agent. Tracing headers do
    not affect an event.
    """
    if not headers:
        return headers
    fills = True in [event.lacks_request_id for event in events]
    return tuple([each for each in headers if each[0] == "user-agent" or (fills and each[0] == "x-request-id")])


def common_headers(headers: Sequence[Headers]) -> Headers:
    """Return the headers that all these loads have; a lone load keeps all of its own."""
    first, *others = headers
    common = set(first).intersection(*others)
    return tuple([each for each in first if each in common])


class Rider(msgspec.Struct, eq=False):
    """A load that may be sent with others; the ids of its events are unique."""

    load: Load
    done: Done
    since: float
    """When it started to wait, in seconds of any clock."""
    size: int = 0
    """Bytes of its events, set by `Room.enter`."""


class Room:
    """A queue of loads that may be sent together, and the number of events in flight from it."""

    def __init__(self, limits: Coalesce) -> None:
        """Start empty, with nothing in flight."""
        self._limits = limits
        self._riders: list[Rider] = []
        self._events = 0
        self._bytes = 0
        self._under_way = 0
        """Events in flight."""

    def pass_through(self, rider: Rider) -> None:
        """Count `rider` as in flight without queueing it; the room must be empty."""
        self._under_way += len(rider.load.events)

    def enter(self, rider: Rider) -> None:
        """Queue `rider`."""
        rider.size = sum([len(event.body) for event in rider.load.events])
        self._riders.append(rider)
        self._events += len(rider.load.events)
        self._bytes += rider.size

    @property
    def empty(self) -> bool:
        """Whether nothing is queued or in flight."""
        return not self._riders and not self._under_way

    @property
    def next_departure(self) -> float | None:
        """When the oldest load will have waited `linger`; None if the queue is empty."""
        return self._riders[0].since + self._limits.linger if self._riders else None

    def board(self, now: float) -> list[Rider]:
        """Remove and return the next batch; empty if it is not due yet."""
        if not self._riders or not self._is_time(now):
            return []
        batch, self._riders = self._fill()
        events = _events_of(batch)
        self._events -= events
        self._bytes -= sum([each.size for each in batch])
        self._under_way += events
        return batch

    def come_back(self, events: int) -> None:
        """Record that `events` events are no longer in flight."""
        self._under_way -= events

    def _is_time(self, now: float) -> bool:
        if not self._under_way or self._events >= max(self._under_way, WORTH_ITS_COST):
            return True
        full = self._events >= self._limits.max_events or self._bytes >= self._limits.max_bytes
        return full or now >= self._riders[0].since + self._limits.linger

    def _fill(self) -> tuple[list[Rider], list[Rider]]:
        """Split the queue into a batch, which has the oldest load and all later ones that fit, and the rest.

        A load with an id that the batch already has does not fit.
        """
        if self._events <= self._limits.max_events and self._bytes <= self._limits.max_bytes:
            all_ids = {event.id for rider in self._riders for event in rider.load.events}
            if len(all_ids) == self._events:  # nearly always: all fit, and no id is there twice
                return self._riders, []
        batch: list[Rider] = []
        left: list[Rider] = []
        ids: set[str | None] = set()
        events = size = 0
        for rider in self._riders:
            events_then, size_then = events + len(rider.load.events), size + rider.size
            fits = events_then <= self._limits.max_events and size_then <= self._limits.max_bytes
            if not batch or (fits and ids.isdisjoint([event.id for event in rider.load.events])):
                batch.append(rider)
                ids.update([event.id for event in rider.load.events])
                events, size = events_then, size_then
            else:
                left.append(rider)
        return batch, left


def _events_of(riders: Sequence[Rider]) -> int:
    return sum([len(each.load.events) for each in riders])
