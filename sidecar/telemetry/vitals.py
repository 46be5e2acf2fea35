"""How it stands at this moment, as gauges that are read when somebody asks for the metrics.

What happens is counted where it happens, in `telemetry`. This is what lasts: nothing is done for it while nobody
asks, but for a timer that says how late the event loop is.
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
from sidecar.upstreams.endpoints import Endpoint, Pool
from sidecar.upstreams.health import Health

LAG_SECONDS = 0.5
"""How often the event loop's lag is measured."""
DOWN = frozenset({Health.UNHEALTHY, Health.EJECTED})
"""An address on probation gets events again: without any to try it with, it stays there."""


class Held(Protocol):
    """What is being answered; `intake.endpoint.EventsEndpoint` is one."""

    in_flight: int
    bytes_in_flight: int


class Vitals(Collector):
    """The gauges of a running sidecar."""

    def __init__(
        self,
        registry: CollectorRegistry,
        pools: Callable[[], Iterable[Pool]],
        held: Held,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pools` gives those in force now."""
        self._pools = pools
        self._held = held
        self._clock = clock
        self._lag = 0.0
        registry.register(self)
        ProcessCollector(namespace="eventgate_sidecar", registry=registry)

    async def run(self) -> None:
        """Measure the event loop's lag until cancelled."""
        loop_clock = asyncio.get_running_loop().time
        while True:
            seconds = until_tick(loop_clock(), LAG_SECONDS)
            due = self._clock() + seconds
            await asyncio.sleep(seconds)
            self._lag = max(self._lag, self._clock() - due)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics; the lag begins anew."""
        yield self._health()
        yield GaugeMetricFamily(
            "eventgate_sidecar_requests_in_flight", "Requests that are read or answered now.", self._held.in_flight
        )
        yield GaugeMetricFamily(
            "eventgate_sidecar_bytes_in_flight",
            "Bytes held of requests' bodies, inflated, and of answers that clients do not read, now.",
            self._held.bytes_in_flight,
        )
        lag, self._lag = self._lag, 0.0
        yield GaugeMetricFamily(
            "eventgate_sidecar_event_loop_lag_seconds",
            "How late a timer of 0.5 s was, at most, since the metrics were last asked for.",
            lag,
        )

    def _health(self) -> Metric:
        healthy = GaugeMetricFamily(
            "eventgate_sidecar_endpoint_healthy",
            "1 while an address of it may get events, 0 while all are unhealthy or ejected or there is none.",
            labels=("upstream", "endpoint"),
        )
        for pool in self._pools():
            for endpoint in pool.endpoints:
                healthy.add_metric((pool.name, endpoint.name), float(_may_get_events(endpoint)))
        return healthy


def _may_get_events(endpoint: Endpoint) -> bool:
    return any(address.standing.health not in DOWN for address in endpoint.addresses.values())
