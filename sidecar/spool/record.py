"""The spool's contents: waiting events, and dead letters, which are no longer sent."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import msgspec

from sidecar.events.outgoing import LABELS, Headers, Load, Outgoing

Key = int
"""A hash of upstream and order key, see `key_of`."""


def key_of(upstream: str, order_key: str) -> Key:
    """Hash an order key of an upstream to 63 bits."""
    digest = hashlib.blake2b(f"{upstream}\0{order_key}".encode(errors="replace"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


class Spooled(msgspec.Struct, frozen=True, kw_only=True):
    """An event in the spool: what to send where, its place in the order, and what was tried."""

    arrival: int = 0
    """Its number, which never changes; assigned by the transaction that stores it, 0 before."""
    upstream: str
    stream: str
    """The name it is sent and counted under; empty if it has none."""
    came_as: str | None = None
    """The stream it came with, before a route renamed it; None if unknown (versions 1 and 2)."""
    body: bytes
    """The bytes after rewriting."""
    id: str | None = None
    """Its `meta.id`; None if it has none, or shares it."""
    lacks_request_id: bool = True
    """Whether EventGate takes `meta.request_id` from the header."""
    hasty: bool = False
    headers: Headers = ()
    """Passed on to EventGate, except `LABELS` of an event that was handed over."""
    order_key: Key | None = None
    """Events with the same key are sent one after the other, by number."""
    ahead: bool = False
    """It was tried live while later events with its key were stored, so it goes before them."""
    first_seen: float
    """When it was first stored, in seconds of the spool's clock, as all times here."""
    attempts: int = 0
    errors: int = 0
    """How often EventGate returned an error for it while it took other events."""
    last_attempt: float | None = None
    last_error: str = ""
    due: float = 0.0
    """Not sent before this time, after a failure."""
    routed_by: int = 0
    """The number of the configuration that routed it; 0 if unknown, since it is not written to the file."""

    @classmethod
    def of(
        cls, event: Outgoing, load: Load, order_key: int | None, first_seen: float, *, ahead: bool, routed_by: int
    ) -> Spooled:
        """Convert an event of `load`."""
        return cls(
            upstream=load.upstream,
            stream=event.stream,
            came_as=event.stream if event.came_as is None else event.came_as,
            body=event.body,
            id=event.id,
            lacks_request_id=event.lacks_request_id,
            hasty=load.hasty,
            headers=load.headers,
            order_key=order_key,
            ahead=ahead,
            first_seen=first_seen,
            routed_by=routed_by,
        )

    def outgoing(self, index: int) -> Outgoing:
        """Convert it for sending; `index` is its place in the array."""
        return Outgoing(index, self.body, self.id, self.stream, self.lacks_request_id)

    @property
    def origin(self) -> dict[str, str] | None:
        """The labels of the pod that handed it over; None if it came from its producer."""
        said = next((value for name, value in self.headers if name == LABELS), None)
        return None if said is None else dict(parse_qsl(said))

    @property
    def origin_words(self) -> str:
        """The labels as text; empty if there are none."""
        return ",".join(f"{name}={value}" for name, value in (self.origin or {}).items())

    @property
    def size(self) -> int:
        """Its approximate size in the file, in bytes."""
        headers = sum([len(name) + len(value) + 6 for name, value in self.headers])
        names = len(self.upstream) + 2 * len(self.stream) + len(self.came_as or "") + len(self.id or "")
        return ROW_BYTES + len(self.body) + headers + names


class Fresh:
    """A cache of the events stored last, by number, which are sent without being read back."""

    def __init__(self) -> None:
        """Start empty."""
        self._events: dict[int, Spooled] = {}
        self._room = FRESH_BYTES

    def add(self, arrival: int, event: Spooled) -> None:
        """Add an event; drop the oldest ones if there is no room."""
        self._events[arrival] = event
        self._room -= len(event.body)
        while self._room < 0:
            self.take(next(iter(self._events)))

    def take(self, arrival: int) -> Spooled | None:
        """Remove an event and return it; None if it is not here."""
        event = self._events.pop(arrival, None)
        if event is None:
            return None
        self._room += len(event.body)
        return msgspec.structs.replace(event, arrival=arrival)


def most_bytes(size: int, page: int) -> int:
    """Return the maximum bytes of pages for an event of this size, since pages are never quite full."""
    return 2 * size if size < page // 2 else size + 2 * page


def as_json(event: Spooled) -> dict[str, Any]:
    """Return all fields of an event that are in the file but its bytes, for JSON."""
    known = msgspec.to_builtins(event)
    del known["body"], known["routed_by"]
    known["headers"] = [list(pair) for pair in event.headers]
    known |= {"origin": event.origin_words} if event.origin_words else {}
    return dict(known)


def line_of(event: Spooled, letter: DeadLetter | None = None) -> bytes:
    """Format an event as one line of JSON, its own bytes under `event`; `letter` adds why it is dead.

    Line breaks in its bytes become spaces: in JSON they only occur between tokens.
    """
    known = as_json(event)
    if letter is not None:
        known |= {"dead": letter.reason, "died": letter.died}
    body = event.body.decode(errors="replace").encode().replace(b"\r", b" ").replace(b"\n", b" ")
    return b'%b,"event":%b}\n' % (msgspec.json.encode(known)[:-1], body)


MAX_SET_BACK_SECONDS = 120.0
"""Maximum delay before a failed event is tried again."""
FRESH_BYTES = 1024 * 1024
"""Maximum bytes of the bodies in `Fresh`."""
ROW_BYTES = 256
"""Size of a row besides its texts: numbers, times, index entries."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is no longer sent, and why; it is kept until an operator retries or drops it."""

    event: Spooled
    reason: str
    """In words."""
    verdict: bytes = b""
    """EventGate's answer, as JSON; empty if there was none."""
    died: float


class Gone(NamedTuple):
    """An event that is no longer waiting."""

    arrival: int
    stream: str
    freed: int | None = None
    """Its key, if no other event with that key waits."""


class Batch(NamedTuple):
    """The result of `hand_out`."""

    events: list[Spooled]
    damaged: list[Gone]


@dataclass(frozen=True, slots=True)
class Totals:
    """Counts of the spool's contents."""

    events: int = 0
    """Waiting events."""
    size: int = 0
    """Their bytes."""
    dead: int = 0
    dead_size: int = 0
    oldest: float | None = None
    """When the oldest waiting event was first seen."""
    upstreams: Mapping[str, int] = field(default_factory=dict)
    """Waiting events, by upstream."""
    streams: Mapping[str, int] = field(default_factory=dict)
    """Waiting events, by stream."""
    taken: float = 0.0
    """The share of the file, from 0 to 1, that is in use, without dead letters that would be dropped first."""
    dropped: int = 0
    """Dead letters dropped to make room since the totals before these."""
    withheld: int = 0
    """Bytes of `Quota.size` for which the disk has no room."""


class Tally:
    """Keeps the counts of `Totals` up to date."""

    def __init__(self) -> None:
        """Start at zero."""
        self.events = self.dead_size = self.dropped = 0
        self._size = self._dead = 0
        self._upstreams: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()

    def waiting(self, upstream: str, stream: str, events: int, size: int) -> None:
        """Add waiting events; negative numbers remove them."""
        self.events += events
        self._size += size
        self._upstreams[upstream] += events
        self._streams[stream] += events

    def dead(self, letters: int, size: float) -> None:
        """Add dead letters; negative numbers remove them."""
        self._dead += letters
        self.dead_size += int(size)

    def totals(self, oldest: float | None, taken: float, withheld: int) -> Totals:
        """Return the totals; for the arguments see `Totals`."""
        dropped, self.dropped = self.dropped, 0
        upstreams, streams = +self._upstreams, +self._streams
        sizes = self.events, self._size, self._dead, self.dead_size
        return Totals(*sizes, oldest, upstreams, streams, taken, dropped, withheld)


@dataclass(frozen=True, slots=True)
class Quota:
    """Limits of the spool's size and age."""

    size: int = 256 * 1024 * 1024
    """Bytes of the file and its write-ahead log, including dead letters and indexes."""
    age: float = 24 * 3600.0
    """Seconds; an event that waits longer becomes a dead letter."""

    @property
    def journal(self) -> int:
        """Bytes of `size` for the write-ahead log."""
        return self.size // 16


DEAD_SHARE = 4
"""Dead letters are dropped to make room, the oldest first, until they take only a quarter of the space."""


@dataclass(frozen=True, slots=True)
class SpoolState:
    """The state of the spool, for the status page."""

    directory: str
    trouble: str
    """Why it cannot be used; empty if it can."""
    totals: Totals
    limits: Quota
    oldest_seconds: float
    """Age of the oldest waiting event."""
    in_flight: int
    """Its events being sent."""
    full: bool = False
    """Whether there was no room for the last event, and none has become free."""
    gateway: str = ""
    """Host of the gateway for hand-overs; empty: there is none."""
    gateway_trouble: str = ""
    """Why the last hand-over failed; empty if it did not."""

    @property
    def max_bytes(self) -> int:
        """How much of the disk the spool may take now."""
        return max(0, self.limits.size - self.totals.withheld)
