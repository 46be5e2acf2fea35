"""Gauges of the current state, read at each scrape.

Happenings are counted in `metrics`. Between scrapes only a timer runs, which measures the event loop's lag.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from typing import Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sidecar.timers import until_tick

LAG_SECONDS = 0.5
"""How often the event loop's lag is measured."""


class Held(Protocol):
    """Requests and bytes in flight; implemented by `intake.endpoint.EventsEndpoint`."""

    in_flight: int

    @property
    def bytes_in_flight(self) -> int:
        """Bytes held for clients."""


class Vitals(Collector):
    """The gauges of a running sidecar."""

    def __init__(
        self,
        registry: CollectorRegistry,
        endpoints: Callable[[], Iterable[tuple[str, str, bool, bool]]],
        held: Held,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`endpoints` returns those in force: upstream, endpoint, whether it is usable, whether DNS fails for it."""
        self._endpoints = endpoints
        self._held = held
        self._clock = clock
        self._lag = 0.0
        registry.register(self)
        ProcessCollector(namespace="eventgate_sidecar", registry=registry)

    async def run(self) -> None:
        """Measure the event loop's lag until cancelled."""
        now = self._clock()
        while True:
            seconds = until_tick(now, LAG_SECONDS)
            due = now + seconds
            await asyncio.sleep(seconds)
            now = self._clock()
            self._lag = max(self._lag, now - due)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics, and reset the lag."""
        yield from self._of_endpoints()
        yield GaugeMetricFamily(
            "eventgate_sidecar_requests_in_flight", "Requests being read or answered now.", self._held.in_flight
        )
        yield GaugeMetricFamily(
            "eventgate_sidecar_bytes_in_flight",
            "Bytes held for clients now: of requests, decompressed, and of answers that clients have not read.",
            self._held.bytes_in_flight,
        )
        lag, self._lag = self._lag, 0.0
        yield GaugeMetricFamily(
            "eventgate_sidecar_event_loop_lag_seconds",
            "Maximum delay of a 0.5 s timer since the last scrape.",
            lag,
        )

    def _of_endpoints(self) -> Iterable[Metric]:
        labels = ("upstream", "endpoint")
        documentation = (
            "1 while events may be sent to it, including as a trial; 0 while all its addresses fail or it has none. "
            "Only of upstreams that get events of this pod."
        )
        healthy = GaugeMetricFamily("eventgate_sidecar_endpoint_healthy", documentation, labels=labels)
        documentation = "1 while DNS gives no address for its name; the last known addresses stay in use."
        unnamed = GaugeMetricFamily("eventgate_sidecar_endpoint_dns_failing", documentation, labels=labels)
        for upstream, endpoint, usable, dns_fails in self._endpoints():
            healthy.add_metric((upstream, endpoint), float(usable))
            unnamed.add_metric((upstream, endpoint), float(dns_fails))
        return healthy, unnamed
