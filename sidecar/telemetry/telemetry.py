"""Everything that happens inside, as typed values; this module turns each into a log line and a metric.

Nothing else logs or counts, so log, metric and status page cannot disagree. No event's content is ever
logged: only streams, names and reasons.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest

from sidecar import __version__
from sidecar.telemetry.configtelemetry import ConfigHappening, ConfigLoaded, ConfigMetrics, ConfigNotKept, ConfigRefused
from sidecar.telemetry.counts import Counts
from sidecar.telemetry.log import short, spaced
from sidecar.telemetry.spooltelemetry import SpoolHappening, SpoolMetrics

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for every counter, which nobody reads

OTHER_STREAM = "_other"
"""Label for streams that `routes.yaml` does not name, so that a producer cannot grow the metrics."""
NO_ROUTE = "_none"
"""Label for events that no route took."""


class Listening(msgspec.Struct, frozen=True):
    """Both listeners accept connections."""

    intake: str
    admin: str


class Stopping(msgspec.Struct, frozen=True):
    """A signal asked to stop; requests are still taken for `seconds` at most."""

    signal: str
    seconds: float


class Stopped(msgspec.Struct, frozen=True):
    """Nothing is taken any more."""

    unanswered: int


class RequestAnswered(msgspec.Struct, frozen=True):
    """A producer got its answer."""

    status: int
    seconds: float


class RequestRefused(msgspec.Struct, frozen=True):
    """A request could not be taken as a whole."""

    status: int
    title: str
    detail: str


class EventsEnded(msgspec.Struct, frozen=True):
    """Events of one stream ended with one outcome."""

    stream: str
    outcome: str
    count: int
    reason: str = ""
    """Why, where the outcome is no success."""
    route: str = ""
    """Which took them; empty where none did."""


class PostAnswered(msgspec.Struct, frozen=True):
    """An endpoint gave its verdict on a POST."""

    upstream: str
    endpoint: str
    events: int
    seconds: float


class PostFailed(msgspec.Struct, frozen=True):
    """An attempt at an endpoint brought no verdict."""

    upstream: str
    endpoint: str
    failure: str
    reason: str
    seconds: float


class Resent(msgspec.Struct, frozen=True):
    """Events went out a second time although the first attempt may have been taken: possible duplicates."""

    upstream: str
    endpoint: str
    """Where the first attempt went."""
    events: int


class AddressesChanged(msgspec.Struct, frozen=True):
    """What is known of an endpoint's name changed; both as name → CNAMEs → addresses."""

    upstream: str
    endpoint: str
    before: str
    after: str


class Checked(msgspec.Struct, frozen=True):
    """A health check ended."""

    upstream: str
    endpoint: str
    passed: bool
    seconds: float


class HealthChanged(msgspec.Struct, frozen=True):
    """The health of an address changed."""

    upstream: str
    endpoint: str
    address: str
    before: str
    after: str
    reason: str


class FailedOver(msgspec.Struct, frozen=True):
    """Events of an upstream go to another endpoint first from now on."""

    upstream: str
    before: str
    after: str


class Unexpected(msgspec.Struct, frozen=True):
    """A bug of ours, caught at the edge."""

    where: str
    error: str


Seldom = (
    Listening
    | ConfigHappening
    | Stopping
    | Stopped
    | RequestRefused
    | PostFailed
    | Resent
    | AddressesChanged
    | Checked
    | HealthChanged
    | FailedOver
    | SpoolHappening
    | Unexpected
)
Happening = EventsEnded | RequestAnswered | PostAnswered | Seldom
"""The first three come with every request."""


class Telemetry:
    """The one place that logs and counts; `runtime` builds it, every other part receives it."""

    def __init__(self, streams: Iterable[str], log: logging.Logger) -> None:
        """`streams` are those that get a label of their own."""
        self.registry = CollectorRegistry()
        self._streams = set(streams)
        self._log = log
        self._sampled: dict[tuple[object, ...], tuple[float, int]] = {}
        self.observer: Callable[[int, Happening, str, int], None] = lambda *_: None
        """Told of each line of the log (level, happening, text, how many it stands for) and of each health check."""
        self.counts = Counts()
        self.registry.register(self.counts)
        self._define_counts_of_endpoints()
        self._of_config = ConfigMetrics(self.registry)
        self._of_spool = SpoolMetrics(self.registry, self._streams, OTHER_STREAM, self._log_sampled)
        Gauge("eventgate_sidecar_info", "Always 1.", ("version",), registry=self.registry).labels(__version__).set(1)

    def _define_counts_of_endpoints(self) -> None:
        self._resent = Counter(
            "eventgate_sidecar_events_resent",
            "Events sent once more although the first attempt may have been taken: possible duplicates.",
            ("upstream", "endpoint"),
            registry=self.registry,
        )
        self._checks = Counter(
            "eventgate_sidecar_health_checks",
            "Health checks, by result: passed or failed.",
            ("upstream", "endpoint", "result"),
            registry=self.registry,
        )
        self._health_changes = Counter(
            "eventgate_sidecar_health_changes",
            "Transitions of an address's health, by the state it went to.",
            ("upstream", "endpoint", "health"),
            registry=self.registry,
        )
        self._failovers = Counter(
            "eventgate_sidecar_failovers",
            "Changes of the endpoint that gets an upstream's events first, by the endpoint they go to.",
            ("upstream", "endpoint"),
            registry=self.registry,
        )
        self._dns_changes = Counter(
            "eventgate_sidecar_dns_changes",
            "Changes in what DNS says of an endpoint's name.",
            ("upstream", "endpoint"),
            registry=self.registry,
        )

    def emit(self, happening: Happening) -> None:
        """Count it and log it, each where it is worth it."""
        if isinstance(happening, EventsEnded):
            label = happening.stream if happening.stream in self._streams else OTHER_STREAM
            self.counts.events[label, happening.outcome] += happening.count
            self.counts.routed[happening.route or NO_ROUTE, happening.outcome] += happening.count
            if happening.reason:
                self._log_sampled(logging.WARNING, happening, (label, happening.outcome))
        elif isinstance(happening, RequestAnswered):
            self.counts.answers[happening.status] += 1
            self.counts.seconds.observe(happening.seconds)
        elif isinstance(happening, PostAnswered):
            self.counts.post(happening.upstream, happening.endpoint, "answered", happening.seconds)
        else:
            self._emit_seldom(happening)

    def _emit_seldom(self, happening: Seldom) -> None:
        match happening:
            case RequestRefused(status, title, _):
                self._log_sampled(logging.WARNING, happening, (status, title))
            case PostFailed() | Resent():
                self._of_posts(happening)
            case AddressesChanged() | Checked() | HealthChanged() | FailedOver():
                self._of_health(happening)
            case Unexpected():
                self._log_line(logging.ERROR, happening)
            case Listening() | Stopping() | Stopped():
                self._log_line(logging.INFO, happening)
            case ConfigLoaded() | ConfigRefused() | ConfigNotKept():
                self._of_config.count(happening)
                self._log_line(happening.level, happening)
            case _:
                self._of_spool.emit(happening)

    def _of_posts(self, happening: PostFailed | Resent) -> None:
        match happening:
            case PostFailed(upstream, endpoint, failure, _, seconds):
                self.counts.post(upstream, endpoint, failure, seconds)
                self._log_sampled(logging.WARNING, happening, (upstream, endpoint, failure))
            case Resent(upstream, endpoint, events):
                self._resent.labels(upstream, endpoint).inc(events)

    def _of_health(self, happening: AddressesChanged | Checked | HealthChanged | FailedOver) -> None:
        match happening:
            case AddressesChanged(upstream, endpoint, _, _):
                self._dns_changes.labels(upstream, endpoint).inc()
                self._log_line(logging.INFO, happening)
            case Checked(upstream, endpoint, passed, _):
                self._checks.labels(upstream, endpoint, "passed" if passed else "failed").inc()
                self.observer(logging.DEBUG, happening, "", 1)
            case HealthChanged(upstream, endpoint, _, _, after, _):
                self._health_changes.labels(upstream, endpoint, after).inc()
                self._log_line(logging.INFO if after == "healthy" else logging.WARNING, happening)
            case FailedOver(upstream, _, after):
                self._failovers.labels(upstream, after).inc()
                self._log_line(logging.WARNING, happening)

    def know(self, streams: Iterable[str], routes: Iterable[str]) -> None:
        """Give these streams a label of their own from now on, and no others; the routes are those in force."""
        self._streams.clear()
        self._streams.update(streams)
        for label in (*self._streams, OTHER_STREAM):  # from 0 on, so that an alert sees the first one
            self.counts.events.update({(label, "refused"): 0, (label, "failed"): 0})
        for route in (*routes, NO_ROUTE):
            self.counts.routed.update({(route, "refused"): 0, (route, "failed"): 0})

    def exposition(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def _log_sampled(self, level: int, happening: Happening, kind: tuple[object, ...], apart: float = 1.0) -> None:
        """Log the first of a kind and then one every `apart` seconds, with the number of those in between."""
        if len(self._sampled) > 256:
            self._sampled.clear()
        key = (type(happening), *kind)
        now = time.monotonic()
        last, untold = self._sampled.get(key, (-1.0, 0))
        if last >= 0 and now - last < apart:
            self._sampled[key] = (last, untold + 1)
            return
        self._sampled[key] = (now, 0)
        self._log_line(level, happening, untold)

    def _log_line(self, level: int, happening: Happening, untold: int = 0) -> None:
        name = type(happening).__name__
        fields = msgspec.structs.asdict(happening)
        told = " ".join(f"{key}={short(value)}" for key, value in fields.items() if value != "")
        words = happening.words if isinstance(happening, ConfigRefused) else told  # as `check` prints them
        self.observer(level, happening, f"{spaced(name)}: {words}", untold + 1)
        more = f" (and {untold} more like it)" if untold else ""
        self._log.log(
            level, "%s: %s%s", spaced(name), words, more, extra={"event.action": name, "eventgate_sidecar": fields}
        )
