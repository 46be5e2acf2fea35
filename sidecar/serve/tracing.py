"""Creates the spans of requests, arrays and attempts.

    POST /v1/events            one per request; continues its `traceparent`
      └─ deliver production    one per array; links the requests with events in it
           ├─ POST             one per attempt
           └─ POST

A span's context is passed on in the header `traceparent`, in place of the producer's: from the request to the array,
and from the attempt to EventGate. So neither the parts in between nor the spool know about spans. The array is a child
of its first sampled request, and linked with the other sampled ones, both ways.

Spans never have event content. Happenings (`telemetry.happenings`) become events of the spans that they concern.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, Tracer, get_current_span
from opentelemetry.trace import set_span_in_context as inside
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from sidecar.delivery.batching import common_headers
from sidecar.delivery.retry import Undelivered
from sidecar.eventgate.failures import Failed, FailureClass
from sidecar.events.outgoing import Headers, Load
from sidecar.events.results import EventStatus, Outcome
from sidecar.intake.answer import MIXED, Answer
from sidecar.intake.request import EventsRequest
from sidecar.telemetry.happenings import EventsEnded, Happening, PostAnswered
from sidecar.upstreams.endpoints import Address

TRACE_HEADERS = ("traceparent", "tracestate")
MAX_LINKS = 64
"""Requests that an array's span is linked with; the default maximum of events in an array."""

_propagator = TraceContextTextMapPropagator()
_OURS = "eventgate_sidecar"


class Tracing:
    """Creates the spans of requests, loads and attempts; implements `delivery.tries.Observer`."""

    def __init__(self, tracer: Tracer, emit: Callable[[Happening], None]) -> None:
        """`tracer` creates, samples and exports spans; `emit` takes all happenings, as without traces."""
        self.tracer = tracer
        self.emit = emit
        self.requests: dict[int, Span] = {}
        """Unanswered requests, by the id of their span."""

    def request(self, request: EventsRequest) -> _TracedRequest | None:
        """Start the span of a request, and put its context into the headers that are passed on."""
        span = self.tracer.start_span(
            "POST /v1/events", _context_in(request.headers), SpanKind.SERVER, _of_request(request)
        )
        if not span.is_recording():  # pass on the producer's headers unchanged
            return None
        own = {name.encode(): value.encode("latin-1") for name, value in _headers_of(span)}
        others = {name: value for name, value in request.headers.items() if name.decode("latin-1") not in TRACE_HEADERS}
        request.headers = others | own
        return _TracedRequest(self, span)

    def joined(self, headers: Sequence[Headers]) -> Headers:
        """Merge headers, and keep the context of each sampled request for `begun`."""
        sampled = [context for each in headers for context in _contexts_in(each)]
        common = common_headers(headers)
        if not sampled:
            return common
        return (*_untraced(common), *(each for context in sampled for each in _headers_in(context)))

    def begun(self, load: Load) -> tuple[Load, _TracedLoad | None]:
        """Start the span of a load, if one of its requests is sampled."""
        contexts = _contexts_in(load.headers)
        if not contexts:
            return load, None
        span = self._start(load.upstream, len(load.events), contexts)
        untraced = msgspec.structs.replace(load, headers=_untraced(load.headers))
        if span is None:
            return (load if len(contexts) == 1 else untraced), None
        return untraced, _TracedLoad(self, span, untraced)

    def _start(self, upstream: str, events: int, contexts: Sequence[Context]) -> Span | None:
        first, *others = contexts
        links = [Link(get_current_span(each).get_span_context()) for each in others[:MAX_LINKS]]
        attributes: dict[str, str | int] = {f"{_OURS}.upstream": upstream, f"{_OURS}.batch.size": events}
        span = self.tracer.start_span(f"deliver {upstream}", first, attributes=attributes, links=links)
        if not span.is_recording():
            return None
        if len(contexts) > MAX_LINKS + 1:
            span.set_attribute(f"{_OURS}.batch.requests", len(contexts))
        for link in links:
            request = self.requests.get(link.context.span_id)
            if request is not None:
                request.add_link(span.get_span_context())
        return span


class _Traced:
    """Base of everything with a span."""

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self._span = span

    def emit(self, happening: Happening) -> None:
        """Pass on a happening, and add it to the span, unless the span has that information anyway."""
        self._tracing.emit(happening)
        if not isinstance(happening, PostAnswered):
            fields = msgspec.structs.asdict(happening)
            said = {name: value for name, value in fields.items() if value != ""}
            self._span.add_event(type(happening).__name__, said)


class _TracedRequest(_Traced):
    """A request: a `RequestTrace`."""

    def __init__(self, tracing: Tracing, span: Span) -> None:
        super().__init__(tracing, span)
        self._events = 0
        tracing.requests[span.get_span_context().span_id] = span

    def emit(self, happening: Happening) -> None:
        super().emit(happening)
        if isinstance(happening, EventsEnded):
            self._events += happening.count

    def answered(self, answer: Answer) -> None:
        """Record the answer; the outcomes of the events follow before the loop turns."""
        _say_answer(self._span, answer)
        self._forget()
        asyncio.get_running_loop().call_soon(self._end, time.time_ns())

    def _end(self, at: int) -> None:
        self._span.set_attribute(f"{_OURS}.events", self._events)
        self._span.end(at)

    def gone(self) -> None:
        """Record that the client disconnected."""
        self._span.set_attribute("error.type", "client_gone")
        self._forget()
        self._span.end()

    def _forget(self) -> None:
        self._tracing.requests.pop(self._span.get_span_context().span_id, None)


class _TracedLoad(_Traced):
    """A load: a `LoadTrace`."""

    def __init__(self, tracing: Tracing, span: Span, load: Load) -> None:
        super().__init__(tracing, span)
        self._load = load

    def posted(self, load: Load, address: Address, before: int) -> _TracedTry:
        """Start the span of an attempt."""
        attributes = _of_attempt(load.upstream, address)
        if before:
            attributes["http.request.resend_count"] = before
        span = self._tracing.tracer.start_span("POST", inside(self._span), SpanKind.CLIENT, attributes)
        headers = (*load.headers, *_headers_of(span))
        return _TracedTry(self._tracing, span, msgspec.structs.replace(load, headers=headers))

    def ended(self, result: list[EventStatus] | Undelivered) -> None:
        """Record the result, and end the span."""
        _say_result(self._span, result)
        self._span.end()


class _TracedTry(_Traced):
    """An attempt: a `TryTrace`."""

    def __init__(self, tracing: Tracing, span: Span, load: Load) -> None:
        super().__init__(tracing, span)
        self.load = load

    def ended(self, outcome: list[EventStatus] | Failed, status: int | None) -> None:
        """Record the outcome, and end the span."""
        if status is not None:
            _say_status(self._span, status, error_from=400)
        if isinstance(outcome, Failed):
            _say_failure(self._span, outcome.failure, outcome.reason)
        self._span.end()


# --- contexts and headers ---


def _context_in(headers: Mapping[bytes, bytes]) -> Context:
    """Return the trace context of a request."""
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


# --- attributes: OpenTelemetry's semantic conventions for HTTP, and the sidecar's own ---


def _of_request(request: EventsRequest) -> dict[str, str | int]:
    return {
        "http.request.method": "POST",
        "http.route": "/v1/events",
        "url.scheme": "http",
        "url.path": request.target.partition(b"?")[0].decode("latin-1"),
    }


def _of_attempt(upstream: str, address: Address) -> dict[str, str | int]:
    endpoint = address.endpoint
    return {
        f"{_OURS}.upstream": upstream,
        f"{_OURS}.endpoint": endpoint.name,
        "http.request.method": "POST",
        "url.full": endpoint.url,
        "server.address": endpoint.hostname,
        "server.port": endpoint.port,
        "network.peer.address": address.ip,
        "network.peer.port": endpoint.port,
    }


def _say_answer(span: Span, answer: Answer) -> None:
    """Record how a request was answered, from the header `x-eventgate-sidecar`."""
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
