"""What the spool holds: events that wait to be sent again, and dead letters, which are not sent any more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from sidecar.events.outgoing import Headers, Load, Outgoing


class Spooled(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the spool keeps it: what is sent, where to, its place in the order, and what was tried."""

    arrival: int = 0
    """Its number, which it keeps whatever fails: given by the transaction that stores it, and 0 before."""
    upstream: str
    stream: str
    """The name it is sent and counted under; empty where it has none."""
    came_as: str | None = None
    """The stream it came with, before a route renamed it; None where that is not known (versions 1 and 2)."""
    body: bytes
    """The bytes after rewriting."""
    id: str | None = None
    """Its `meta.id`; None where it has none of its own."""
    lacks_request_id: bool = True
    """Whether EventGate takes `meta.request_id` from the header."""
    hasty: bool = False
    headers: Headers = ()
    """Those that are passed on to EventGate."""
    order_key: int | None = None
    """Events with the same key (`ordering.key_of`) are sent one after the other, in the order of their numbers."""
    ahead: bool = False
    """It was tried live while later events with its key were stored, so it goes before all of them."""
    first_seen: float
    """When it was first put here, in seconds of the wall clock; so are all times here."""
    attempts: int = 0
    errors: int = 0
    """How often EventGate met an error with it while it took other events."""
    last_attempt: float | None = None
    last_error: str = ""
    due: float = 0.0
    """Not sent before this time: it met an error, and others go first."""

    @classmethod
    def of(cls, event: Outgoing, load: Load, order_key: int | None, first_seen: float, *, ahead: bool) -> Spooled:
        """Make it of an event of `load`."""
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
        )

    def outgoing(self, index: int) -> Outgoing:
        """Return it as an event on its way out, `index` being its place in the array."""
        return Outgoing(index, self.body, self.id, self.stream, self.lacks_request_id)

    @property
    def size(self) -> int:
        """How many bytes it takes in the file, about."""
        headers = sum([len(name) + len(value) + 6 for name, value in self.headers])
        names = len(self.upstream) + 2 * len(self.stream) + len(self.came_as or "") + len(self.id or "")
        return ROW_BYTES + len(self.body) + headers + names


def most_bytes(size: int, page: int) -> int:
    """Return how many bytes of pages an event of this size may take: no page is filled to the last byte."""
    return 2 * size if size < page // 2 else size + 2 * page


def as_json(event: Spooled) -> dict[str, Any]:
    """Return everything that is known of an event but its bytes, for JSON."""
    known = msgspec.to_builtins(event)
    del known["body"]
    known["headers"] = [list(pair) for pair in event.headers]
    return dict(known)


def line_of(event: Spooled, letter: DeadLetter | None = None) -> bytes:
    """Return an event as one line of JSON, its own bytes under `event`; `letter` adds why it is dead.

    In JSON a line break only ever stands between two words, never inside one, so a space means the same.
    """
    known = as_json(event)
    if letter is not None:
        known |= {"dead": letter.reason, "died": letter.died}
    body = event.body.decode(errors="replace").encode().replace(b"\r", b" ").replace(b"\n", b" ")
    return b'%b,"event":%b}\n' % (msgspec.json.encode(known)[:-1], body)


MAX_SET_BACK_SECONDS = 120.0
"""How long an event waits at most before it is tried again."""
ROW_BYTES = 256
"""What a row takes beside its texts: numbers, times, its entries in the indexes."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is not sent any more, and why; it is kept until someone sends it again or drops it."""

    event: Spooled
    reason: str
    """In words."""
    verdict: bytes = b""
    """What EventGate said of it, as JSON; empty where EventGate said nothing."""
    died: float


class Gone(NamedTuple):
    """An event that left those that wait."""

    arrival: int
    stream: str
    freed: int | None = None
    """Its key, where it was the last of it."""


class Batch(NamedTuple):
    """What `hand_out` found."""

    events: list[Spooled]
    damaged: list[Gone]


@dataclass(frozen=True, slots=True)
class Totals:
    """How much the spool holds."""

    events: int = 0
    """That wait."""
    size: int = 0
    """Their bytes."""
    dead: int = 0
    dead_size: int = 0
    oldest: float | None = None
    """When the first of those that wait was first seen."""
    upstreams: Mapping[str, int] = field(default_factory=dict)
    """Events that wait, by upstream."""
    streams: Mapping[str, int] = field(default_factory=dict)
    """Events that wait, by stream."""
    taken: float = 0.0
    """The share of the file, from 0 to 1, that no event can get: dead letters that would go first do not count."""


class Tally:
    """Counts what the spool holds, as it changes."""

    def __init__(self) -> None:
        """It holds nothing."""
        self.events = self.dead_size = 0
        self._size = self._dead = 0
        self._upstreams: Counter[str] = Counter()
        self._streams: Counter[str] = Counter()

    def waiting(self, upstream: str, stream: str, events: int, size: int) -> None:
        """Count events that wait; less than none where they are gone."""
        self.events += events
        self._size += size
        self._upstreams[upstream] += events
        self._streams[stream] += events

    def dead(self, letters: int, size: float) -> None:
        """Count dead letters."""
        self._dead += letters
        self.dead_size += int(size)

    def totals(self, oldest: float | None, taken: float) -> Totals:
        """Return all of it; `oldest` is when the first of those that wait was first seen; `taken`: see `Totals`."""
        upstreams, streams = +self._upstreams, +self._streams
        return Totals(self.events, self._size, self._dead, self.dead_size, oldest, upstreams, streams, taken)


@dataclass(frozen=True, slots=True)
class Quota:
    """How much the spool may hold, and for how long."""

    size: int = 256 * 1024 * 1024
    """Bytes of the file and its write-ahead log, dead letters, indexes and all."""
    age: float = 24 * 3600.0
    """Seconds; an event that waits for longer becomes a dead letter."""

    @property
    def journal(self) -> int:
        """How many bytes of `size` are for the write-ahead log."""
        return self.size // 16


DEAD_SHARE = 4
"""Where room is needed dead letters are dropped, the oldest first, but not of the last fourth of all room."""
