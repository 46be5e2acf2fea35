"""Counts and logs happenings in one place, so that log, metrics and status page agree."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.telemetry.happenings import Happening
from sidecar.telemetry.log import dropped_lines, spaced
from sidecar.telemetry.metrics import Metrics


class _LogHealth(Collector):
    """Counts dropped log lines."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "eventgate_sidecar_log_lines_dropped",
            "Log lines dropped because standard output was not read.",
            dropped_lines(self._log),
        )


class Telemetry:
    """Takes the happenings of all parts; built by `runtime`."""

    def __init__(self, streams: Iterable[str], log: logging.Logger) -> None:
        """`streams` get labels of their own."""
        self.registry = CollectorRegistry()
        self.registry.register(_LogHealth(log))
        self._metrics = Metrics(self.registry, streams)
        self._counting = self._metrics.counting
        self.counts = self._metrics.counts
        self._log = log
        self._sampled: dict[tuple[object, ...], tuple[float, int]] = {}
        """For each kind, when its last line was written, and how many were suppressed since."""
        self.observer: Callable[[int, Happening, str, int], None] = lambda *_: None
        """Called with each log line (level, happening, text, how many it stands for) and each health check."""

    def emit(self, happening: Happening) -> None:
        """Count it, and log it if its level says so."""
        self._counting[type(happening)](happening)
        level = happening.level
        if level:
            self._tell(level, happening)

    def know(self, streams: Iterable[str], routes: Iterable[str], endpoints: Iterable[tuple[str, str]]) -> None:
        """Give these streams, and no others, labels of their own; `routes` and `endpoints` are those in force."""
        self._metrics.know(streams, routes, endpoints)

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _tell(self, level: int, happening: Happening) -> None:
        if level == logging.DEBUG:
            self.observer(level, happening, "", 1)
            return
        untold = self._suppressed(happening)
        if untold is None:
            return
        name, words = type(happening).__name__, happening.words
        self.observer(level, happening, f"{spaced(name)}: {words}", untold + 1)
        more = f" (and {untold} more like it)" if untold else ""
        extra = {"event.action": name, "eventgate_sidecar": msgspec.structs.asdict(happening)}
        self._log.log(level, "%s: %s%s", spaced(name), words, more, extra=extra)

    def _suppressed(self, happening: Happening) -> int | None:
        """Return how many of its kind were suppressed since the last line; None to suppress this one too."""
        if happening.sampled_by is None:
            return 0
        if len(self._sampled) > 256:
            self._sampled.clear()
        values: list[object] = []
        for name in happening.sampled_by:
            value = getattr(happening, name)
            values.append(self._metrics.label(value) if name == "stream" else value)  # unknown streams are one kind
        kind, now = (type(happening), *values), time.monotonic()
        last, untold = self._sampled.get(kind, (-math.inf, 0))
        if now - last < happening.sampled_every:
            self._sampled[kind] = (last, untold + 1)
            return None
        self._sampled[kind] = (now, 0)
        return untold
