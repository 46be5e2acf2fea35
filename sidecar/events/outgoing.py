"""What leaves, and how it is handed over: an event on its way out, a load of them, and who delivers it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from sidecar.events.results import EventStatus

Headers = tuple[tuple[str, str], ...]
"""Headers of a producer that are passed on to EventGate; names in lower case."""


class Outgoing(msgspec.Struct, frozen=True):
    """An event on its way out: its bytes after rewriting and the id it is found again by."""

    index: int
    body: bytes
    id: str | None
    """None: it has none, or shares it with another event of its request; see `batching`."""
    stream: str
    """The name it is counted under; empty where it has none."""
    lacks_request_id: bool = True
    """Whether EventGate takes `meta.request_id` from the header."""
    order_key: str | None = None
    """Events of an upstream with the same key never overtake each other; None: in any order."""
    spool_first: bool = False
    """Whether its producer is answered as soon as it is in the spool."""
    came_as: str | None = None
    """The stream it came with, where a route renamed it; None where none did."""


class Load(msgspec.Struct, frozen=True):
    """Events that leave together for one upstream."""

    upstream: str
    events: Sequence[Outgoing]
    """At least one."""
    headers: Headers = ()
    hasty: bool = False
    """Whether the producer asked EventGate not to wait for Kafka."""
    alone: bool = False
    """Whether they must not travel with other loads: they come from the spool."""
    doubted: bool = False
    """Whether they failed before, so that another failure says nothing about an address."""


Done = Callable[[Sequence[EventStatus]], None]
"""Is told the status of each event of a load, in their order, once; must not raise."""
Deliver = Callable[[Load, Done], None]
"""Delivers a load."""
