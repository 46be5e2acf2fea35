"""Counters of every request and every POST: plain numbers that become metrics at a scrape.

Looking up a Prometheus metric by its labels costs more than everything else counted for a batch of one event, and a
`collections.Counter` is twice as slow as a `defaultdict`.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Container, Iterable

from prometheus_client import Metric
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

OTHER_STREAM = "_other"
"""Label for streams that `routes.yaml` does not name, so that a producer cannot grow the metrics."""
NO_ROUTE = "_none"
"""Label for events that no route took."""
MAX_FLOWS = 2000
"""Combinations of stream, route and outcome that are counted separately, since a producer can make up any number."""
MAX_TAKEN_OVER = 256
"""Pairs of a pod's labels and an upstream whose hand-overs are counted separately at a gateway."""
OTHER_ORIGINS = "others"
MAX_FLOW_NAME = 128
"""Maximum characters of a stream counted separately, unless `routes.yaml` names it."""
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
        self.flows: dict[tuple[str, str, str], int] = {}
        """The same events by stream, route and outcome, for the status page. It also has streams without a label of
        their own, up to a bound; routes are exact."""
        self.mirrored: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        """Copies, by route, upstream and result."""
        self.arrived: defaultdict[tuple[str, str], int] = defaultdict(int)
        """By upstream and endpoint: events of POSTs that were answered."""
        self.handed_over = Counter(taken=0, refused=0, doubtful=0)
        """Events sent to a gateway, by result."""
        self.taken_over: Counter[tuple[str, str]] = Counter()
        """Events that pods handed over to this gateway, by the pods' labels and by upstream, up to a bound."""
        self._forgotten: Counter[str] = Counter()
        """By outcome: events of streams that left the metrics."""
        self.answers: defaultdict[int, int] = defaultdict(int)
        """By HTTP status."""
        self.seconds = Seconds()
        """From the end of reading a request to its answer."""
        self.posts: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        """By upstream, endpoint and result."""
        self.post_seconds: defaultdict[tuple[str, str], Seconds] = defaultdict(Seconds)
        """By upstream and endpoint."""

    @property
    def routed(self) -> dict[tuple[str, str], int]:
        """Events by route and outcome."""
        found: defaultdict[tuple[str, str], int] = defaultdict(int)
        for (_, route, outcome), count in self.flows.items():
            found[route, outcome] += count
        return found

    @property
    def ended(self) -> Counter[str]:
        """All events since the start, by outcome."""
        found = Counter(self._forgotten)
        for (_, outcome), count in self.events.items():
            found[outcome] += count
        return found

    def flow(self, stream: str, route: str, outcome: str, count: int) -> None:
        """Count events by their stream and the route that took them."""
        flow = (stream, route, outcome)
        if flow not in self.flows and len(self.flows) >= MAX_FLOWS:
            flow = (OTHER_STREAM, route, outcome)
        self.flows[flow] = self.flows.get(flow, 0) + count

    def take_over(self, labels: str, upstream: str, count: int) -> None:
        """Count events that pods with these labels handed over."""
        if (labels, upstream) not in self.taken_over and len(self.taken_over) >= MAX_TAKEN_OVER:
            labels = OTHER_ORIGINS
        self.taken_over[labels, upstream] += count

    def keep(self, streams: Container[str], routes: Container[str], endpoints: Container[tuple[str, str]]) -> None:
        """Forget what is counted of any other stream, route and endpoint."""
        for stream, outcome in [each for each in self.events if each[0] not in streams]:
            self._forgotten[outcome] += self.events.pop((stream, outcome))
        for flow in [each for each in self.flows if each[1] not in routes]:
            del self.flows[flow]
        for copies in [each for each in self.mirrored if each[0] not in routes]:
            del self.mirrored[copies]
        for end in [each for each in self.post_seconds if each not in endpoints]:
            del self.post_seconds[end]
            self.arrived.pop(end, None)
        for post in [each for each in self.posts if each[:2] not in endpoints]:
            del self.posts[post]

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
            "eventgate_sidecar_spool_handed_over_events",
            "Events handed over to the gateway, by result: taken, refused or doubtful (maybe in both places).",
            ("result",),
            (((result,), count) for result, count in self.handed_over.items()),
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
