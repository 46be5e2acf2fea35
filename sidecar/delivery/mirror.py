"""Sends copies of events to another upstream, as a route's `mirror` says.

A copy is made when EventGate or the spool has accepted the event. Answers neither wait for copies nor mention them, and
copies are never spooled. A copy is sent once; if there is no room, or its upstream does not take it, it is lost and
counted.
"""

from __future__ import annotations

import asyncio
import functools
import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec

from sidecar.delivery.batching import must_share
from sidecar.events.event import parse
from sidecar.events.outgoing import Copy, Deliver, Done, Headers, Load, Outgoing
from sidecar.events.results import EventStatus, context_of
from sidecar.routes.language.config import Coalesce
from sidecar.telemetry.contained import unexpected
from sidecar.telemetry.happenings import Happening, Mirrored

MAX_COPIES = 1000
"""Copies waiting or in flight, for all upstreams together."""
MAX_COPIED_BYTES = 4 * 1024 * 1024
"""Their bytes."""
MAX_POSTS_OF_COPIES = 4
"""Arrays in flight to one upstream, which limits the connections that can hang."""


CopyResult = Literal["sent", "failed", "full", "refused", "stopped"]
"""The result of a copy: its upstream took it or not, or it was not sent, for one of three reasons."""


_Ends = Counter[tuple[str, str, CopyResult, str]]
"""Numbers of copies by route, upstream, result and reason."""


class _Waiting(msgspec.Struct, eq=False):
    """A waiting copy."""

    copy: Copy
    event: Outgoing
    headers: Headers


class Mirroring:
    """The stage between `intake` and delivery, if a route of this pod has a mirror."""

    def __init__(
        self, deliver: Deliver, send: Deliver, limits: Mapping[str, Coalesce], emit: Callable[[Happening], None]
    ) -> None:
        """`deliver` takes the events, `send` the copies (a coalescer's). `limits` are per upstream."""
        self._deliver = deliver
        self._send = send
        self._limits = limits
        self._emit = emit
        self._queues: defaultdict[str, deque[_Waiting]] = defaultdict(deque)
        self._departing: set[str] = set()
        """Upstreams whose queues are checked in the next turn of the loop."""
        self._posts: Counter[str] = Counter()
        """Arrays in flight, by upstream."""
        self._outstanding: Counter[tuple[str, str]] = Counter()
        """Copies waiting or in flight, by route and upstream."""
        self._copies = self._bytes = 0
        self._ended = False

    def deliver(self, load: Load, done: Done) -> None:
        """Deliver `load`, and copy accepted events after `done` was called."""
        if any(event.copy is not None for event in load.events):
            done = functools.partial(self._answered, load, done)
        self._deliver(load, done)

    def end(self) -> None:
        """Send no more copies. Those waiting or in flight count as stopped."""
        self._ended = True
        self._queues.clear()
        self._count(Counter({(*of, "stopped", ""): count for of, count in self._outstanding.items()}))

    def _answered(self, load: Load, done: Done, statuses: Sequence[EventStatus]) -> None:
        done(statuses)
        ends: _Ends = Counter()
        try:
            for event, status in zip(load.events, statuses, strict=True):
                copy = event.copy
                if copy is not None and status.status == "success" and is_chosen(event, copy.percent):
                    why_not = self._take(event, copy, load.headers)
                    if why_not is not None:
                        ends[copy.route, copy.upstream, *why_not] += 1
        except Exception as error:  # noqa: BLE001  a bug must only cost copies
            self._emit(unexpected("mirror", error))
        self._count(ends)

    def _take(self, event: Outgoing, copy: Copy, headers: Headers) -> tuple[CopyResult, str] | None:
        """Queue a copy; return the result and the reason if it cannot be queued."""
        if copy.refusal is not None:
            return "refused", copy.refusal
        if self._ended:
            return "stopped", ""
        waiting = None
        if self._copies < MAX_COPIES:
            waiting = _Waiting(copy, _copied(event, copy), must_share(headers, [event]))
        if waiting is None or self._bytes + len(waiting.event.body) > MAX_COPIED_BYTES:
            return "full", "too many copies, or too large ones, wait already"
        self._hold(waiting, 1)
        self._queues[copy.upstream].append(waiting)
        self._depart_soon(copy.upstream)
        return None

    def _hold(self, each: _Waiting, sign: int) -> None:
        self._copies += sign
        self._bytes += sign * len(each.event.body)
        self._outstanding[each.copy.route, each.copy.upstream] += sign

    def _depart_soon(self, upstream: str) -> None:
        if upstream not in self._departing:
            self._departing.add(upstream)
            asyncio.get_running_loop().call_soon(self._depart, upstream)

    def _depart(self, upstream: str) -> None:
        self._departing.discard(upstream)
        queue = self._queues[upstream]
        while queue and self._posts[upstream] < MAX_POSTS_OF_COPIES:
            batch = _board(queue, self._limits[upstream])
            self._posts[upstream] += 1
            load = Load(upstream, [each.event for each in batch], batch[0].headers, alone=True)
            self._send(load, functools.partial(self._arrived, upstream, batch))

    def _arrived(self, upstream: str, batch: Sequence[_Waiting], statuses: Sequence[EventStatus]) -> None:
        self._posts[upstream] -= 1
        if self._ended:
            return
        self._depart_soon(upstream)
        ends: _Ends = Counter()
        for each, status in zip(batch, statuses, strict=True):
            self._hold(each, -1)
            taken = status.status == "success"
            reason = "" if taken else _reason(status)
            ends[each.copy.route, upstream, "sent" if taken else "failed", reason] += 1
        self._count(ends)

    def _count(self, ends: _Ends) -> None:
        for (route, upstream, result, reason), count in ends.items():
            if count:
                self._emit(Mirrored(route, upstream, result, count, reason))


class _Said(msgspec.Struct):
    message: str = ""


def _reason(status: EventStatus) -> str:
    """Return why a copy was not taken, without any of its content."""
    said = context_of(status, _Said)
    return (said and said.message) or f"{status.status} at {status.endpoint}"


def is_chosen(event: Outgoing, percent: int) -> bool:
    """Whether an event belongs to this share, decided by its id; a larger share includes a smaller one."""
    key = event.body if event.id is None else event.id.encode("utf-8", "surrogatepass")
    return percent >= 100 or zlib.crc32(key) % 100 < percent


def _copied(event: Outgoing, copy: Copy) -> Outgoing:
    body = event.body
    if copy.stream != event.stream:
        body = parse(body)[0].with_stream_and_id(copy.stream, None)
    return msgspec.structs.replace(event, body=body, stream=copy.stream)


def _board(queue: deque[_Waiting], limits: Coalesce) -> list[_Waiting]:
    """Take copies from the queue that may share an array: same headers, unique ids."""
    batch = [queue.popleft()]
    ids, size = {batch[0].event.id}, len(batch[0].event.body)
    while queue and len(batch) < limits.max_events:
        id_, headers, size = queue[0].event.id, queue[0].headers, size + len(queue[0].event.body)
        if size > limits.max_bytes or headers != batch[0].headers or id_ in ids or None in (id_, batch[0].event.id):
            break
        ids.add(id_)
        batch.append(queue.popleft())
    return batch
