"""What happens to the spool, as typed values, and the metrics they become; `telemetry` has the log and the rest."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Protocol

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

COMMIT_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class SpoolOpened(msgspec.Struct, frozen=True):
    """The spool is in use: at the start, and again after a trouble is over."""

    directory: str
    events: int
    dead_letters: int


class SpoolBroken(msgspec.Struct, frozen=True):
    """The spool cannot be used now, and events that need it are answered 503; it is tried again every second."""

    directory: str
    reason: str


class SpoolSetAside(msgspec.Struct, frozen=True):
    """A file of the spool could not be used; it has a new name, and what could be read of it was saved."""

    directory: str
    name: str
    reason: str
    saved: int


class SpoolMigrated(msgspec.Struct, frozen=True):
    """A file of an older version was brought to this one."""

    directory: str
    before: int
    after: int


class SpoolCommitted(msgspec.Struct, frozen=True):
    """What waited for the disk is durable."""

    operations: int
    seconds: float


class SpoolMeasured(msgspec.Struct, frozen=True):
    """How much the spool holds."""

    events: int
    size: int
    dead_letters: int
    oldest_seconds: float


class EventsSpooled(msgspec.Struct, frozen=True):
    """Events of one stream are in the spool, to be sent later."""

    stream: str
    count: int


class SpoolRefused(msgspec.Struct, frozen=True):
    """Events needed the spool and could not be taken: it is full, or broken."""

    why: str
    reason: str
    events: int


class Replayed(msgspec.Struct, frozen=True):
    """Events of the spool were sent, and ended alike: delivered, dead, error or failed."""

    upstream: str
    result: str
    events: int
    reason: str = ""
    """Why, where no endpoint took them."""


class DeadLettered(msgspec.Struct, frozen=True):
    """Events of one stream are not sent any more: invalid, errors, age, or damaged."""

    stream: str
    cause: str
    count: int


class DeadLettersDropped(msgspec.Struct, frozen=True):
    """The oldest dead letters had to make room for events: they are lost."""

    count: int


class SpoolLeft(msgspec.Struct, frozen=True):
    """The sidecar ends while events of a stream wait in its spool; the next one to use the directory sends them."""

    stream: str
    count: int


class SpoolOrphaned(msgspec.Struct, frozen=True):
    """Events wait in the spool for an upstream that the configuration has no more; they wait until it has."""

    upstream: str
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
    | SpoolLeft
    | SpoolOrphaned
)

MINUTE = 60.0


class Log(Protocol):
    """Writes a line, unless there was one of the same kind less than `apart` seconds ago."""

    def __call__(self, level: int, happening: SpoolHappening, kind: tuple[object, ...], apart: float = 1.0) -> None:
        """Write it, or count it with those that are told together later."""


class SpoolMetrics:
    """Counts what happens to the spool, and logs what of it is worth a line."""

    def __init__(self, registry: CollectorRegistry, streams: Collection[str], other: str, log: Log) -> None:
        """`streams` are those that get a label of their own, and `other` is the label of all others."""
        self._streams = streams
        self._other = other
        self._log = log
        self._usable = Gauge(
            "eventgate_sidecar_spool_usable",
            "1 while the spool takes events, 0 while it is broken; nothing where there is no spool.",
            ("directory",),
            registry=registry,
        )
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
        for why in ("full", "broken"):  # from 0 on, so that an alert sees the first one
            self._refused.labels(why)
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

    def emit(self, happening: SpoolHappening) -> None:
        """Count it and log it, each where it is worth it."""
        match happening:
            case EventsSpooled() | SpoolRefused() | Replayed() | DeadLettered() | DeadLettersDropped():
                self._of_events(happening)
            case _:
                self._of_the_file(happening)

    def _of_the_file(
        self,
        happening: SpoolOpened
        | SpoolBroken
        | SpoolSetAside
        | SpoolMigrated
        | SpoolCommitted
        | SpoolMeasured
        | SpoolLeft
        | SpoolOrphaned,
    ) -> None:
        match happening:
            case SpoolOpened():
                self._usable.labels(happening.directory).set(1)
                self._log(logging.INFO, happening, ())
            case SpoolBroken():
                self._usable.labels(happening.directory).set(0)
                self._log(logging.ERROR, happening, (), MINUTE)
            case SpoolSetAside():
                self._set_aside.inc()
                self._log(logging.ERROR, happening, (happening.name,))
            case SpoolMigrated():
                self._log(logging.INFO, happening, ())
            case SpoolLeft(about, _) | SpoolOrphaned(about, _):
                self._log(logging.WARNING, happening, (about,))
            case SpoolCommitted():
                self._commits.observe(happening.seconds)
            case SpoolMeasured():
                self._events.set(happening.events)
                self._bytes.set(happening.size)
                self._dead.set(happening.dead_letters)
                self._oldest.set(happening.oldest_seconds)

    def _of_events(
        self, happening: EventsSpooled | SpoolRefused | Replayed | DeadLettered | DeadLettersDropped
    ) -> None:
        match happening:
            case EventsSpooled(stream, count):
                self._spooled.labels(self._label(stream)).inc(count)
            case SpoolRefused(why, _, events):
                self._refused.labels(why).inc(events)
                self._log(logging.ERROR, happening, (why,), MINUTE)
            case Replayed(upstream, result, events, reason):
                self._replayed.labels(upstream, result).inc(events)
                if reason:
                    self._log(logging.WARNING, happening, (upstream, result), MINUTE)
            case DeadLettered(stream, cause, count):
                label = self._label(stream)
                self._buried.labels(label, cause).inc(count)
                self._log(logging.WARNING, happening, (label, cause), MINUTE)
            case DeadLettersDropped(count):
                self._dropped.inc(count)
                self._log(logging.ERROR, happening, (), MINUTE)

    def _label(self, stream: str) -> str:
        return stream if stream in self._streams else self._other
