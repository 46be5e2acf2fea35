"""Counters of every request and every POST: plain numbers that become metrics at a scrape.

Looking up a Prometheus metric by its labels costs more than everything else counted for a batch of one event, and a
`collections.Counter` is twice as slow as a `defaultdict`.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import defaultdict
from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 5.0)


class Seconds:
    """A histogram of durations in seconds, by `LATENCY_BUCKETS`."""

    def __init__(self) -> None:
        """Start with an empty histogram."""
        self.counts = [0] * (len(LATENCY_BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        """Add one duration."""
        self.counts[bisect.bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self.sum += seconds

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """The cumulative buckets, as Prometheus wants them."""
        bounds = [str(floatToGoString(bound)) for bound in (*LATENCY_BUCKETS, math.inf)]  # type: ignore[no-untyped-call]
        return list(zip(bounds, map(float, itertools.accumulate(self.counts)), strict=True))


class Counts(Collector):
    """The counters; any of them may be read at any time."""

    def __init__(self) -> None:
        """Start with all counters empty."""
        self.events: defaultdict[tuple[str, str], int] = defaultdict(int)
        """By stream and outcome."""
        self.routed: defaultdict[tuple[str, str], int] = defaultdict(int)
        """The same events by route and outcome, including those of streams without a label of their own."""
        self.mirrored: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        """Copies, by route, upstream and result."""
        self.answers: defaultdict[int, int] = defaultdict(int)
        """By HTTP status."""
        self.seconds = Seconds()
        """From the end of reading a request to its answer."""
        self.posts: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        """By upstream, endpoint and result."""
        self.post_seconds: defaultdict[tuple[str, str], Seconds] = defaultdict(Seconds)
        """By upstream and endpoint."""

    def post(self, upstream: str, endpoint: str, result: str, seconds: float) -> None:
        """Count a POST to an endpoint."""
        self.posts[upstream, endpoint, result] += 1
        self.post_seconds[upstream, endpoint].observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """Return the metrics."""
        yield _counter(
            "eventgate_sidecar_events",
            "Events received, by outcome: delivered, invalid, refused, spooled, failed.",
            ("stream", "outcome"),
            self.events.items(),
        )
        yield _counter(
            "eventgate_sidecar_route_events",
            "The same events, by the route that took them; _none: no route did.",
            ("route", "outcome"),
            self.routed.items(),
        )
        yield _counter(
            "eventgate_sidecar_mirrored_events",
            "Copies that a route's mirror made, by result: sent, failed, full, refused, stopped.",
            ("route", "upstream", "result"),
            self.mirrored.items(),
        )
        yield _counter(
            "eventgate_sidecar_requests",
            "Answers to producers, by HTTP status.",
            ("status",),
            (((str(status),), count) for status, count in self.answers.items()),
        )
        yield HistogramMetricFamily(
            "eventgate_sidecar_request_seconds",
            "From the end of reading a request to its answer.",
            buckets=self.seconds.buckets,
            sum_value=self.seconds.sum,
        )
        yield _counter(
            "eventgate_sidecar_posts",
            "POSTs to endpoints; result is answered or the class of the failure.",
            ("upstream", "endpoint", "result"),
            self.posts.items(),
        )
        posts = HistogramMetricFamily(
            "eventgate_sidecar_post_seconds",
            "Duration of POSTs to endpoints, up to the last byte of the answer or the failure.",
            labels=("upstream", "endpoint"),
        )
        for labels, seconds in self.post_seconds.items():
            posts.add_metric(labels, seconds.buckets, seconds.sum)
        yield posts


def _counter(
    name: str, documentation: str, labels: tuple[str, ...], values: Iterable[tuple[tuple[str, ...], int]]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for value, count in values:
        family.add_metric(value, count)
    return family
