"""Traces from a sidecar process to a collector, over OTLP, parsed by OpenTelemetry's own protocol."""

from __future__ import annotations

import asyncio
import http.server
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.end_to_end.conftest import written
from tests.end_to_end.load import an_event
from tests.end_to_end.processes import ROOT, Sidecar, sidecar
from tests.fakes import PATIENCE, FakeEventGate, after, connected, hanging, reset
from tests.running import to_one

CALLER = bytes.fromhex("00f067aa0ba902b7")


class Collector(http.server.ThreadingHTTPServer):
    """Takes spans at `/v1/traces`, as every OTLP collector does."""

    def __init__(self) -> None:
        """Listen."""
        super().__init__(("127.0.0.1", 0), _Taking)
        self.requests: list[ExportTraceServiceRequest] = []

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT has to be."""
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def spans(self) -> list[Span]:
        """All that came, those that began first on top."""
        scopes = [scope for each in self.requests for of in each.resource_spans for scope in of.scope_spans]
        return sorted((span for scope in scopes for span in scope.spans), key=lambda span: span.start_time_unix_nano)

    @property
    def resource(self) -> dict[str, str]:
        """What they are from."""
        attributes = self.requests[0].resource_spans[0].resource.attributes
        return {each.key: each.value.string_value for each in attributes}

    def named(self, name: str) -> list[Span]:
        """Return the spans of one name."""
        return [span for span in self.spans if span.name == name]


class _Taking(http.server.BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        message = ExportTraceServiceRequest()
        message.ParseFromString(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append(message)
        self.send_response(200 if self.path == "/v1/traces" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    """Run a collector."""
    with Collector() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join(PATIENCE)


def traceparent(number: int) -> str:
    """Return the header of a producer in one of many traces."""
    return f"00-{number:032x}-{CALLER.hex()}-01"


def trace(number: int) -> bytes:
    """Return the id of that trace."""
    return number.to_bytes(16)


async def told(running: Sidecar, id_: str, number: int) -> int:
    """Post an event in a trace; return the status of the answer."""
    async with connected(running.address) as client:
        return (await client.post(an_event(id_), traceparent=traceparent(number))).status


async def ended(running: Sidecar) -> None:
    """End the sidecar."""
    running.process.tell(signal.SIGINT)
    assert await asyncio.to_thread(running.process.end) == 0


def texts(span: Span) -> dict[str, str]:
    """Return the attributes that are text."""
    return {each.key: each.value.string_value for each in span.attributes if each.value.HasField("string_value")}


async def test_a_collector_gets_the_trace_of_the_producer(tmp_path: Path, collector: Collector) -> None:
    """A failover in the producer's trace: request, array, a failed attempt and a successful one."""
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    async with FakeEventGate(otherwise=reset) as eqiad, FakeEventGate(beside=eqiad.address) as codfw:
        routes = written(to_one(eqiad.address, codfw.address), tmp_path)
        with sidecar(routes, "--label", "env=staging", env=env) as running:
            assert await told(running, "a", 1) == 201
            await ended(running)
    request, array, failed, fine = collector.spans
    assert [each.name for each in collector.spans] == ["POST /v1/events", "deliver main", "POST", "POST"]
    assert {each.trace_id for each in collector.spans} == {trace(1)}
    assert request.parent_span_id == CALLER
    assert (array.parent_span_id, failed.parent_span_id, fine.parent_span_id) == (
        request.span_id, array.span_id, array.span_id,
    )  # fmt: skip
    endpoints = [texts(each)["eventgate_sidecar.endpoint"] for each in (failed, fine, array, request)]
    assert endpoints == ["1", "2", "2", "2"]
    assert (failed.status.code, texts(failed)["eventgate_sidecar.failure"]) == (2, "ambiguous")
    assert collector.resource["service.name"] == "eventgate-sidecar"
    assert collector.resource["eventgate_sidecar.label.env"] == "staging"


async def test_a_collector_sees_requests_that_shared_an_array(tmp_path: Path, collector: Collector) -> None:
    """Three producers in three traces share one span of their array, linked with each trace."""
    let = asyncio.Event()
    env = {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{collector.url}/v1/traces"}
    async with FakeEventGate(after(let)) as gate:
        routes = written(to_one(gate.address, coalesce={"linger": "1s"}, timeouts={"attempt": "3s"}), tmp_path)
        with sidecar(routes, env=env) as running:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(told(running, "first", 9))
                await gate.received(1)
                for number in (1, 2, 3):
                    tasks.create_task(told(running, f"event-{number}", number))
                await gate.received(2)  # after `linger`, or because the first one is late
                let.set()
            await ended(running)
    (array,) = [each for each in collector.named("deliver main") if each.links]
    requests = {each.trace_id: each for each in collector.named("POST /v1/events")}
    others = [requests[trace(number)] for number in (1, 2, 3) if trace(number) != array.trace_id]
    assert {link.span_id for link in array.links} == {each.span_id for each in others}
    assert array.parent_span_id == requests[array.trace_id].span_id
    assert [[link.span_id for link in each.links] for each in others] == [[array.span_id]] * 2


async def test_a_hanging_collector_delays_nothing(tmp_path: Path) -> None:
    """Events are answered as usual, the metric counts the spans, and the sidecar ends in time."""
    with hanging() as nowhere:
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{nowhere}", "OTEL_BSP_MAX_QUEUE_SIZE": "10",
               "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10"}  # fmt: skip
        async with FakeEventGate() as gate:
            with sidecar(written(to_one(gate.address), tmp_path), env=env) as running:
                async with connected(running.address) as client:
                    statuses = [(await client.post(an_event(str(number)))).status for number in range(20)]
                spans = await asyncio.to_thread(running.metrics, "eventgate_sidecar_spans_total")
                await ended(running)
    assert statuses == [201] * 20
    assert spans == {("exported",): 0.0, ("failed",): 0.0, ("dropped",): 50.0}


def serve_without(packages: str, tmp_path: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run `serve` where such packages are not installed."""
    hidden = f"import sys; sys.modules[{packages!r}] = None; sys.argv[0] = 'eventgate-sidecar'"
    code = f"{hidden}\nfrom sidecar.__main__ import main\nmain()"
    words = ["serve", "--routes", str(written(to_one("127.0.0.1:1"), tmp_path)), "--listen", "127.0.0.1:0"]
    words += ["--admin", "127.0.0.1:0"]
    return subprocess.run([sys.executable, "-c", code, *words], env=env, cwd=ROOT, capture_output=True, text=True,
                          timeout=PATIENCE, check=False)  # fmt: skip


def test_traces_without_their_packages_are_refused(tmp_path: Path) -> None:
    """At the start, with the packages to install."""
    run = serve_without("opentelemetry", tmp_path, {"OTEL_TRACES_EXPORTER": "otlp"})
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr == (
        "eventgate-sidecar: OTEL_TRACES_EXPORTER=otlp asks for traces, and the packages for them are not installed: "
        "pip install 'eventgate-sidecar[otel]', or set OTEL_TRACES_EXPORTER=none\n"
    )


async def test_without_traces_opentelemetry_is_not_imported(tmp_path: Path) -> None:
    """Even after it took an event, passed its trace on and ended."""
    async with FakeEventGate() as gate:
        with sidecar(written(to_one(gate.address), tmp_path), env={"PYTHONPROFILEIMPORTTIME": "1"}) as running:
            assert await told(running, "a", 1) == 201
            spans = await asyncio.to_thread(running.metrics, "eventgate_sidecar_spans_total")
            await ended(running)
    lines = [line for line in running.process.lines if isinstance(line, str)]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in lines if line.startswith("import time:")}
    assert gate.requests[0].headers["traceparent"] == traceparent(1)
    assert (imported & {"uvicorn", "opentelemetry", "requests", "google"}, spans) == ({"uvicorn"}, {})
