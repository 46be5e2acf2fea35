"""The spans of a request, of the array that its events travel in, and of each attempt to deliver that.

    POST /v1/events            one for each request; goes on with its `traceparent`
      └─ deliver production    one for each array; links the requests whose events are in it
           ├─ POST             one for each attempt
           └─ POST

A span's context travels as the header `traceparent`, where the producer's own would: in place of that from the
request to the array, and from the attempt to EventGate. So no part between knows of spans, the spool neither. The
array is a child of the first of its requests that is sampled, and linked with every other that is, both ways.

What a span says is of the request's way and never an event's content. What happens on the way (`telemetry`) is an
event of the span that it happened to.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer, get_current_span
from opentelemetry.trace import set_span_in_context as inside
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sidecar.delivery.batching import Rider
from sidecar.delivery.journey import Journey, OnEnd, Try
from sidecar.delivery.retry import Undelivered
from sidecar.delivery.sender import Delivery
from sidecar.errors import RequestError
from sidecar.eventgate.client import Attempt, Result
from sidecar.eventgate.failures import Failed, FailureClass
from sidecar.events.outgoing import Headers, Load
from sidecar.events.results import EventStatus, Outcome
from sidecar.intake.answer import MIXED, Answer
from sidecar.intake.endpoint import EventsEndpoint
from sidecar.intake.request import EventsRequest
from sidecar.serve.parts import Parts
from sidecar.telemetry.happenings import (
    EventsEnded,
    FailedOver,
    Happening,
    HealthChanged,
    PostFailed,
    RequestRefused,
    Resent,
    Unexpected,
)
from sidecar.telemetry.telemetry import Telemetry
from sidecar.upstreams.endpoints import Pool

TRACE_HEADERS = ("traceparent", "tracestate")
MAX_LINKS = 64
"""Requests that the span of an array is linked with; an array has as many events, where nothing else is said."""

_propagator = TraceContextTextMapPropagator()
_OURS = "eventgate_sidecar"


class Tracing:
    """Makes spans; `parts` are those that tell it when."""

    def __init__(self, tracer: Tracer) -> None:
        """`tracer` makes them, samples them and knows where they go."""
        self.tracer = tracer
        self.requests: dict[int, Span] = {}
        """The requests that are not answered, by the id of their span."""
        self._current: Span | None = None
        self._answered: _Answered | None = None

    @property
    def parts(self) -> Parts:
        """The parts of a sidecar whose events leave spans."""
        return Parts(
            functools.partial(_TracedTelemetry, self),
            functools.partial(_TracedDelivery, self),
            functools.partial(_TracedEvents, self),
        )

    @contextlib.contextmanager
    def current(self, span: Span) -> Iterator[None]:
        """Let what happens meanwhile be events of `span`."""
        before, self._current = self._current, span
        try:
            yield
        finally:
            self._current = before

    def note(self, happening: Happening) -> None:
        """Make an event of what happened, for the span that it concerns."""
        match happening:
            case EventsEnded():
                if self._answered is not None:
                    self._answered.ended.append(happening)
            case RequestRefused() | PostFailed() | Resent() | HealthChanged() | FailedOver() | Unexpected():
                if self._current is not None:
                    _add_event(self._current, happening)

    def answered(self, span: Span | None) -> None:
        """Take note that a request is answered; what became of its events is told next, before the loop turns."""
        self._answered = _Answered(span, time.time_ns()) if span is not None else None
        if self._answered is not None:
            asyncio.get_running_loop().call_soon(self._answered.end)


class _Answered:
    """The span of a request that has its answer."""

    def __init__(self, span: Span, at: int) -> None:
        self._span = span
        self._at = at
        self.ended: list[EventsEnded] = []

    def end(self) -> None:
        self._span.set_attribute(f"{_OURS}.events", sum([each.count for each in self.ended]))
        for each in self.ended:
            _add_event(self._span, each)
        self._span.end(self._at)


class _TracedTelemetry(Telemetry):
    """Makes an event of a span, too, of what happens."""

    def __init__(self, tracing: Tracing, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tracing = tracing

    def emit(self, happening: Happening) -> None:
        super().emit(happening)
        self._tracing.note(happening)


class _TracedEvents(EventsEndpoint):
    """Makes a span of each request, from its headers to its answer."""

    def __init__(self, tracing: Tracing, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._tracing = tracing
        self._spans: dict[EventsRequest, Span] = {}

    def begins(self, request: EventsRequest) -> None:
        span = self._tracing.tracer.start_span(
            "POST /v1/events", _context_in(request.headers), SpanKind.SERVER, _of_request(request)
        )
        if span.is_recording():  # otherwise the producer's headers are passed on as they are
            self._spans[request] = span
            self._tracing.requests[span.get_span_context().span_id] = span
            own = {name.encode(): value.encode("latin-1") for name, value in _headers_of(span)}
            others = {
                name: value for name, value in request.headers.items() if name.decode("latin-1") not in TRACE_HEADERS
            }
            request.headers = others | own
        super().begins(request)

    def gone(self, request: EventsRequest) -> None:
        super().gone(request)
        span = self._span_of(request)
        if span is not None:
            span.set_attribute("error.type", "client_gone")
            span.end()

    def _refuse(self, request: EventsRequest, error: RequestError) -> None:
        span = self._spans.get(request)
        with self._tracing.current(span) if span is not None else contextlib.nullcontext():
            super()._refuse(request, error)

    def _answer(self, request: EventsRequest, answer: Answer) -> None:
        super()._answer(request, answer)
        span = self._span_of(request)
        if span is not None:
            _say_answer(span, answer)
        self._tracing.answered(span)

    def _span_of(self, request: EventsRequest) -> Span | None:
        span = self._spans.pop(request, None)
        if span is not None:
            self._tracing.requests.pop(span.get_span_context().span_id, None)
        return span


class _TracedDelivery(Delivery):
    """Makes a span of each array, from its departure to the verdict."""

    def __init__(self, tracing: Tracing, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._tracing = tracing

    def headers_of(self, riders: Sequence[Rider]) -> Headers:
        """Keep the context of each request that is sampled; `journey` links them."""
        sampled = [each for rider in riders for each in _contexts_in(rider.load.headers)]
        common = super().headers_of(riders)
        if len(riders) == 1 or not sampled:
            return common
        return (*_untraced(common), *(each for context in sampled for each in _headers_in(context)))

    def journey(self, pool: Pool, load: Load, give_up: float, on_end: OnEnd) -> Journey:
        """Return one that makes spans, where a request of these events is sampled."""
        contexts = _contexts_in(load.headers)
        span = self._start(pool.name, len(load.events), contexts) if contexts else None
        untraced = msgspec.structs.replace(load, headers=_untraced(load.headers))
        if span is None:
            return super().journey(pool, load if len(contexts) <= 1 else untraced, give_up, on_end)
        journey = _TracedJourney(pool, self._means, untraced, give_up, on_end)
        journey.trace(self._tracing, span)
        return journey

    def _start(self, upstream: str, events: int, contexts: Sequence[Context]) -> Span | None:
        first, *others = contexts
        links = [Link(get_current_span(each).get_span_context()) for each in others[:MAX_LINKS]]
        attributes: dict[str, str | int] = {f"{_OURS}.upstream": upstream, f"{_OURS}.batch.size": events}
        span = self._tracing.tracer.start_span(f"deliver {upstream}", first, attributes=attributes, links=links)
        if not span.is_recording():
            return None
        if len(contexts) > MAX_LINKS + 1:
            span.set_attribute(f"{_OURS}.batch.requests", len(contexts))
        for link in links:
            request = self._tracing.requests.get(link.context.span_id)
            if request is not None:
                request.add_link(span.get_span_context())
        return span


class _TracedJourney(Journey):
    """Makes a span of each attempt."""

    _tracing: Tracing
    _span: Span

    def trace(self, tracing: Tracing, span: Span) -> None:
        """Let `span` be the one of this journey."""
        self._tracing = tracing
        self._span = span
        self._untraced = self._load
        self._attempts: dict[Try, Span] = {}
        self._judged_at = 0

    def _step(self, step: Any, *arguments: object) -> None:
        with self._tracing.current(self._span):
            super()._step(step, *arguments)

    def _post(self, each: Try, seconds: float, tasks: Any) -> Attempt:
        attributes = _of_attempt(self._pool.name, each)
        if len(self._tries) > 1:
            attributes["http.request.resend_count"] = len(self._tries) - 1
        span = self._tracing.tracer.start_span("POST", inside(self._span), SpanKind.CLIENT, attributes)
        self._attempts[each] = span
        self._load = msgspec.structs.replace(self._untraced, headers=(*self._untraced.headers, *_headers_of(span)))
        return super()._post(each, seconds, tasks)

    def _judge(self, each: Try, result: Result) -> list[EventStatus] | Failed:
        span = self._attempts[each]
        with self._tracing.current(span):
            outcome = super()._judge(each, result)
        if each.attempt is not None and each.attempt.status is not None:
            _say_status(span, each.attempt.status, error_from=400)
        self._judged_at = time.time_ns()
        if isinstance(outcome, Failed):
            _say_failure(span, outcome.failure, outcome.reason)
            self._attempts.pop(each).end(self._judged_at)
        return outcome

    def _note_answer(self, each: Try) -> None:
        span = self._attempts.pop(each)
        with self._tracing.current(span):
            super()._note_answer(each)
        span.end(self._judged_at)

    def _forget(self, each: Try) -> None:
        super()._forget(each)
        span = self._attempts.pop(each, None)
        if span is not None:
            _say_failure(span, FailureClass.NEVER_SENT, "given up while it was connecting")
            span.end()

    def _end(self, result: list[EventStatus] | Undelivered) -> None:
        if self._on_end is not None:
            _say_result(self._span, result)
            self._span.end()
        super()._end(result)


# --- contexts and headers ---


def _context_in(headers: Mapping[bytes, bytes]) -> Context:
    """Return the context that a request came with."""
    named = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers.items()}
    return _propagator.extract({name: named[name] for name in TRACE_HEADERS if name in named}, Context())


def _contexts_in(headers: Sequence[tuple[str, str]]) -> list[Context]:
    """Return the contexts of the sampled requests in these headers, each followed by its own tracestate."""
    carriers: list[dict[str, str]] = []
    for name, value in headers:
        if name == "traceparent":
            carriers.append({name: value})
        elif name == "tracestate" and carriers:
            carriers[-1][name] = value
    contexts = [_propagator.extract(carrier, Context()) for carrier in carriers]
    return [each for each in contexts if get_current_span(each).get_span_context().trace_flags.sampled]


def _headers_in(context: Context) -> Headers:
    carrier: dict[str, str] = {}
    _propagator.inject(carrier, context)
    return tuple(carrier.items())


def _headers_of(span: Span) -> Headers:
    return _headers_in(inside(span, Context()))


def _untraced(headers: Sequence[tuple[str, str]]) -> Headers:
    return tuple(each for each in headers if each[0] not in TRACE_HEADERS)


# --- what spans say: OpenTelemetry's semantic conventions for HTTP, and our own words ---


def _of_request(request: EventsRequest) -> dict[str, str | int]:
    return {
        "http.request.method": "POST",
        "http.route": "/v1/events",
        "url.scheme": "http",
        "url.path": request.target.partition(b"?")[0].decode("latin-1"),
    }


def _of_attempt(upstream: str, each: Try) -> dict[str, str | int]:
    endpoint = each.address.endpoint
    return {
        f"{_OURS}.upstream": upstream,
        f"{_OURS}.endpoint": endpoint.name,
        "http.request.method": "POST",
        "url.full": endpoint.url,
        "server.address": endpoint.hostname,
        "server.port": endpoint.port,
        "network.peer.address": each.address.ip,
        "network.peer.port": endpoint.port,
    }


def _say_answer(span: Span, answer: Answer) -> None:
    """Say how a request was answered: in the words of the header `x-eventgate-sidecar`."""
    outcome, *places = answer.outcome.split("; ")
    span.set_attribute(f"{_OURS}.outcome", outcome)
    for place in places:
        name, _, value = place.partition("=")
        if name in ("upstream", "endpoint", "route"):
            span.set_attribute(f"{_OURS}.{name}", value)
    _say_status(span, answer.status, error_from=500)


def _say_status(span: Span, status: int, *, error_from: int) -> None:
    span.set_attribute("http.response.status_code", status)
    if status >= error_from:
        span.set_attribute("error.type", str(status))
        span.set_status(StatusCode.ERROR)


def _say_failure(span: Span, failure: FailureClass, words: str) -> None:
    span.set_attribute(f"{_OURS}.failure", failure)
    span.set_attribute("error.type", failure)
    span.set_status(StatusCode.ERROR, words)


def _say_result(span: Span, result: list[EventStatus] | Undelivered) -> None:
    if isinstance(result, Undelivered):
        span.set_attribute(f"{_OURS}.outcome", Outcome.FAILED)
        _say_failure(span, result.failure, result.message)
        return
    outcomes = {each.outcome for each in result}
    span.set_attribute(f"{_OURS}.outcome", outcomes.pop() if len(outcomes) == 1 else MIXED)
    span.set_attribute(f"{_OURS}.endpoint", result[0].endpoint)


def _add_event(span: Span, happening: Happening) -> None:
    fields = msgspec.structs.asdict(happening)
    span.add_event(type(happening).__name__, {name: value for name, value in fields.items() if value != ""})
