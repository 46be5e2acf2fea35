"""Hands over events from the spool of a pod that ends, or whose spool is nearly full, to the spool of a gateway.

An event is sent with its data: its original stream, its upstream, its headers, and what was tried. Times are sent as
ages, since clocks differ. The format is a line of JSON, which has the event's length, and then the event's bytes: so it
arrives unchanged, even if JSON parsers disagree about it.

The gateway uses the labels of the hand-over, or those that an event got in an earlier one, to route each event as its
pod would; the rest is as in any spool.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from typing import Annotated

import msgspec

from sidecar.errors import BodyTooLarge, MalformedBody, RequestError
from sidecar.eventgate.gateway import Ended, Gateway
from sidecar.events.event import parse
from sidecar.events.outgoing import LABELS, PASSED_ON, Headers
from sidecar.spool.file import DAMAGED_EVENT, SpoolFile
from sidecar.spool.policy import Routers, backoff, reroute
from sidecar.spool.record import Batch, Gone, Key, Spooled
from sidecar.spool.store import PutResult, Spool
from sidecar.telemetry.handovers import HandedOver, TakenOver
from sidecar.telemetry.telemetry import Telemetry

EVENTS, BYTES = 500, 1024 * 1024
"""In one hand-over; a single event may be larger."""
STEP = 8
"""A failure divides the number of events by this, a success multiplies it."""
MAX_EVENTS = 2 * EVENTS
"""Maximum accepted in one hand-over."""
EVENTS_AT_ONCE = 100
"""Read from a hand-over before other requests are served."""
MAX_FAILURES = 2
"""Failures of single events in a row that lengthen the pause; there is little time at the end."""
NEARLY_FULL = 0.8
"""The usage of the spool from which events are handed over while no endpoint takes them."""
LOOK_SECONDS = 1.0
HANDED_ON = frozenset({*PASSED_ON, LABELS})
"""Headers of an event that are accepted; they are written into requests."""
HEADER_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")

LookUp = Callable[[str], Awaitable[Sequence[str] | str]]
"""Returns the addresses of a host, or why there are none."""


_Count = Annotated[int, msgspec.Meta(ge=0, lt=2**31)]


class _Handed(msgspec.Struct):
    """The data of an event."""

    bytes: int
    upstream: str
    age: float
    came_as: str | None = None
    hasty: bool = False
    headers: Headers = ()
    attempts: _Count = 0
    errors: _Count = 0
    since_attempt: float | None = None
    last_error: str = ""


_decode = msgspec.json.Decoder(_Handed).decode


def packed(events: Sequence[Spooled], now: float) -> bytes:
    """Serialise events for a hand-over; `now` is the spool's time."""
    parts = []
    for each in events:
        since = None if each.last_attempt is None else now - each.last_attempt
        known = _Handed(
            len(each.body),
            each.upstream,
            now - each.first_seen,
            each.came_as,
            each.hasty,
            each.headers,
            each.attempts,
            each.errors,
            since,
            each.last_error,
        )
        parts += [msgspec.json.encode(known), b"\n", each.body]
    return b"".join(parts)


def unpacked(body: bytes, labels: str, now: float) -> Iterator[Spooled]:
    """Yield the events of a hand-over; `labels` are the sending pod's, for events without their own.

    Raises:
        MalformedBody: it is not a hand-over.

    """
    at = 0
    while at < len(body):
        end = body.find(b"\n", at)
        try:
            its = _decode(body[at:end])
        except (ValueError, RecursionError) as error:
            raise MalformedBody(f"not a hand-over: {error}") from None
        at = end + 1 + its.bytes
        if end < 0 or its.bytes < 2 or at > len(body):
            raise MalformedBody("the hand-over ends within an event")
        yield _spooled(its, body[end + 1 : at], labels, now)


def _spooled(its: _Handed, body: bytes, labels: str, now: float) -> Spooled:
    try:
        (event,) = parse(body)
    except (RequestError, ValueError):  # as in `policy.reroute`, which says so
        stream, id_, lacks = "", None, True
    else:
        stream, id_, lacks = event.stream or "", event.id, event.lacks_request_id
    headers = [each for each in its.headers if each[0] in HANDED_ON and HEADER_VALUE.fullmatch(each[1])]
    if not any(name == LABELS for name, _ in headers):
        headers.append((LABELS, labels))
    return Spooled(
        upstream=its.upstream,
        stream=stream,
        came_as=its.came_as,
        body=body,
        id=id_,
        lacks_request_id=lacks,
        hasty=its.hasty,
        headers=tuple(headers),
        first_seen=now - max(its.age, 0.0),
        attempts=its.attempts,
        errors=its.errors,
        last_attempt=None if its.since_attempt is None else now - max(its.since_attempt, 0.0),
        last_error=its.last_error[:1000],
    )


class TakeOver:
    """Takes hand-overs into the spool of a gateway."""

    def __init__(self, spool: Spool, telemetry: Telemetry) -> None:
        """Refuse hand-overs until `routers` is set."""
        self.routers: Routers | None = None
        """Routers of the configuration in force."""
        self.stopping = False
        self._spool = spool
        self._telemetry = telemetry

    def take(self, body: bytes, labels: str, done: Callable[[int, str], None]) -> Iterator[None]:
        """Store a hand-over as a whole, reading it in parts.

        `done` is called with the number of durable events, or the reason for none.

        Raises:
            RequestError: it is malformed, or too large.

        """
        found: list[Spooled] = []
        for each in unpacked(body, labels, self._spool.now()):
            found.append(self._routed(each))
            if len(found) > MAX_EVENTS:
                raise BodyTooLarge(f"a hand-over has at most {MAX_EVENTS} events")
            if len(found) % EVENTS_AT_ONCE == 0:
                yield
        if not found:
            raise MalformedBody("the hand-over has no events")
        if self.stopping or self.routers is None:
            done(0, "the gateway is stopping" if self.stopping else "the gateway is starting")
            return

        def stored(result: PutResult) -> None:
            done(0 if result.reason else len(found), result.reason)
            if not result.reason:
                self._telemetry.emit(TakenOver(labels, len(found)))
                for (origin, upstream), count in Counter((each.origin_words, each.upstream) for each in found).items():
                    self._telemetry.counts.take_over(origin, upstream, count)

        self._spool.store(found, stored)

    def _routed(self, event: Spooled) -> Spooled:
        """Route an event, which sets its order key; one without a route is later buried by `replay`."""
        if self.routers is None:
            return event
        routed = reroute(event, self.routers.of(event))
        return event if isinstance(routed, str) else routed


class HandOver:
    """Hands over the waiting events of a spool."""

    def __init__(
        self, spool: Spool, gateway: Gateway, look_up: LookUp, telemetry: Telemetry, jitter: Callable[[], float]
    ) -> None:
        """Prepare a hand-over without connecting."""
        self._spool = spool
        self._gateway = gateway
        self._look_up = look_up
        self._telemetry = telemetry
        self._jitter = jitter
        self._addresses: Sequence[str] = ()
        self._no_address = ""
        self._failures = 0
        self._most = EVENTS
        """In the next hand-over; fewer after a failure, since one event may be to blame."""
        self._skipped: frozenset[int] = frozenset()
        """Events that failed alone; others go first."""
        self.trouble = ""
        """Why the last hand-over failed; empty if it did not."""
        self._stopping = asyncio.Event()

    async def early(self, failing: Collection[str], hurry: Callable[[], bool]) -> None:
        """Until `stop`, hand over events while the spool is nearly full or `hurry` returns True.

        Only those of `failing` upstreams, which take nothing now, and without an order key: newer live ones could
        overtake them.
        """
        await self._resolve()  # early, before DNS may fail too
        while not self._stopping.is_set():
            handed = 0
            if hurry() or self._spool.state.totals.taken >= NEARLY_FULL:
                for upstream in sorted(failing):
                    handed += await self._hand_over(functools.partial(_loose, upstream))
            if not handed or self._failures:
                await self._pause(max(LOOK_SECONDS, self._backoff) if not handed else self._backoff)

    def stop(self) -> None:
        """Stop `early`."""
        self._stopping.set()

    async def rest(self) -> None:
        """Hand over all waiting events, the oldest first and each key in order; cancel it when time is up."""
        while await self._hand_over(functools.partial(_oldest, self._spool.now())):
            if self._failures:
                await asyncio.sleep(self._backoff)

    def close(self) -> None:
        """Close the connection."""
        self._gateway.close()

    @property
    def host(self) -> str:
        """The gateway's host."""
        return self._gateway.host

    @property
    def _backoff(self) -> float:
        return backoff(min(self._failures, MAX_FAILURES), self._jitter()) if self._failures else 0.0

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _hand_over(self, choose: Callable[[int, SpoolFile, frozenset[int], frozenset[Key]], Batch]) -> int:
        """Hand over the chosen events; return their number, taken or not."""
        most, skipped = self._most, self._skipped
        events = await self._spool.choose(lambda file, busy, held: choose(most, file, busy | skipped, held))
        if not events:
            self._skipped = frozenset()  # tried again now that there are no others
            return await self._hand_over(choose) if skipped else 0
        try:
            ended = await self._post(events)
            if not ended.reason:
                await self._spool.delivered(events)
        except BaseException:  # time is up; anything written may have been taken
            self._note(events, Ended("the time for it is up", doubtful=True))
            raise
        self._note(events, ended)
        return len(events)

    def _note(self, events: Sequence[Spooled], ended: Ended) -> None:
        result = "doubtful" if ended.doubtful else "refused" if ended.reason else "taken"
        # Without a pause while fewer may be taken: there is little time. The fewest are one, or two if an event goes
        # before an older one of its key.
        fewest = self._most == 1 or len(events) == 1
        self._failures = self._failures + 1 if ended.reason and fewest else 0
        self._most = max(1, len(events) // STEP) if ended.reason else min(self._most * STEP, EVENTS)
        self.trouble = ended.reason
        self._telemetry.emit(HandedOver(result, len(events), ended.reason))
        if ended.reason:
            self._spool.release(events)
            if fewest:
                self._skipped |= {events[0].arrival}

    async def _post(self, events: Sequence[Spooled]) -> Ended:
        await self._resolve()
        if not self._addresses:
            return Ended(self._no_address)
        ip = self._addresses[self._failures % len(self._addresses)]
        return await self._gateway.post(ip, packed(events, self._spool.now()), len(events))

    async def _resolve(self) -> None:
        """Look up the gateway; keep the known addresses if DNS fails."""
        if self._failures or not self._addresses:
            found = await self._look_up(self._gateway.host)
            if isinstance(found, str):
                self._no_address = found
            else:
                self._addresses = found


def _loose(upstream: str, most: int, file: SpoolFile, in_flight: frozenset[int], held_back: frozenset[Key]) -> Batch:
    """Return the oldest events for an upstream without an order key, due or not."""
    return file.hand_out(
        upstream, float("inf"), events=most, size=BYTES, in_flight=in_flight, held_back=held_back, keyed=False
    )


def _oldest(now: float, most: int, file: SpoolFile, in_flight: frozenset[int], _: frozenset[Key]) -> Batch:
    """Return the oldest waiting events, each key in order, and none of a key with an event in flight."""
    chosen: dict[int, Spooled] = {}
    damaged: list[Gone] = []
    barred: set[Key | None] = set()
    size = 0
    for event, sound in file.waiting():
        key, wanted = event.order_key, [(event, sound)]
        if event.arrival in chosen:
            continue
        if key is not None:
            ((first, _head), *_others) = file.first_two(key)
            if first != event.arrival and first not in chosen:
                wanted = [*file.waiting(first, first), *wanted]
        for each, its in wanted:
            if each.arrival in in_flight or key in barred:
                barred |= {key} - {None}
            elif not its:
                damaged += file.bury(each.arrival, DAMAGED_EVENT, b"", now)
            else:
                chosen[each.arrival] = each
                size += each.size
        if len(chosen) >= most or size >= BYTES:
            break
    return Batch(list(chosen.values()), damaged)
