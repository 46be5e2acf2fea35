"""Concurrent POSTs leave together as one array, and each gets its own answer back.

EventGate takes an array almost as cheaply as one event. So a POST leaves at once where nothing is under way, and
otherwise waits for those that come meanwhile, `linger` at most. An array that is refused as a whole is halved
until the one at fault stands alone: a bad event never costs its neighbours anything.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from sidecar.batching import Headers, Rider, Room, common_headers, must_share
from sidecar.config import Coalesce
from sidecar.delivery import MIN_ATTEMPT_SECONDS, Delivery, Undelivered
from sidecar.event import Outgoing
from sidecar.results import EventStatus
from sidecar.retry import FailureClass

HALVED = frozenset({FailureClass.REFUSED, FailureClass.INFRASTRUCTURE})
"""Failures that one event may cause for all that travel with it."""

_Key = tuple[str, bool, Headers]


@dataclass(eq=False)
class _Caller(Rider):
    """A rider, and where its answer goes."""

    answer: asyncio.Future[list[EventStatus]]


class Coalescer:
    """Lets the events of many requests travel together; `intake` sends through it."""

    def __init__(
        self, delivery: Delivery, limits: Mapping[str, Coalesce], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`limits` are those of each upstream."""
        self._delivery = delivery
        self._limits = limits
        self._clock = clock
        self._rooms: dict[_Key, Room[_Caller]] = {}
        self._alarms: dict[_Key, asyncio.TimerHandle] = {}
        """One for each room where somebody waits; it may ring early, which costs nothing."""
        self._tasks: asyncio.TaskGroup | None = None

    def start(self, tasks: asyncio.TaskGroup) -> None:
        """Let batches travel in `tasks` from now on."""
        self._tasks = tasks

    async def deliver(
        self, upstream: str, events: Sequence[Outgoing], headers: Headers, hasty: bool
    ) -> list[EventStatus]:
        """Return the status of each of `events`, in their order, as if they had been sent alone."""
        if events[0].id is None or self._tasks is None:
            return await self._send(upstream, events, headers, hasty)
        key = (upstream, hasty, must_share(headers, events))
        room = self._rooms.get(key)
        if room is None:
            room = self._rooms[key] = Room(self._limits[upstream])
        caller = _Caller(events, headers, self._clock(), asyncio.get_running_loop().create_future())
        room.enter(caller)
        self._depart(key, room)
        return await caller.answer

    def _depart(self, key: _Key, room: Room[_Caller]) -> None:
        """Let all leave whose time it is, and come back when it is the next one's."""
        now = self._clock()
        while batch := room.board(now):
            if self._tasks is None:
                self._come_back(room, batch)
            else:
                self._tasks.create_task(self._travel(key, room, batch))
        departure = room.next_departure
        if departure is not None and key not in self._alarms:
            seconds = max(departure - now, 0.0)
            self._alarms[key] = asyncio.get_running_loop().call_later(seconds, self._ring, key)
        elif room.empty and self._rooms.get(key) is room:
            del self._rooms[key]

    def _ring(self, key: _Key) -> None:
        """Wake whoever waits now; the room that the alarm was for may have been left, and another opened."""
        self._alarms.pop(key, None)
        room = self._rooms.get(key)
        if room is not None:
            self._depart(key, room)

    def _come_back(self, room: Room[_Caller], batch: list[_Caller]) -> None:
        """Let nobody of `batch` wait any longer, answered or not."""
        for caller in batch:
            caller.answer.cancel()
        room.under_way -= 1

    async def _travel(self, key: _Key, room: Room[_Caller], batch: list[_Caller]) -> None:
        upstream, hasty, _ = key
        events = [event for caller in batch for event in caller.events]
        try:
            statuses = await self._send(upstream, events, common_headers(batch), hasty)
            start = 0
            for caller in batch:
                end = start + len(caller.events)
                if not caller.answer.done():
                    caller.answer.set_result(statuses[start:end])
                start = end
        except asyncio.CancelledError:
            self._tasks = None  # only its end cancels a batch, and then no other can leave
            raise
        except Exception as error:  # noqa: BLE001  a bug of ours must not end the task group, and with it everything
            for caller in batch:
                if not caller.answer.done():
                    caller.answer.set_exception(error)
        finally:
            self._come_back(room, batch)
            self._depart(key, room)

    async def _send(
        self,
        upstream: str,
        events: Sequence[Outgoing],
        headers: Headers,
        hasty: bool,
        give_up: float | None = None,
    ) -> list[EventStatus]:
        """Send `events` as one array, or in halves where they are refused together and there is time."""
        result = await self._delivery.deliver(upstream, events, headers, hasty, give_up)
        if not isinstance(result, Undelivered):
            return result
        in_time = self._clock() + MIN_ATTEMPT_SECONDS < result.give_up
        if len(events) == 1 or result.failure not in HALVED or events[0].id is None or not in_time:
            return [result.status_of(event) for event in events]
        middle = len(events) // 2
        first, second = await asyncio.gather(
            self._send(upstream, events[:middle], headers, hasty, result.give_up),
            self._send(upstream, events[middle:], headers, hasty, result.give_up),
        )
        return first + second
