"""Takes a request: splits it into events, routes and delivers each, and merges their statuses into one answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from sidecar.delivery.batching import groups
from sidecar.events.event import Event, parse
from sidecar.events.outgoing import Deliver, Done, Headers, Load, Outgoing
from sidecar.events.results import EventStatus, Outcome, context_of, refused
from sidecar.intake.answer import Answer, merge
from sidecar.routes.routing import Decision, Router
from sidecar.telemetry.happenings import EventsEnded, Happening

if TYPE_CHECKING:
    from sidecar.intake.tap import Tap


EVENTS_AT_ONCE = 1000
"""Events of a request handled in one turn of the loop; each takes some 20 microseconds."""


class Post(msgspec.Struct, frozen=True):
    """A producer's complete POST."""

    body: bytes
    """The output of `body.decoded`."""
    hasty: bool
    headers: Headers
    """Passed on to EventGate."""


OnAnswer = Callable[[Answer], None]
"""Takes the answer to a POST."""


class Intake:
    """Takes POSTs under one configuration."""

    def __init__(
        self,
        router: Router,
        deliver: Deliver,
        new_id: Callable[[], str],
        tap: Tap | None = None,
    ) -> None:
        """`deliver` is a coalescer's, or that of `keeping` before it; `new_id` returns an id for events without one."""
        self._router = router
        self._deliver = deliver
        self._new_id = new_id
        self._tap = tap

    def take(self, post: Post, on_answer: OnAnswer, emit: Callable[[Happening], None]) -> Iterator[None] | None:
        """Route and deliver all events of `post`; `on_answer` is called once with the answer.

        Afterwards `emit` is called with the outcomes of the events.

        There is no coroutine and no task. If there are many events, they are only parsed here: the returned iterator
        routes and delivers them in parts, so that other requests can be served in between.

        Raises:
            RequestError: the body cannot be read as events; `on_answer` is not called. The iterator may raise it too.

        """
        events = parse(post.body)
        if len(events) == 1 and not (self._tap is not None and self._tap.listening):
            self._take_lone(events[0], post, on_answer, emit)
            return None
        request = _Request(events, post.hasty, on_answer, emit, [None] * len(events))
        leaving: dict[str, list[Outgoing]] = {}
        if len(events) > EVENTS_AT_ONCE:
            return self._in_parts(post, request, leaving)
        self._route(events, request, leaving)
        self._leave(post, request, leaving)
        return None

    def _take_lone(self, event: Event, post: Post, on_answer: OnAnswer, emit: Callable[[Happening], None]) -> None:
        """Do the same for the one event of nearly every request: there is nothing to split, and nothing to gather."""
        decision = self._router.decide(event)

        def done(statuses: Sequence[EventStatus]) -> None:
            on_answer(merge(statuses, (decision.route,), post.hasty))
            _tell(emit, event, statuses[0], 1, decision.route)

        if decision.upstream is None:
            done([refused(event.raw, decision.refusal or "", decision.route)])
        else:
            self._deliver(Load(decision.upstream, [self._outgoing(event, decision)], post.headers, post.hasty), done)

    def _in_parts(self, post: Post, request: _Request, leaving: dict[str, list[Outgoing]]) -> Iterator[None]:
        for first in range(0, len(request.events), EVENTS_AT_ONCE):
            yield
            self._route(request.events[first : first + EVENTS_AT_ONCE], request, leaving)
        yield
        self._leave(post, request, leaving)

    def _route(self, events: Sequence[Event], request: _Request, leaving: dict[str, list[Outgoing]]) -> None:
        for event in events:
            decision = self._router.decide(event)
            request.routes.append(decision.route)
            if decision.upstream is None:
                request.refuse(event, decision)
            else:
                leaving.setdefault(decision.upstream, []).append(self._outgoing(event, decision))

    def _leave(self, post: Post, request: _Request, leaving: dict[str, list[Outgoing]]) -> None:
        parts = [(upstream, group) for upstream, outgoing in leaving.items() for group in groups(outgoing)]
        request.awaited = len(parts)
        if self._tap is not None and self._tap.listening:
            request.show(self._tap, [event for _, group in parts for event in group])
        for upstream, group in parts:
            self._deliver(Load(upstream, group, post.headers, post.hasty), request.part(group))
        if not parts:
            request.end()

    def _outgoing(self, event: Event, decision: Decision) -> Outgoing:
        """Return the event as it is sent: renamed, and with an id."""
        stream = decision.stream
        name = stream or event.stream or ""
        new_id = self._new_id() if event.lacks_id else None
        body = event.raw if stream is None and new_id is None else event.with_stream_and_id(stream, new_id)
        return Outgoing(
            event.index,
            body,
            event.id or new_id,
            name,
            event.lacks_request_id,
            event.order_key(name, decision.order_by) if decision.order_by else None,
            decision.spool_first,
            None if stream is None else event.stream,
            decision.copy,
        )


class _Request(msgspec.Struct, eq=False):
    """The events of one POST until all have a status."""

    events: Sequence[Event]
    hasty: bool
    on_answer: OnAnswer
    emit: Callable[[Happening], None]
    statuses: list[EventStatus | None]
    routes: list[str] = []
    """The route of each event that was routed so far."""
    awaited: int = 0
    """Deliveries in progress."""
    tap: Tap | None = None
    sent: Mapping[int, Outgoing] = {}
    """The events being sent, by index; for the tap only."""

    def show(self, tap: Tap, outgoing: Sequence[Outgoing]) -> None:
        """Show the events to `tap` when they are answered; `outgoing` are those being sent."""
        self.tap = tap
        self.sent = {each.index: each for each in outgoing}

    def refuse(self, event: Event, decision: Decision) -> None:
        """Record that an event is refused."""
        self.statuses[event.index] = refused(event.raw, decision.refusal or "", decision.route)

    def part(self, group: Sequence[Outgoing]) -> Done:
        """Return the callback for the statuses of a group of events; the last call answers the request."""

        def done(statuses: Sequence[EventStatus]) -> None:
            for event, status in zip(group, statuses, strict=True):
                self.statuses[event.index] = status
            self.awaited -= 1
            if not self.awaited:
                self.end()

        return done

    def end(self) -> None:
        """Answer, then count the events, so that the producer need not wait for that."""
        statuses = [each for each in self.statuses if each is not None]
        self.on_answer(merge(statuses, self.routes, self.hasty))
        self._count(statuses)
        if self.tap is not None:
            for event, route, status in zip(self.events, self.routes, statuses, strict=True):
                self.tap.saw(event, route, self.sent.get(event.index), status)

    def _count(self, statuses: Sequence[EventStatus]) -> None:
        """Count events under the stream they came with, which is the one their producer knows."""
        ended: dict[tuple[str, str, Outcome], list[tuple[Event, EventStatus]]] = {}
        for event, route, status in zip(self.events, self.routes, statuses, strict=True):
            ended.setdefault((event.stream or "", route, status.outcome), []).append((event, status))
        for (_, route, _), alike in ended.items():
            _tell(self.emit, *alike[0], len(alike), route)


def _tell(emit: Callable[[Happening], None], event: Event, status: EventStatus, count: int, route: str) -> None:
    """Return the happening for `count` events with one outcome; `status` is the first one's."""
    reason = "" if status.status == "success" else _reason(status)
    emit(EventsEnded(event.stream or "", status.outcome, count, reason, route))


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


def _reason(status: EventStatus) -> str:
    """Return why an event was not accepted, without its content.

    A validation error is given by its place in the schema, since the place in the event contains the event's keys.
    """
    context = context_of(status, _Context)
    if context is None:
        return status.outcome
    return ", ".join(map(str, context.errors)) or context.message or status.outcome
