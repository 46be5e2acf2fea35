"""What happens to the spool, as typed values, and the metrics they become; `telemetry` has the log and the rest."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


@dataclass(frozen=True, slots=True)
class SpoolOpened:
    """The spool is in use: at the start, and again after a trouble is over."""

    directory: str
    events: int
    dead_letters: int


@dataclass(frozen=True, slots=True)
class SpoolBroken:
    """The spool cannot be used now, and events that need it are answered 503; it is tried again every second."""

    directory: str
    reason: str


@dataclass(frozen=True, slots=True)
class SpoolSetAside:
    """A file of the spool could not be used; it has a new name, and what could be read of it was saved."""

    directory: str
    name: str
    reason: str
    saved: int


@dataclass(frozen=True, slots=True)
class SpoolMigrated:
    """A file of an older version was brought to this one."""

    directory: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class SpoolCommitted:
    """What waited for the disk is durable."""

    operations: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SpoolMeasured:
    """How much the spool holds."""

    events: int
    size: int
    dead_letters: int
    oldest_seconds: float


@dataclass(frozen=True, slots=True)
class EventsSpooled:
    """Events of one stream are in the spool, to be sent later."""

    stream: str
    count: int


@dataclass(frozen=True, slots=True)
class SpoolRefused:
    """Events needed the spool and could not be taken: it is full, or broken."""

    why: str
    reason: str
    events: int


@dataclass(frozen=True, slots=True)
class Replayed:
    """Events of the spool were sent, and ended alike: delivered, dead, error or failed."""

    upstream: str
    result: str
    events: int
    reason: str = ""
    """Why, where no endpoint took them."""


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """Events of one stream are not sent any more: invalid, errors, age, or damaged."""

    stream: str
    cause: str
    count: int


@dataclass(frozen=True, slots=True)
class DeadLettersDropped:
    """The oldest dead letters had to make room for events: they are lost."""

    count: int


SpoolHappening = (
    SpoolOpened
    | SpoolBroken
    | SpoolSetAside
    | SpoolMigrated
    | SpoolCommitted
    | SpoolMeasured
    | EventsSpooled
    | SpoolRefused
    | Replayed
    | DeadLettered
    | DeadLettersDropped
)

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Line:
    """Whether to write a line: how loud, and how many seconds at least between two of a kind."""

    level: int
    kind: tuple[object, ...] = ()
    apart: float = 0.0


class SpoolMetrics:
    """Counts what happens to the spool, and says what of it is worth a line in the log."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Nothing has happened."""
        self._usable = Gauge("eventgate_sidecar_spool_usable", "1 while the spool takes events.", registry=registry)
        self._events = Gauge("eventgate_sidecar_spool_events", "Events that wait to be sent.", registry=registry)
        self._bytes = Gauge(
            "eventgate_sidecar_spool_bytes", "Bytes of all events, dead letters too.", registry=registry
        )
        self._dead = Gauge("eventgate_sidecar_spool_dead_letters", "Events not sent any more.", registry=registry)
        self._oldest = Gauge(
            "eventgate_sidecar_spool_oldest_seconds", "Age of the oldest event that waits.", registry=registry
        )
        self._set_aside = Counter(
            "eventgate_sidecar_spool_files_set_aside", "Files that could not be used.", registry=registry
        )
        self._commits = Histogram(
            "eventgate_sidecar_spool_commit_seconds",
            "Transactions, with their fsync.",
            buckets=COMMIT_BUCKETS,
            registry=registry,
        )
        self._define_counts_of_events(registry)

    def _define_counts_of_events(self, registry: CollectorRegistry) -> None:
        self._spooled = Counter(
            "eventgate_sidecar_spool_stored_events", "Events put into the spool.", ("stream",), registry=registry
        )
        self._refused = Counter(
            "eventgate_sidecar_spool_refused_events",
            "Events that the spool did not take, by why: full or broken.",
            ("why",),
            registry=registry,
        )
        self._replayed = Counter(
            "eventgate_sidecar_spool_replayed_events",
            "Events sent from the spool, by result: delivered, dead, error or failed.",
            ("upstream", "result"),
            registry=registry,
        )
        self._buried = Counter(
            "eventgate_sidecar_spool_buried_events",
            "Events that became dead letters, by cause: invalid, errors, age or damaged.",
            ("stream", "cause"),
            registry=registry,
        )
        self._dropped = Counter(
            "eventgate_sidecar_spool_dropped_dead_letters",
            "Dead letters lost because events needed their room.",
            registry=registry,
        )

    def count(self, happening: SpoolHappening, label: str) -> Line | None:
        """Count it; return what to do about a line. `label` stands for its stream."""
        match happening:
            case EventsSpooled() | SpoolRefused() | Replayed() | DeadLettered() | DeadLettersDropped():
                return self._of_events(happening, label)
            case _:
                return self._of_the_file(happening)

    def _of_the_file(
        self,
        happening: SpoolOpened | SpoolBroken | SpoolSetAside | SpoolMigrated | SpoolCommitted | SpoolMeasured,
    ) -> Line | None:
        match happening:
            case SpoolOpened():
                self._usable.set(1)
                return Line(logging.INFO)
            case SpoolBroken():
                self._usable.set(0)
                return Line(logging.ERROR, apart=MINUTE)
            case SpoolSetAside():
                self._set_aside.inc()
                return Line(logging.ERROR)
            case SpoolMigrated():
                return Line(logging.INFO)
            case SpoolCommitted(_, seconds):
                self._commits.observe(seconds)
            case SpoolMeasured(events, size, dead_letters, oldest_seconds):
                self._events.set(events)
                self._bytes.set(size)
                self._dead.set(dead_letters)
                self._oldest.set(oldest_seconds)
        return None

    def _of_events(
        self,
        happening: EventsSpooled | SpoolRefused | Replayed | DeadLettered | DeadLettersDropped,
        label: str,
    ) -> Line | None:
        match happening:
            case EventsSpooled(_, count):
                self._spooled.labels(label).inc(count)
            case SpoolRefused(why, _, events):
                self._refused.labels(why).inc(events)
                return Line(logging.ERROR, (why,), MINUTE)
            case Replayed(upstream, result, events, reason):
                self._replayed.labels(upstream, result).inc(events)
                return Line(logging.WARNING, (upstream, result), MINUTE) if reason else None
            case DeadLettered(_, cause, count):
                self._buried.labels(label, cause).inc(count)
                return Line(logging.WARNING, (label, cause), MINUTE)
            case DeadLettersDropped(count):
                self._dropped.inc(count)
                return Line(logging.ERROR, apart=MINUTE)
        return None
