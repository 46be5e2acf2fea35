"""One request's way: bytes become events, each finds its upstream, the statuses become one answer."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from sidecar.batching import groups
from sidecar.coalescer import Coalescer
from sidecar.event import Event, Outgoing, decoded, parse
from sidecar.results import Answer, EventStatus, Outcome, merge, refused
from sidecar.routing import Router
from sidecar.telemetry import EventsEnded, Telemetry

MAX_BODY_BYTES = 10 * 1024 * 1024
"""What Wikimedia's EventGate takes (charts/eventgate, max_body_size: 10mb)."""


@dataclass(frozen=True, slots=True)
class Post:
    """A POST of a producer, read in full."""

    body: bytes
    content_type: str
    content_encoding: str
    hasty: bool
    headers: tuple[tuple[str, str], ...]
    """Those that are passed on to EventGate."""


class Intake:
    """Takes POSTs under one configuration."""

    def __init__(self, router: Router, coalescer: Coalescer, telemetry: Telemetry, new_id: Callable[[], str]) -> None:
        """`new_id` gives the `meta.id` of an event that has none."""
        self._router = router
        self._coalescer = coalescer
        self._telemetry = telemetry
        self._new_id = new_id

    async def take(self, post: Post) -> Answer:
        """Route and deliver every event of `post`; return the answer for its producer.

        Raises:
            RequestError: the body as a whole cannot be read as events.

        """
        events = parse(decoded(post.body, post.content_type, post.content_encoding, MAX_BODY_BYTES))
        statuses: list[EventStatus] = []
        leaving: dict[str, list[Outgoing]] = defaultdict(list)
        routes: dict[int, str] = {}
        for event in events:
            decision = self._router.decide(event)
            routes[event.index] = decision.route
            if decision.upstream is None:
                statuses.append(refused(event.index, event.raw, decision.refusal or "", decision.route))
            else:
                leaving[decision.upstream].append(self._outgoing(event, decision.stream))
        deliveries = [
            self._coalescer.deliver(upstream, group, post.headers, post.hasty)
            for upstream, outgoing in leaving.items()
            for group in groups(outgoing)
        ]
        # A task is made only where there is something to do side by side.
        together = [await deliveries[0]] if len(deliveries) == 1 else await asyncio.gather(*deliveries)
        for delivered in together:
            statuses += (msgspec.structs.replace(each, route=routes[each.index]) for each in delivered)
        self._count(events, statuses)
        return merge(statuses, post.hasty)

    def _outgoing(self, event: Event, stream: str | None) -> Outgoing:
        """Return the event as it leaves: under its new name, and with an id to know it again by."""
        new_id = self._new_id() if event.lacks_id else None
        body = event.raw if stream is None and new_id is None else event.with_stream_and_id(stream, new_id)
        return Outgoing(event.index, body, event.id or new_id, stream or event.stream or "", event.lacks_request_id)

    def _count(self, events: Sequence[Event], statuses: Sequence[EventStatus]) -> None:
        """Count events under the name they came with: that is what their producer looks for."""
        ended: dict[tuple[str, Outcome], list[EventStatus]] = defaultdict(list)
        for each in statuses:
            ended[events[each.index].stream or "", each.outcome].append(each)
        for (stream, outcome), alike in ended.items():
            reason = "" if outcome is Outcome.DELIVERED else _reason(alike[0])
            self._telemetry.emit(EventsEnded(stream, outcome, len(alike), reason))


class _Violation(msgspec.Struct):
    keyword: str = ""
    schema_path: str = msgspec.field(name="schemaPath", default="")
    message: str = ""

    def __str__(self) -> str:
        if self.keyword == "route":
            return self.message
        return self.schema_path if self.keyword == "propertyNames" else f"{self.schema_path} {self.message}"


class _Context(msgspec.Struct):
    message: str = ""
    errors: list[_Violation] = []


class _Described(msgspec.Struct):
    context: _Context


def _reason(status: EventStatus) -> str:
    """Return what was said of an event that was not accepted: EventGate's words or ours, never its content.

    Of a validation error that is the place in the schema; the place in the event is made of the event's keys.
    """
    try:
        context = msgspec.json.decode(status.described, type=_Described).context
    except (ValueError, RecursionError):
        return status.outcome
    return ", ".join(map(str, context.errors)) or context.message or status.outcome
