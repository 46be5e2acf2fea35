"""The metrics, each beside the happening that it counts.

What happens with every request is in `counts`; gauges, such as health, are in `vitals`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from sidecar import __version__
from sidecar.telemetry.counts import MAX_FLOW_NAME, NO_ROUTE, OTHER_STREAM, Counts
from sidecar.telemetry.handovers import HandedOver, TakenOver
from sidecar.telemetry.happenings import (
    AddressesChanged,
    CaFileChanged,
    Checked,
    ConfigLoaded,
    ConfigRefused,
    DeadLettered,
    DeadLettersDropped,
    EventsEnded,
    EventsSpooled,
    FailedOver,
    Happening,
    HealthChanged,
    Mirrored,
    PostAnswered,
    PostFailed,
    Replayed,
    RequestAnswered,
    Resent,
    SpoolBroken,
    SpoolCommitted,
    SpoolMeasured,
    SpoolOpened,
    SpoolRefused,
    SpoolSetAside,
)

disable_created_metrics()  # type: ignore[no-untyped-call]  # an unused extra series for every counter

PREFIX = "eventgate_sidecar_"
ENDPOINT = ("upstream", "endpoint")
COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

Kind = TypeVar("Kind", bound=Happening)


class Metrics:
    """Counts happenings."""

    def __init__(self, registry: CollectorRegistry, streams: Iterable[str]) -> None:
        """`streams` get labels of their own."""
        self._registry = registry
        self._streams = set(streams)
        self._of_configuration: list[tuple[Counter, tuple[str, ...]]] = []
        """Those with labels that a configuration names, and their labels."""
        self.counts = Counts()
        self.counting: dict[type[Happening], Callable[[Any], object]]
        self.counting = dict.fromkeys(Happening.__subclasses__(), lambda _: None)
        """The function that counts a happening, by its type."""
        registry.register(self.counts)
        self._gauge("info", "Always 1.", ("version",)).labels(__version__).set(1)
        self._count_requests()
        self._count_of_endpoints()
        self._count_configurations()
        self._measure_spool()
        self._count_events_of_spool()

    def know(self, streams: Iterable[str], routes: Iterable[str], endpoints: Iterable[tuple[str, str]]) -> None:
        """Give these streams, and no others, labels of their own; `routes` and `endpoints` are those in force.

        Series of others leave the metrics.
        """
        self._streams.clear()
        self._streams.update(streams)
        named, taking, reached = {*self._streams, OTHER_STREAM}, {*routes, NO_ROUTE}, set(endpoints)
        self.counts.keep(named, taking, reached)
        trouble = ("refused", "failed")  # start at 0, so that an alert sees the first one
        for stream, outcome in itertools.product(named, trouble):
            self.counts.events[stream, outcome] += 0
        for route, outcome in itertools.product(taking, trouble):
            self.counts.flow(OTHER_STREAM, route, outcome, 0)
        upstreams = {upstream for upstream, _ in reached}
        for metric, labels in self._of_configuration:
            for sample in next(iter(metric.collect())).samples:
                values = sample.labels
                end = (values.get("upstream"), values.get("endpoint"))
                gone = end not in reached if end[1] else end[0] not in {*upstreams, None}
                if gone or values.get("stream", OTHER_STREAM) not in named:
                    metric.remove(*(values[label] for label in labels))

    def label(self, stream: str) -> str:
        """Return the label of a stream."""
        return stream if stream in self._streams else OTHER_STREAM

    def _on(self, kind: type[Kind], count: Callable[[Kind], object]) -> None:
        self.counting[kind] = count

    def _counter(self, name: str, documentation: str, labels: tuple[str, ...] = ()) -> Counter:
        made = Counter(PREFIX + name, documentation, labels, registry=self._registry)
        if {"upstream", "stream"} & set(labels):
            self._of_configuration.append((made, labels))
        return made

    def _gauge(self, name: str, documentation: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(PREFIX + name, documentation, labels, registry=self._registry)

    def _count_requests(self) -> None:
        counts, streams = self.counts, self._streams
        events, flows = counts.events, counts.flows

        def ended(it: EventsEnded) -> None:
            stream, route = it.stream, it.route or NO_ROUTE
            if stream in streams:
                label = shown = stream
            else:
                label = OTHER_STREAM
                shown = stream if it.route and 0 < len(stream) <= MAX_FLOW_NAME else label
            events[label, it.outcome] += it.count
            try:
                flows[shown, route, it.outcome] += it.count
            except KeyError:
                counts.flow(shown, route, it.outcome, it.count)

        def answered(it: RequestAnswered) -> None:
            counts.answers[it.status] += 1
            counts.seconds.observe(it.seconds)

        def post_answered(it: PostAnswered) -> None:
            counts.post(it.upstream, it.endpoint, "answered", it.seconds)
            counts.arrived[it.upstream, it.endpoint] += it.events

        self._on(EventsEnded, ended)

        def mirrored(it: Mirrored) -> None:
            counts.mirrored[it.route, it.upstream, it.result] += it.count

        self._on(RequestAnswered, answered)
        self._on(Mirrored, mirrored)
        self._on(PostAnswered, post_answered)
        self._on(PostFailed, lambda it: counts.post(it.upstream, it.endpoint, it.failure, it.seconds))

    def _count_of_endpoints(self) -> None:
        documentation = "Events sent again although the first attempt may have been accepted: possible duplicates."
        resent = self._counter("events_resent", documentation, ENDPOINT)
        self._on(Resent, lambda it: resent.labels(it.upstream, it.endpoint).inc(it.events))

        documentation = "Health checks, by result: passed or failed."
        checks = self._counter("health_checks", documentation, (*ENDPOINT, "result"))
        result = {True: "passed", False: "failed"}
        self._on(Checked, lambda it: checks.labels(it.upstream, it.endpoint, result[it.passed]).inc())

        documentation = "Transitions of an address's health, by new state."
        changes = self._counter("health_changes", documentation, (*ENDPOINT, "health"))
        self._on(HealthChanged, lambda it: changes.labels(it.upstream, it.endpoint, it.after).inc())

        documentation = "Changes of the endpoint that gets an upstream's events first, by new endpoint."
        failovers = self._counter("failovers", documentation, ENDPOINT)
        self._on(FailedOver, lambda it: failovers.labels(it.upstream, it.after).inc())

        documentation = "Changes of the addresses that DNS gives for an endpoint's name."
        dns_changes = self._counter("dns_changes", documentation, ENDPOINT)
        self._on(AddressesChanged, lambda it: dns_changes.labels(it.upstream, it.endpoint).inc())

        documentation = "Reloads of a changed CA file, by result: applied or refused."
        renewed = self._counter("ca_file_loads", documentation, ("result",))
        self._on(CaFileChanged, lambda it: renewed.labels("refused" if it.problem else "applied").inc())

    def _count_configurations(self) -> None:
        documentation = "Loads of routes.yaml, by result: applied or refused."
        loads = self._counter("config_loads", documentation, ("result",))
        documentation = "1 while routes.yaml on disk is refused and an earlier configuration is in force."
        refused = self._gauge("config_refused", documentation)
        documentation = "When the configuration in force was loaded, in Unix time."
        loaded_at = self._gauge("config_loaded_timestamp_seconds", documentation)

        def count_loaded(_: ConfigLoaded) -> None:
            loads.labels("applied").inc()
            loaded_at.set_to_current_time()
            refused.set(0)

        def count_refused(_: ConfigRefused) -> None:
            loads.labels("refused").inc()
            refused.set(1)

        self._on(ConfigLoaded, count_loaded)
        self._on(ConfigRefused, count_refused)

    def _measure_spool(self) -> None:
        documentation = "1 while the spool takes events, 0 while it is broken; absent without a spool."
        usable = self._gauge("spool_usable", documentation, ("directory",))
        self._on(SpoolOpened, lambda it: usable.labels(it.directory).set(1))
        self._on(SpoolBroken, lambda it: usable.labels(it.directory).set(0))

        events = self._gauge("spool_events", "Events waiting to be sent.")
        size = self._gauge("spool_bytes", "Bytes of all events, including dead letters.")
        dead = self._gauge("spool_dead_letters", "Events that are no longer sent.")
        oldest = self._gauge("spool_oldest_seconds", "Age of the oldest waiting event.")

        def measured(it: SpoolMeasured) -> None:
            events.set(it.events)
            size.set(it.size)
            dead.set(it.dead_letters)
            oldest.set(it.oldest_seconds)

        self._on(SpoolMeasured, measured)

        set_aside = self._counter("spool_files_set_aside", "Files that could not be used.")
        self._on(SpoolSetAside, lambda _: set_aside.inc())

        name, documentation = f"{PREFIX}spool_commit_seconds", "Duration of transactions, including fsync."
        commits = Histogram(name, documentation, buckets=COMMIT_BUCKETS, registry=self._registry)
        self._on(SpoolCommitted, lambda it: commits.observe(it.seconds))

    def _count_events_of_spool(self) -> None:
        spooled = self._counter("spool_stored_events", "Events put into the spool.", ("stream",))
        self._on(EventsSpooled, lambda it: spooled.labels(self.label(it.stream)).inc(it.count))

        documentation = "Events that the spool did not take, by reason: full or broken."
        refused = self._counter("spool_refused_events", documentation, ("why",))
        for why in ("full", "broken"):  # start at 0, so that an alert sees the first one
            refused.labels(why)
        self._on(SpoolRefused, lambda it: refused.labels(it.why).inc(it.events))

        documentation = "Events sent from the spool, by result: delivered, dead, error or failed."
        replayed = self._counter("spool_replayed_events", documentation, ("upstream", "result"))
        self._on(Replayed, lambda it: replayed.labels(it.upstream, it.result).inc(it.events))

        documentation = "Events that became dead letters, by cause: invalid, errors, age, damaged or refused."
        buried = self._counter("spool_buried_events", documentation, ("stream", "cause"))
        self._on(DeadLettered, lambda it: buried.labels(self.label(it.stream), it.cause).inc(it.count))

        self._on(HandedOver, lambda it: self.counts.handed_over.update({it.result: it.events}))
        taken = self._counter("spool_taken_over_events", "Events that sidecars handed over to this gateway.")
        self._on(TakenOver, lambda it: taken.inc(it.events))

        dropped = self._counter("spool_dropped_dead_letters", "Dead letters deleted to make room for events.")
        self._on(DeadLettersDropped, lambda it: dropped.inc(it.count))
