"""Promises of `tracing`: spans for request, array and attempts, without event content."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv.attributes import (
    error_attributes,
    http_attributes,
    network_attributes,
    server_attributes,
    url_attributes,
)
from opentelemetry.trace import SpanKind, StatusCode

from sidecar.intake.budget import ByteBudget
from sidecar.intake.endpoint import EventsEndpoint
from sidecar.routes.language.loader import read
from sidecar.serve.generation import Generation
from sidecar.serve.tracing import Tracing
from sidecar.status.http import make_intake_app
from tests.fakes import FakeEventGate, accept, after, answer, connected, eventually, failures, post, reset
from tests.running import serving, to_one
from tests.scripted import Recorder

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{CALLER}-01"
UNSAMPLED = f"00-{TRACE}-{CALLER}-00"
SECRET = "the-score-of-a-page"
"""Stands in every event here."""


def event(id_: str = "a") -> bytes:
    """Return an event with this id."""
    return json.dumps({"meta": {"stream": "score", "id": id_}, "score": SECRET}).encode()


def trace(number: int) -> str:
    """Return the nth trace id."""
    return f"{number:032x}"


@dataclass
class Traced:
    """A sidecar whose spans are recorded."""

    address: str
    kept: InMemorySpanExporter
    tracing: Tracing

    async def post(self, body: bytes, **headers: str) -> int:
        """POST on a new connection; return the status."""
        async with connected(self.address) as client:
            return (await client.post(body, **headers)).status

    def spans(self, name: str) -> list[ReadableSpan]:
        """Return the spans of this name, in order of their ends."""
        return [each for each in self.kept.get_finished_spans() if each.name == name]

    def one(self, name: str) -> ReadableSpan:
        """Return the only span of this name."""
        (span,) = self.spans(name)
        return span


@contextlib.asynccontextmanager
async def traced(*gates: FakeEventGate, **settings: Any) -> AsyncIterator[Traced]:
    """Run the traced parts with these EventGates."""
    provider, kept = TracerProvider(shutdown_on_exit=False), InMemorySpanExporter()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    telemetry = Recorder()
    tracing = Tracing(provider.get_tracer("a test's"), telemetry.emit)
    config = read(json.dumps(to_one(*(gate.address for gate in gates), **settings)))
    generation = Generation(config, {}, telemetry, observer=tracing)
    pool = generation.pools["main"]
    for endpoint in pool.endpoints:
        (its_address,) = endpoint.set_addresses((endpoint.hostname,))
        pool.judge.check_passed(its_address.standing, 0.0)
        pool.looked_at_endpoint(endpoint)
    async with asyncio.TaskGroup() as tasks:
        generation.start(tasks)
        events = EventsEndpoint(generation.intake, telemetry, ByteBudget(), tracing.request)
        async with serving(make_intake_app(), taker=events) as address:
            yield Traced(address, kept, tracing)
            await eventually(lambda: not tracing.requests)
            await asyncio.sleep(0)
        for each in pool.addresses:
            each.eventgate.close()


def ids(span: ReadableSpan) -> tuple[str, str]:
    """Return its trace id and span id."""
    context = span.get_span_context()
    assert context is not None
    return trace(context.trace_id), f"{context.span_id:016x}"


def parent_of(span: ReadableSpan) -> tuple[str, str]:
    """Return the trace id and span id of its parent."""
    assert span.parent is not None
    return trace(span.parent.trace_id), f"{span.parent.span_id:016x}"


def links_of(span: ReadableSpan) -> set[tuple[str, str]]:
    """Return the ids of its links."""
    return {(trace(link.context.trace_id), f"{link.context.span_id:016x}") for link in span.links}


def said(span: ReadableSpan) -> dict[str, object]:
    """Return its attributes."""
    return dict(span.attributes or {})


def happened(span: ReadableSpan) -> list[str]:
    """Return the names of its events."""
    return [each.name for each in span.events]


async def test_a_request_continues_its_producers_trace() -> None:
    """Model server, request, array, attempt and EventGate, each the child of the previous one."""
    async with FakeEventGate() as gate, traced(gate) as running:
        assert await running.post(event(), traceparent=SAMPLED, tracestate="vendor=1", x_request_id="r") == 201
    request, array, attempt = running.one("POST /v1/events"), running.one("deliver main"), running.one("POST")
    assert parent_of(request) == (TRACE, CALLER)
    assert parent_of(array) == ids(request)
    assert parent_of(attempt) == ids(array)
    (seen,) = gate.requests
    assert seen.headers["traceparent"] == f"00-{TRACE}-{ids(attempt)[1]}-01"
    assert (seen.headers["tracestate"], seen.headers["x-request-id"]) == ("vendor=1", "r")


async def test_a_request_without_a_trace_starts_one() -> None:
    """Producers need not support traces."""
    async with FakeEventGate() as gate, traced(gate) as running:
        await running.post(event())
    request = running.one("POST /v1/events")
    assert (request.parent, request.kind) == (None, SpanKind.SERVER)
    assert gate.requests[0].headers["traceparent"].startswith(f"00-{ids(request)[0]}-")


async def test_an_unsampled_request_has_no_span() -> None:
    """The producer has decided: its header reaches EventGate unchanged."""
    async with FakeEventGate() as gate, traced(gate) as running:
        await running.post(event(), traceparent=UNSAMPLED, tracestate="vendor=1")
    assert running.kept.get_finished_spans() == ()
    assert (gate.requests[0].headers["traceparent"], gate.requests[0].headers["tracestate"]) == (UNSAMPLED, "vendor=1")


async def test_spans_follow_the_semantic_conventions() -> None:
    """With the sidecar's own attributes beside them."""
    async with FakeEventGate() as gate, traced(gate) as running:
        await running.post(event(), traceparent=SAMPLED)
        address = gate.address
    host, _, port = address.rpartition(":")
    assert said(running.one("POST /v1/events")) == {
        http_attributes.HTTP_REQUEST_METHOD: "POST",
        http_attributes.HTTP_ROUTE: "/v1/events",
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 201,
        url_attributes.URL_SCHEME: "http",
        url_attributes.URL_PATH: "/v1/events",
        "eventgate_sidecar.outcome": "delivered",
        "eventgate_sidecar.upstream": "main",
        "eventgate_sidecar.endpoint": address,
        "eventgate_sidecar.route": "all",
        "eventgate_sidecar.events": 1,
    }
    assert said(running.one("deliver main")) == {
        "eventgate_sidecar.upstream": "main",
        "eventgate_sidecar.endpoint": address,
        "eventgate_sidecar.outcome": "delivered",
        "eventgate_sidecar.batch.size": 1,
    }
    attempt = running.one("POST")
    assert (attempt.kind, attempt.status.status_code) == (SpanKind.CLIENT, StatusCode.UNSET)
    assert said(attempt) == {
        http_attributes.HTTP_REQUEST_METHOD: "POST",
        http_attributes.HTTP_RESPONSE_STATUS_CODE: 201,
        url_attributes.URL_FULL: f"http://{address}/v1/events",
        server_attributes.SERVER_ADDRESS: host,
        server_attributes.SERVER_PORT: int(port),
        network_attributes.NETWORK_PEER_ADDRESS: host,
        network_attributes.NETWORK_PEER_PORT: int(port),
        "eventgate_sidecar.upstream": "main",
        "eventgate_sidecar.endpoint": address,
    }


async def post_beside(running: Traced, gate: FakeEventGate, let: asyncio.Event, parents: Sequence[str]) -> None:
    """POST once and, while that is held, once for each of `parents`, which are then sent together."""
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(running.post(event("first")))
        await gate.received(1)
        for number, parent in enumerate(parents):
            tasks.create_task(running.post(event(f"event-{number}"), traceparent=parent))
        await eventually(lambda: len(running.tracing.requests) == 1 + sum(parent.endswith("-01") for parent in parents))
        let.set()


async def test_an_array_links_its_requests() -> None:
    """One span in the trace of the first request, with links in both directions."""
    let = asyncio.Event()
    parents = [f"00-{trace(number)}-{CALLER}-01" for number in (1, 2, 3)]
    async with FakeEventGate(after(let)) as gate, traced(gate, coalesce={"linger": "1s"}) as running:
        await post_beside(running, gate, let, parents)
    _, array = running.spans("deliver main")
    requests = {ids(each)[0]: each for each in running.spans("POST /v1/events")}
    first = parent_of(array)[0]
    assert first in {trace(1), trace(2), trace(3)}
    others = [requests[trace(number)] for number in (1, 2, 3) if trace(number) != first]
    assert said(array)["eventgate_sidecar.batch.size"] == 3
    assert links_of(array) == {ids(each) for each in others}
    assert [links_of(each) for each in others] == [{ids(array)}] * 2
    assert len(running.spans("POST")) == 2


async def test_an_array_has_one_trace() -> None:
    """EventGate's span is a child of the attempt."""
    let = asyncio.Event()
    parents = [f"00-{trace(number)}-{CALLER}-01" for number in (1, 2)]
    async with FakeEventGate(after(let)) as gate, traced(gate, coalesce={"linger": "1s"}) as running:
        await post_beside(running, gate, let, parents)
        seen = gate.requests[1]
    attempt = running.spans("POST")[-1]
    assert len(seen.events) == 2
    assert seen.headers["traceparent"] == "00-{}-{}-01".format(*ids(attempt))


async def test_an_array_is_sampled_if_one_of_its_requests_is() -> None:
    """Unsampled requests in it are not linked."""
    let = asyncio.Event()
    parents = [UNSAMPLED, f"00-{trace(2)}-{CALLER}-01"]
    async with FakeEventGate(after(let)) as gate, traced(gate, coalesce={"linger": "1s"}) as running:
        await post_beside(running, gate, let, parents)
    array = running.spans("deliver main")[1]
    assert (parent_of(array)[0], links_of(array)) == (trace(2), set())


async def test_a_failover_is_two_attempts() -> None:
    """With the failure of one endpoint and the success of the other."""
    async with (
        FakeEventGate(otherwise=reset) as eqiad,
        FakeEventGate(beside=eqiad.address) as codfw,
        traced(eqiad, codfw) as running,
    ):
        assert await running.post(event(), traceparent=SAMPLED) == 201
    failed, fine = running.spans("POST")
    assert parent_of(failed) == parent_of(fine) == ids(running.one("deliver main"))
    assert said(failed)["eventgate_sidecar.endpoint"] == "1"
    assert said(failed)["eventgate_sidecar.failure"] == said(failed)[error_attributes.ERROR_TYPE] == "ambiguous"
    assert failed.status.status_code is StatusCode.ERROR
    assert "PostFailed" in happened(failed)
    assert said(fine)["eventgate_sidecar.endpoint"] == "2"
    assert (said(fine)["http.request.resend_count"], happened(fine)) == (1, ["Resent"])
    assert codfw.requests[0].headers["traceparent"].split("-")[2] == ids(fine)[1]


async def test_a_late_answer_is_recorded_in_its_own_attempt(caplog: pytest.LogCaptureFixture) -> None:
    """Which outlives the journey; ended spans get no more events."""
    answered = asyncio.Event()
    async with (
        FakeEventGate(after(answered)) as slow,
        FakeEventGate(beside=slow.address) as quick,
        traced(slow, quick) as running,
    ):
        assert await running.post(event(), traceparent=SAMPLED) == 201
        assert len(running.spans("POST")) == 1
        answered.set()
        await eventually(lambda: len(running.spans("POST")) == 2)
    _, late = running.spans("POST")
    assert happened(late) == ["HealthChanged"]
    assert "ended span" not in caplog.text


async def test_undelivered_events_are_errors() -> None:
    """The request's span has the 503, the array's span the reason."""
    async with FakeEventGate(otherwise=answer(502)) as gate, traced(gate) as running:
        assert await running.post(event(), traceparent=SAMPLED) == 503
    request, array = running.one("POST /v1/events"), running.one("deliver main")
    assert (request.status.status_code, said(request)["error.type"]) == (StatusCode.ERROR, "503")
    assert said(array)["eventgate_sidecar.failure"] == "infrastructure"
    assert array.status.status_code is StatusCode.ERROR


@pytest.mark.parametrize(("body", "status"), [(b'{"meta":', 500), (b"[]", 400)], ids=["no JSON", "nothing in it"])
async def test_a_refused_request_has_a_span(body: bytes, status: int) -> None:
    """Its producer finds it in the trace."""
    async with FakeEventGate() as gate, traced(gate) as running:
        assert await running.post(body, traceparent=SAMPLED) == status
    request = running.one("POST /v1/events")
    assert (happened(request), said(request)["eventgate_sidecar.outcome"]) == (["RequestRefused"], "refused")
    assert running.spans("deliver main") == []


async def test_a_client_that_disconnects_leaves_a_span() -> None:
    """It says so, and nothing else is kept."""
    async with FakeEventGate() as gate, traced(gate) as running:
        async with connected(running.address) as client:
            await client.send(post(event(), traceparent=SAMPLED)[:-1])
            await eventually(lambda: len(running.tracing.requests) == 1)
        await eventually(lambda: not running.tracing.requests)
    assert said(running.one("POST /v1/events"))["error.type"] == "client_gone"


async def test_spans_have_no_event_content() -> None:
    """Neither attributes nor events nor statuses, for accepted, invalid and failed events."""
    invalid: list[Mapping[str, Any]] = [
        {"status": "invalid", "event": json.loads(event()), "context": {"message": "is wrong"}}
    ]
    replies = (accept, failures(400, invalid=invalid), answer(500, "no", SECRET), reset, reset)
    async with FakeEventGate(*replies) as gate, traced(gate) as running:
        for _ in range(4):
            await running.post(event(), traceparent=SAMPLED)
        await running.post(event()[:-1], traceparent=SAMPLED)
    everything = "".join(span.to_json() for span in running.kept.get_finished_spans())
    assert len(running.spans("POST /v1/events")) == 5
    assert (SECRET in everything, '"reason": "is wrong"' in everything) == (False, True)
