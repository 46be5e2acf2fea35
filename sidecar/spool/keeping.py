"""Events that must not be lost: sent live, or kept in the spool, or the one and then the other.

An event goes into the spool for one of three reasons: no endpoint took it in time, its route answers the producer
as soon as it is durable, or an earlier event that it must not overtake is not settled yet.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from sidecar.delivery.batching import Headers, groups, must_share
from sidecar.delivery.coalescer import Deliver, Done
from sidecar.events.event import Outgoing
from sidecar.events.results import EventStatus, Outcome, failed
from sidecar.spool.ordering import Place
from sidecar.spool.record import Spooled
from sidecar.spool.store import Kept, PutResult, Spool


class Keeping:
    """Stands between `intake` and the coalescer where there is a spool."""

    def __init__(
        self,
        deliver: Deliver,
        spool: Spool,
        keeps: Mapping[str, bool],
        now: Callable[[], float] = time.time,
    ) -> None:
        """`keeps`: whether events of an upstream that no endpoint took are kept; `now` is the wall clock."""
        self._deliver = deliver
        self._spool = spool
        self._keeps = keeps
        self._now = now

    def deliver(self, upstream: str, events: Sequence[Outgoing], headers: Headers, hasty: bool, done: Done) -> None:
        """Tell `done` the status of each of `events`, in their order: delivered, or in the spool, or neither."""
        order = self._spool.order
        places = [order.arrive((upstream, each.order_key) if each.order_key else None) for each in events]
        load = _Load(upstream, events, headers, hasty, places, self._now(), done)
        live: list[int] = []
        first: list[int] = []
        for index, (event, place) in enumerate(zip(events, places, strict=True)):
            (first if event.spool_first or place.behind else live).append(index)
        load.parts = (live != []) + (first != [])
        if live:
            self._send(load, live)
        if first:
            self._keep(load, first, {})

    def _send(self, load: _Load, indices: Sequence[int]) -> None:
        def ended(statuses: Sequence[EventStatus]) -> None:
            undelivered: dict[int, EventStatus] = {}
            for index, status in zip(indices, statuses, strict=True):
                if status.may_be_sent_again and self._keeps[load.upstream]:
                    undelivered[index] = status
                else:
                    self._settle(load, index, status)
            if undelivered:
                self._keep(load, list(undelivered), undelivered)
            else:
                load.part_ended()

        self._deliver(load.upstream, [load.events[index] for index in indices], load.headers, load.hasty, ended)

    def _keep(self, load: _Load, indices: Sequence[int], tried: Mapping[int, EventStatus]) -> None:
        """Put events into the spool; `tried` has the status of those that were sent in vain."""

        def stored(result: PutResult) -> None:
            if result.kept is Kept.STORED:
                for index in indices:
                    self._settle(load, index, _kept(load.upstream))
                load.part_ended()
                return
            live = [index for index in indices if index not in tried and not load.places[index].behind]
            for index in indices:
                if index not in live:
                    self._settle(load, index, _lost(load, index, tried.get(index), result.reason))
            if live:  # without a spool they are sent as any other event
                self._send(load, live)
            else:
                load.part_ended()

        self._spool.store([load.spooled(index) for index in indices], stored)

    def _settle(self, load: _Load, index: int, status: EventStatus) -> None:
        self._spool.order.settled(load.places[index])
        load.statuses[index] = status

    async def send(self, upstream: str, spooled: Sequence[Spooled]) -> list[EventStatus]:
        """Send events of the spool, in the arrays that live ones of their headers travel in; return their statuses."""
        statuses: dict[int, EventStatus] = {}
        alike: dict[tuple[bool, Headers], list[Outgoing]] = {}
        for index, each in enumerate(spooled):
            event = each.outgoing(index)
            alike.setdefault((each.hasty, must_share(each.headers, [event])), []).append(event)
        ended = [
            self._sent(upstream, group, headers, hasty, statuses)
            for (hasty, headers), events in alike.items()
            for group in groups(events)
        ]
        await asyncio.gather(*ended)
        return [statuses[index] for index in range(len(spooled))]

    def _sent(
        self, upstream: str, group: Sequence[Outgoing], headers: Headers, hasty: bool, found: dict[int, EventStatus]
    ) -> asyncio.Future[None]:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(statuses: Sequence[EventStatus]) -> None:
            found.update(zip((event.index for event in group), statuses, strict=True))
            if not ended.done():
                ended.set_result(None)

        self._deliver(upstream, group, headers, hasty, done)
        return ended


class _Load:
    """The events of one delivery until each has its status."""

    def __init__(
        self,
        upstream: str,
        events: Sequence[Outgoing],
        headers: Headers,
        hasty: bool,
        places: Sequence[Place],
        first_seen: float,
        done: Done,
    ) -> None:
        self.upstream = upstream
        self.events = events
        self.headers = headers
        self.hasty = hasty
        self.places = places
        self.statuses: dict[int, EventStatus] = {}
        self.parts = 0
        """Parts of it that have not ended."""
        self._first_seen = first_seen
        self._done = done

    def spooled(self, index: int) -> Spooled:
        """Return an event as the spool keeps it."""
        event = self.events[index]
        return Spooled.of(
            event,
            arrival=self.places[index].arrival,
            upstream=self.upstream,
            first_seen=self._first_seen,
            headers=self.headers,
            hasty=self.hasty,
            order_key=event.order_key,
        )

    def part_ended(self) -> None:
        """Take note that each event of a part has its status."""
        self.parts -= 1
        if not self.parts:
            self._done([self.statuses[index] for index in range(len(self.events))])


def _kept(upstream: str) -> EventStatus:
    return EventStatus("success", Outcome.SPOOLED, upstream=upstream)


def _lost(load: _Load, index: int, tried: EventStatus | None, reason: str) -> EventStatus:
    """Return the status of an event that was neither delivered nor stored: what EventGate said, or the spool."""
    if tried is not None:
        return tried
    message = f"an earlier event that it must not overtake is not delivered yet, and the spool cannot take it: {reason}"
    status = failed(load.events[index].body, message, unreachable=True)
    return msgspec.structs.replace(status, upstream=load.upstream)
