"""Promises of `spanexport`: a failing collector only costs spans."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from looptime import LoopTimeProxy
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from prometheus_client import CollectorRegistry, generate_latest

from sidecar import __version__
from sidecar.errors import SettingError
from sidecar.serve.spanexport import FLUSH_SECONDS, SpanExport
from tests.fakes import PATIENCE


class Collector(SpanExporter):
    """Takes spans, unless told to fail."""

    def __init__(self, *, stuck: bool = False, says: SpanExportResult | Exception = SpanExportResult.SUCCESS) -> None:
        """`stuck`: it does so once `free` is set."""
        self.spans: list[ReadableSpan] = []
        self.busy = threading.Event()
        self.free = threading.Event()
        self._says = says
        if not stuck:
            self.free.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Take them, or fail."""
        self.busy.set()
        assert self.free.wait(PATIENCE)
        if isinstance(self._says, Exception):
            raise self._says
        self.spans += spans
        return self._says


@pytest.fixture
def stuck() -> Iterator[Collector]:
    """Return a collector that hangs until the end of the test."""
    collector = Collector(stuck=True)
    yield collector
    collector.free.set()


def make_spans(export: SpanExport, count: int) -> None:
    """End this number of spans."""
    for _ in range(count):
        export.tracer.start_span("a span").end()


def counted(export: SpanExport) -> dict[str, float]:
    """Return the metric, by result."""
    registry = CollectorRegistry()
    export.count_in(registry)
    lines = [line for line in generate_latest(registry).decode().splitlines() if "_total{" in line]
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}


async def test_queued_spans_are_sent_at_the_end() -> None:
    """None is lost if the collector works."""
    collector = Collector()
    export = SpanExport({}, collector)
    make_spans(export, 3)
    await export.end()
    assert len(collector.spans) == 3
    assert counted(export) == {"exported": 3.0, "failed": 0.0, "dropped": 0.0}


@pytest.mark.parametrize("says", [SpanExportResult.FAILURE, ValueError("a bug of the exporter's")], ids=str)
async def test_failed_spans_are_counted(says: SpanExportResult | Exception) -> None:
    """However the collector fails."""
    export = SpanExport({}, Collector(says=says))
    make_spans(export, 2)
    await export.end()
    assert counted(export) == {"exported": 0.0, "failed": 2.0, "dropped": 0.0}


def test_the_queue_is_bounded(stuck: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a hanging collector further spans are dropped and counted."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4")
    export = SpanExport({}, stuck)
    make_spans(export, 4)
    assert stuck.busy.wait(PATIENCE)
    make_spans(export, 100)
    assert counted(export) == {"exported": 0.0, "failed": 0.0, "dropped": 96.0}


@pytest.mark.looptime
async def test_a_hanging_collector_does_not_delay_the_end(stuck: Collector, looptime: LoopTimeProxy) -> None:
    """The last spans are lost instead."""
    export = SpanExport({}, stuck)
    make_spans(export, 1)
    await export.end()
    assert looptime == FLUSH_SECONDS


async def test_spans_have_resource_attributes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service, its version and the pod's labels; OpenTelemetry's variables take precedence."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "enwiki-damaging")
    collector = Collector()
    export = SpanExport({"env": "staging"}, collector)
    make_spans(export, 1)
    await export.end()
    said = collector.spans[0].resource.attributes
    assert said["service.name"] == "enwiki-damaging"
    assert (said["service.version"], said["eventgate_sidecar.label.env"]) == (__version__, "staging")


@pytest.mark.parametrize(("name", "value"), [("OTEL_BSP_MAX_QUEUE_SIZE", "many"), ("OTEL_BSP_MAX_QUEUE_SIZE", "0")])
def test_a_wrong_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """At the start, such as an invalid queue size."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match="a variable of OpenTelemetry cannot be used"):
        SpanExport({}, Collector())
