"""What the spool holds: events that wait to be sent again, and dead letters, which are not sent any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from sidecar.events.outgoing import Headers, Load, Outgoing


class Spooled(msgspec.Struct, frozen=True, kw_only=True):
    """An event as the spool keeps it: what is sent, where to, its place in the order, and what was tried."""

    arrival: int
    """Its place in the order in which events were first taken; it keeps that place whatever fails."""
    upstream: str
    stream: str
    """The name it is sent and counted under; empty where it has none."""
    body: bytes
    """The bytes after rewriting."""
    id: str | None = None
    """Its `meta.id`; None where it has none of its own."""
    lacks_request_id: bool = True
    """Whether EventGate takes `meta.request_id` from the header."""
    hasty: bool = False
    headers: Headers = ()
    """Those that are passed on to EventGate."""
    order_key: str | None = None
    """Events of an upstream with the same key are sent one after the other, in the order of their arrival."""
    first_seen: float
    """When its producer sent it, in seconds of the wall clock; so are all times here."""
    attempts: int = 0
    errors: int = 0
    """How often EventGate met an error with it while it took other events."""
    last_attempt: float | None = None
    last_error: str = ""
    due: float = 0.0
    """Not sent before this time: it met an error, and others go first."""

    @classmethod
    def of(cls, event: Outgoing, load: Load, *, arrival: int, first_seen: float) -> Spooled:
        """Make it of an event of `load`."""
        return cls(
            arrival=arrival,
            upstream=load.upstream,
            stream=event.stream,
            body=event.body,
            id=event.id,
            lacks_request_id=event.lacks_request_id,
            hasty=load.hasty,
            headers=load.headers,
            order_key=event.order_key,
            first_seen=first_seen,
        )

    def outgoing(self, index: int) -> Outgoing:
        """Return it as an event on its way out, `index` being its place in the array."""
        return Outgoing(index, self.body, self.id, self.stream, self.lacks_request_id)

    @property
    def size(self) -> int:
        """How many bytes of the spool's limit it takes."""
        return size_of(self.body, self.headers)


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


ROW_BYTES = 256
"""What a row takes beside body and headers: names, times, its entries in the indices."""


def size_of(body: bytes, headers: Headers) -> int:
    """Return the bytes of the spool's limit that an event takes."""
    return ROW_BYTES + len(body) + sum(len(name) + len(value) for name, value in headers)


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is not sent any more, and why; it is kept until someone sends it again or drops it."""

    event: Spooled
    reason: str
    """In words."""
    verdict: bytes = b""
    """What EventGate said of it, as JSON; empty where EventGate said nothing."""
    died: float


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


@dataclass(frozen=True, slots=True)
class Quota:
    """How much the spool may hold, and for how long."""

    size: int = 256 * 1024 * 1024
    """Bytes of events, dead letters too."""
    age: float = 24 * 3600.0
    """Seconds; an event that waits for longer becomes a dead letter."""


DEAD_SHARE = 4
"""Where room is needed dead letters are dropped, the oldest first, but not of the last fourth of all room."""
