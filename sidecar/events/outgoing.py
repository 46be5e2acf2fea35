"""Events on their way out, and the interface through which they are delivered."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from sidecar.events.results import EventStatus

Headers = tuple[tuple[str, str], ...]
"""A producer's headers that are passed on to EventGate; names in lower case."""
PASSED_ON = ("x-request-id", "traceparent", "tracestate", "user-agent")
"""Their names; EventGate fills `meta.request_id` from the first."""
HAND_OVER = "application/vnd.eventgate-sidecar.spool"
"""The content type of a hand-over, of events from a spool to a gateway; EventGate takes it for an empty body."""
LABELS = "x-eventgate-sidecar-labels"
"""The header that says, as a query, the labels of the pod whose spool it was."""


class Copy(msgspec.Struct, frozen=True):
    """What a route's `mirror` says of an event."""

    route: str
    upstream: str
    stream: str
    """The name that the copy has there."""
    percent: int
    """The share of events that are copied."""
    refusal: str | None = None
    """Why there is no copy; None where there is one."""


class Outgoing(msgspec.Struct, frozen=True):
    """An event on its way out: its bytes after rewriting, and the id that matches it with its status."""

    index: int
    body: bytes
    id: str | None
    """None if it has none, or shares it with another event of its request; see `batching`."""
    stream: str
    """The name it is counted under; empty if it has none."""
    lacks_request_id: bool = True
    """Whether EventGate takes `meta.request_id` from the header."""
    order_key: str | None = None
    """Events of an upstream with the same key keep their order; None: any order."""
    spool_first: bool = False
    """Whether its producer is answered as soon as it is in the spool."""
    came_as: str | None = None
    """The stream before a route renamed it; None if none did."""
    copy: Copy | None = None
    """What is sent to another upstream once it is accepted; see `delivery.mirror`."""


class Load(msgspec.Struct, frozen=True):
    """Events that leave together for one upstream."""

    upstream: str
    events: Sequence[Outgoing]
    """At least one."""
    headers: Headers = ()
    hasty: bool = False
    """Whether the producer asked EventGate not to wait for Kafka."""
    alone: bool = False
    """Whether they must not be batched with other loads: they come from the spool."""
    doubted: bool = False
    """Whether they failed before, so that another failure says nothing about the address."""


Done = Callable[[Sequence[EventStatus]], None]
"""Called once with the status of each event of a load, in order; must not raise."""
Deliver = Callable[[Load, Done], None]
"""Delivers a load, then calls `Done`."""
