"""Sends spans to a collector with OpenTelemetry's SDK, in a separate thread and from a bounded queue.

A slow or missing collector only costs spans: those that do not fit into the queue are dropped and counted, and the
process waits at exit for at most `FLUSH_SECONDS`. The SDK reads its other variables itself: sampler, queue, and the
exporter's timeout, headers and certificates.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterable, Mapping, Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.environment_variables import OTEL_BSP_MAX_QUEUE_SIZE
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.metrics_core import CounterMetricFamily
from prometheus_client.registry import Collector

from sidecar import __version__
from sidecar.errors import SettingError

FLUSH_SECONDS = 2.0
"""How long the process waits for the collector at exit."""
QUEUE = 2048
"""Length of the queue, unless OTEL_BSP_MAX_QUEUE_SIZE is set: a few MB."""


class SpanExport:
    """Exports ended spans."""

    def __init__(self, labels: Mapping[str, str], exporter: SpanExporter | None = None) -> None:
        """`labels` become resource attributes of all spans; the default `exporter` is OTLP over HTTP.

        Raises:
            SettingError: a variable of OpenTelemetry's cannot be used.

        """
        self.counts = SpanCounts()
        try:
            queue = int(os.environ.get(OTEL_BSP_MAX_QUEUE_SIZE) or QUEUE)
            counted = _Counted(exporter or OTLPSpanExporter(), self.counts)
            processor = _Bounded(BatchSpanProcessor(counted, max_queue_size=queue), self.counts, queue)
            self._provider = TracerProvider(resource=_resource(labels), shutdown_on_exit=False)
        except ValueError as error:
            raise SettingError(f"a variable of OpenTelemetry cannot be used: {error}") from None
        self._provider.add_span_processor(processor)

    @property
    def tracer(self) -> Tracer:
        """The tracer whose spans are exported."""
        return self._provider.get_tracer("eventgate-sidecar", __version__)

    def count_in(self, registry: CollectorRegistry) -> None:
        """Register the span counts."""
        registry.register(self.counts)

    async def end(self) -> None:
        """Send the queued spans, for at most `FLUSH_SECONDS`; spans that end later are dropped."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def flush() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop is closed
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=flush, name="spans", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await ended.wait()


class SpanCounts(Collector):
    """Counts spans by result; each number is changed by one thread only."""

    def __init__(self) -> None:
        """Start at zero."""
        self.queued = 0
        self.dropped = 0
        """Changed by the thread that ends spans, like `queued`."""
        self.exported = 0
        self.failed = 0
        """Changed by the exporting thread, like `exported`."""

    @property
    def waiting(self) -> int:
        """Spans queued or being sent."""
        return self.queued - self.exported - self.failed

    def collect(self) -> Iterable[Metric]:
        """Return the metric."""
        family = CounterMetricFamily(
            "eventgate_sidecar_spans",
            "Spans of traces, by result: exported, failed (the collector did not take them) or dropped (too many "
            "waited); only where traces are asked for.",
            labels=("result",),
        )
        for result in ("exported", "failed", "dropped"):
            family.add_metric((result,), getattr(self, result))
        yield family


class _Bounded(SpanProcessor):
    """Queues spans while there is room; the SDK would drop the oldest uncounted."""

    def __init__(self, queue: SpanProcessor, counts: SpanCounts, room: int) -> None:
        self._queue = queue
        self._counts = counts
        self._room = room

    def on_end(self, span: ReadableSpan) -> None:
        if self._counts.waiting >= self._room:
            self._counts.dropped += 1
        else:
            self._counts.queued += 1
            self._queue.on_end(span)

    def shutdown(self) -> None:
        self._queue.shutdown()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return self._queue.force_flush(timeout_millis)


class _Counted(SpanExporter):
    """Exports spans, and counts the results."""

    def __init__(self, exporter: SpanExporter, counts: SpanCounts) -> None:
        self._exporter = exporter
        self._counts = counts

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        taken = False
        try:
            result = self._exporter.export(spans)
            taken = result is SpanExportResult.SUCCESS
        finally:
            if taken:
                self._counts.exported += len(spans)
            else:
                self._counts.failed += len(spans)
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _resource(labels: Mapping[str, str]) -> Resource:
    """Return the resource of all spans; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence."""
    ours = {"service.name": "eventgate-sidecar", "service.version": __version__}
    ours |= {f"eventgate_sidecar.label.{name}": value for name, value in labels.items()}
    theirs = OTELResourceDetector().detect().attributes
    return Resource.create({name: value for name, value in ours.items() if name not in theirs})
