"""Which events travel in one array POST, and when it leaves.

EventGate names failures by echoing the event, and `verdict` finds it again by `meta.id`. So events travel
together only where every one has an id and no two the same. An event of a request without such an id (no `meta`, an id
that is not a string) travels alone, and where an id comes a second time the next array begins.

A batch leaves for one of four reasons: nothing is in flight, as many events wait as are in flight (and more than a
few), it is full, or its oldest has waited `linger`. The second keeps EventGate busy while the next batch fills up: if
each batch waited for the one before, sidecar and EventGate would take turns, each idle half of the time.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sidecar.events.outgoing import Done, Headers, Load, Outgoing
from sidecar.routes.config import Coalesce

WORTH_ITS_COST = 8
"""Fewer events than this do not leave while others are in flight: a POST costs about as much as so many events."""
MAX_GROUPS = 64
"""Arrays that the events of one request are split into because of their ids, before the rest go in one."""


def groups(events: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """Split the events of one request for one upstream into arrays, in the order of the request.

    In each array every event has an id of its own. Where that takes too many arrays, the rest are in one array in which
    ids do not count.
    """
    found: list[list[Outgoing]] = []
    ids: set[str] = set()
    for place, event in enumerate(events):
        if found and event.id is not None and event.id not in ids and found[-1][0].id is not None:
            found[-1].append(event)
        elif len(found) < MAX_GROUPS:
            found.append([event])
            ids = set()
        else:
            found.append([msgspec.structs.replace(each, id=None) for each in events[place:]])
            break
        if event.id is not None:
            ids.add(event.id)
    return found


def must_share(headers: Headers, events: Sequence[Outgoing]) -> Headers:
    """Return the headers that a POST must have in common with those it travels with.

    EventGate folds `x-request-id` into events that lack `meta.request_id`, and logs the user agent. Tracing
    headers say nothing about an event.
    """
    if not headers:
        return headers
    fills = any(event.lacks_request_id for event in events)
    return tuple([each for each in headers if each[0] == "user-agent" or (fills and each[0] == "x-request-id")])


def common_headers(headers: Sequence[Headers]) -> Headers:
    """Return the headers that loads which leave together have in common; one alone keeps all of its own."""
    first, *others = headers
    return tuple(each for each in first if all(each in other for other in others))


class Rider(msgspec.Struct, eq=False):
    """A load that may leave with others; each of its events has an id of its own."""

    load: Load
    done: Done
    since: float
    """When it began to wait, in seconds of any clock."""
    size: int = 0
    """Bytes of its events, once it waits in a room."""


class Room:
    """Where those wait who may travel together."""

    def __init__(self, limits: Coalesce) -> None:
        """Nobody waits, and nothing is under way."""
        self._limits = limits
        self._riders: list[Rider] = []
        self._events = 0
        self._bytes = 0
        self._under_way = 0
        """Events that have left and not come back."""

    def pass_through(self, rider: Rider) -> None:
        """Let `rider` leave at once, where the room is empty."""
        self._under_way += len(rider.load.events)

    def enter(self, rider: Rider) -> None:
        """Let `rider` wait."""
        rider.size = sum([len(event.body) for event in rider.load.events])
        self._riders.append(rider)
        self._events += len(rider.load.events)
        self._bytes += rider.size

    @property
    def empty(self) -> bool:
        """Whether nobody waits and nothing is under way."""
        return not self._riders and not self._under_way

    @property
    def next_departure(self) -> float | None:
        """When the oldest will have waited long enough; None where nobody waits."""
        return self._riders[0].since + self._limits.linger if self._riders else None

    def board(self, now: float) -> list[Rider]:
        """Return those who leave together now; nobody where it is not time yet."""
        if not self._riders or not self._is_time(now):
            return []
        batch, self._riders = self._fill()
        events = _events_of(batch)
        self._events -= events
        self._bytes -= sum([each.size for each in batch])
        self._under_way += events
        return batch

    def come_back(self, events: int) -> None:
        """Take note that so many events which left are under way no more."""
        self._under_way -= events

    def _is_time(self, now: float) -> bool:
        if not self._under_way or self._events >= max(self._under_way, WORTH_ITS_COST):
            return True
        full = self._events >= self._limits.max_events or self._bytes >= self._limits.max_bytes
        return full or now >= self._riders[0].since + self._limits.linger

    def _fill(self) -> tuple[list[Rider], list[Rider]]:
        """Take the oldest, and those behind that fit in; who carries an id that is in already stays."""
        batch: list[Rider] = []
        left: list[Rider] = []
        ids: set[str | None] = set()
        events = size = 0
        for rider in self._riders:
            events_then, size_then = events + len(rider.load.events), size + rider.size
            fits = events_then <= self._limits.max_events and size_then <= self._limits.max_bytes
            if not batch or (fits and ids.isdisjoint(event.id for event in rider.load.events)):
                batch.append(rider)
                ids.update(event.id for event in rider.load.events)
                events, size = events_then, size_then
            else:
                left.append(rider)
        return batch, left


def _events_of(riders: Sequence[Rider]) -> int:
    return sum([len(each.load.events) for each in riders])
