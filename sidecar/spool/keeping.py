"""Sends events live, stores them in the spool, or first one and then the other.

An event goes into the spool for one of three reasons: no endpoint took it in time, its route acknowledges it once it is
stored, or an earlier event that it must not overtake is not settled.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from sidecar.delivery.batching import groups, must_share
from sidecar.events.outgoing import Deliver, Done, Headers, Load, Outgoing
from sidecar.events.results import EventStatus, Outcome, failed
from sidecar.spool.policy import reason
from sidecar.spool.record import Key, Spooled, key_of
from sidecar.spool.store import Kept, PutResult, Spool


class Keeping:
    """The stage between `intake` and the coalescer if there is a spool."""

    def __init__(
        self,
        deliver: Deliver,
        spool: Spool,
        keeps: Mapping[str, bool],
        now: Callable[[], float] = time.time,
        number: int = 0,
    ) -> None:
        """`keeps`: whether undelivered events of an upstream are stored; `now` is the spool's clock.

        `number`: of the configuration by which events were routed; 0: they are routed again before they are sent.
        """
        self.number = number
        self._deliver = deliver
        self._spool = spool
        self._keeps = keeps
        self._now = now

    def deliver(self, load: Load, done: Done) -> None:
        """Deliver or store `load`, and call `done` with the status of each event."""
        keys = [key_of(load.upstream, each.order_key) if each.order_key else None for each in load.events]
        behind = [self._spool.order.arrive(key) for key in keys]
        pending = _Pending(load, keys, behind, done)
        live: list[int] = []
        first: list[int] = []
        for index, event in enumerate(load.events):
            (first if event.spool_first or behind[index] else live).append(index)
        pending.parts = (live != []) + (first != [])
        if live:
            self._send(pending, live)
        if first:
            self._keep(pending, first, {})

    def _send(self, pending: _Pending, indices: Sequence[int]) -> None:
        load = pending.load

        def ended(statuses: Sequence[EventStatus]) -> None:
            if not load.hasty and any(status.outcome is Outcome.DELIVERED for status in statuses):
                self._spool.taken(load.upstream)
            undelivered: dict[int, EventStatus] = {}
            for index, status in zip(indices, statuses, strict=True):
                if status.may_be_sent_again and self._keeps[load.upstream]:
                    undelivered[index] = status
                else:
                    self._settle(pending, index, status)
            if undelivered:
                self._keep(pending, list(undelivered), undelivered)
            else:
                pending.part_ended()

        self._deliver(msgspec.structs.replace(load, events=[load.events[index] for index in indices]), ended)

    def _keep(self, pending: _Pending, indices: Sequence[int], tried: Mapping[int, EventStatus]) -> None:
        """Store events; `tried` has the statuses of those that were sent and failed."""
        load = pending.load

        def stored(result: PutResult) -> None:
            if result.kept is Kept.STORED:
                for index in indices:
                    self._settle(pending, index, _kept(load.upstream))
                pending.part_ended()
                return
            live = [index for index in indices if index not in tried and not pending.behind[index]]
            for index in indices:
                if index not in live:
                    status = _lost(load.events[index], load.upstream, result, tried.get(index))
                    self._settle(pending, index, status)
            if live:  # send them as without a spool
                self._send(pending, live)
            else:
                pending.part_ended()

        now = self._now()  # not earlier: the clock may be set until the spool is open, and while nothing waits
        self._spool.store([pending.spooled(index, now, self.number, ahead=index in tried) for index in indices], stored)

    def _settle(self, pending: _Pending, index: int, status: EventStatus) -> None:
        if not pending.behind[index]:
            self._spool.order.settled(pending.keys[index])
        pending.statuses[index] = status

    async def send(self, upstream: str, spooled: Sequence[Spooled]) -> list[EventStatus]:
        """Send spooled events, in separate arrays by headers and never with live events; return their statuses."""
        statuses: dict[int, EventStatus] = {}
        alike: dict[tuple[bool, Headers], list[Outgoing]] = {}
        for index, each in enumerate(spooled):
            event = each.outgoing(index)
            alike.setdefault((each.hasty, must_share(each.headers, [event])), []).append(event)
        doubted = all(each.attempts for each in spooled)
        ended = [
            self._sent(Load(upstream, group, headers, hasty, alone=True, doubted=doubted), statuses)
            for (hasty, headers), events in alike.items()
            for group in _groups(events)
        ]
        await asyncio.gather(*ended)
        return [statuses[index] for index in range(len(spooled))]

    def _sent(self, load: Load, found: dict[int, EventStatus]) -> asyncio.Future[None]:
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def done(statuses: Sequence[EventStatus]) -> None:
            found.update(zip((event.index for event in load.events), statuses, strict=True))
            if not ended.done():
                ended.set_result(None)

        self._deliver(load, done)
        return ended


class _Pending:
    """A load until all its events have a status; one part may be sent, another stored."""

    def __init__(self, load: Load, keys: Sequence[Key | None], behind: Sequence[bool], done: Done) -> None:
        self.load = load
        self.keys = keys
        self.behind = behind
        """For each event, whether an earlier one with its key is not settled."""
        self.statuses: dict[int, EventStatus] = {}
        self.parts = 0
        """Parts in progress."""
        self._done = done

    def spooled(self, index: int, now: float, routed_by: int, *, ahead: bool) -> Spooled:
        """Convert an event for the spool; `ahead`: it was tried live before."""
        return Spooled.of(self.load.events[index], self.load, self.keys[index], now, ahead=ahead, routed_by=routed_by)

    def part_ended(self) -> None:
        """Record that all events of a part have a status."""
        self.parts -= 1
        if not self.parts:
            self._done([self.statuses[index] for index in range(len(self.load.events))])


def _groups(events: Sequence[Outgoing]) -> list[list[Outgoing]]:
    """Split events into arrays with unique ids; an event without its own id is sent alone.

    In a shared array nothing would tell which of them failed.
    """
    found = groups(events)
    return [part for group in found for part in ([group] if group[0].id is not None else [[event] for event in group])]


def _kept(upstream: str) -> EventStatus:
    return EventStatus("success", Outcome.SPOOLED, upstream=upstream)


def _lost(event: Outgoing, upstream: str, result: PutResult, tried: EventStatus | None) -> EventStatus:
    """Return the status of an event that could be neither sent nor stored, with the spool's problem."""
    if tried is None:
        why, endpoint = "an earlier event that it must not overtake is not delivered yet", ""
    else:
        why, endpoint = reason(tried), tried.endpoint
    status = failed(event.body, f"{why}, and the spool cannot take it: {result.reason}", unreachable=True)
    return msgspec.structs.replace(status, upstream=upstream, endpoint=endpoint, spool=result.kept.value)
