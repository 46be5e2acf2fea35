"""Keeps the last hour for the status page, in a few hundred kilobytes at most.

`telemetry` reports each log line and each health check; event counters are read once a second, so that events cost
nothing here. Times are monotonic.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from sidecar.telemetry.counts import Counts
from sidecar.telemetry.handovers import HandedOver
from sidecar.telemetry.happenings import (
    Checked,
    ConfigRefused,
    DeadLettered,
    EventsEnded,
    FailedOver,
    Happening,
    HealthChanged,
    PostFailed,
    Replayed,
    RequestRefused,
    SpoolBroken,
    SpoolRefused,
)
from sidecar.timers import until_tick

HOUR = 3600.0
MINUTE = 60.0
RATE_SECONDS = 10
FLOW_SECONDS = 10.0
"""How often it is noted which way events go."""
MAX_PLACES = 64
"""Addresses whose changes are kept."""
MAX_CHANGES = 120
"""Changes kept per address."""
MAX_WORDS = 300

Key = TypeVar("Key")
Place = tuple[str, str, str]
"""Upstream, endpoint, address."""


@dataclass(slots=True)
class MinutePast:
    """Counts of one minute."""

    begin: float
    events: Counter[str] = field(default_factory=Counter)
    """By outcome."""
    checks: Counter[tuple[str, str, bool]] = field(default_factory=Counter)
    """By upstream, endpoint, and whether they passed."""


@dataclass(frozen=True, slots=True)
class HealthPast:
    """A change of an address's health."""

    at: float
    before: str
    after: str
    reason: str


@dataclass(frozen=True, slots=True)
class FailoverPast:
    """A failover."""

    at: float
    upstream: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class FlowsPast:
    """Some of the numbers of `Counts`."""

    at: float
    flows: Mapping[tuple[str, str, str], int] = field(default_factory=dict)
    arrived: Mapping[tuple[str, str], int] = field(default_factory=dict)
    handed_over: Mapping[str, int] = field(default_factory=dict)
    taken_over: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(slots=True)
class FailurePast:
    """A failure and how often it happened; `at` is the last time."""

    at: float
    words: str
    times: int


class History:
    """The last hour; `observe` is the observer of `telemetry`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Start empty."""
        self._clock = clock
        self.minutes: deque[MinutePast] = deque(maxlen=60)
        self.health: dict[Place, deque[HealthPast]] = {}
        self.failovers: deque[FailoverPast] = deque(maxlen=100)
        self.failures: deque[FailurePast] = deque(maxlen=30)
        self._flows: deque[FlowsPast] = deque(maxlen=int(MINUTE / FLOW_SECONDS))
        self._samples: deque[tuple[float, Counter[str]]] = deque(maxlen=int(MINUTE) + 1)
        """Totals of events by outcome, one sample a second."""

    def observe(self, level: int, happening: Happening, text: str, times: int) -> None:
        """Record a happening; `text` is its log line."""
        now = self._clock()
        match happening:
            case Checked(upstream, endpoint, passed, _):
                self._minute(now).checks[upstream, endpoint, passed] += 1
            case HealthChanged(upstream, endpoint, address, before, after, reason):
                self._changes((upstream, endpoint, address)).append(HealthPast(now, before, after, reason[:MAX_WORDS]))
            case FailedOver(upstream, before, after):
                self.failovers.append(FailoverPast(now, upstream, before, after))
        if level >= logging.WARNING:
            self._remember_failure(now, _words(happening, text), times)

    def measure(self, counts: Counts) -> None:
        """Sample the event counters."""
        now, total = self._clock(), counts.ended
        if not self._flows or now - self._flows[-1].at >= FLOW_SECONDS:
            hop = dict(counts.handed_over), dict(counts.taken_over)
            self._flows.append(FlowsPast(now, dict(counts.flows), dict(counts.arrived), *hop))
        before = self._samples[-1][1] if self._samples else Counter[str]()
        self._samples.append((now, total))
        self._minute(now).events += total - before

    def flows_of_last_minute(self, counts: Counts) -> FlowsPast:
        """Return what came to `counts` in the last minute, scaled to a minute where it is a little more or less."""
        now = self._clock()
        past = self._flows[0] if self._flows else FlowsPast(now)
        scale = MINUTE / max(now - past.at, 1.0)

        def recent(counted: Mapping[Key, int], before: Mapping[Key, int]) -> dict[Key, int]:
            return {key: round((count - before.get(key, 0)) * scale) for key, count in counted.items()}

        return FlowsPast(
            now,
            recent(counts.flows, past.flows),
            recent(counts.arrived, past.arrived),
            recent(counts.handed_over, past.handed_over),
            recent(counts.taken_over, past.taken_over),
        )

    async def run(self, counts: Counts) -> None:
        """Measure once a second until cancelled."""
        clock = asyncio.get_running_loop().time
        while True:
            self.measure(counts)
            await asyncio.sleep(until_tick(clock(), 1.0))

    @property
    def events_per_second(self) -> float:
        """The rate over the last 10 seconds."""
        recent = list(self._samples)[-RATE_SECONDS - 1 :]
        if len(recent) < 2:
            return 0.0
        (begin, before), (end, after) = recent[0], recent[-1]
        return (after.total() - before.total()) / (end - begin) if end > begin else 0.0

    @property
    def last_minute(self) -> Counter[str]:
        """Events of the last minute, by outcome."""
        return self._samples[-1][1] - self._samples[0][1] if self._samples else Counter()

    def _minute(self, now: float) -> MinutePast:
        begin = now - now % MINUTE
        if not self.minutes or self.minutes[-1].begin != begin:
            self.minutes.append(MinutePast(begin))
        return self.minutes[-1]

    def _changes(self, place: Place) -> deque[HealthPast]:
        if place not in self.health and len(self.health) >= MAX_PLACES:
            longest_ago = min(self.health, key=lambda each: self.health[each][-1].at)
            del self.health[longest_ago]
        return self.health.setdefault(place, deque(maxlen=MAX_CHANGES))

    def _remember_failure(self, now: float, words: str, times: int) -> None:
        """Record a failure, merged with an earlier one of the same text."""
        same = next((each for each in self.failures if each.words == words), None)
        if same is not None:
            self.failures.remove(same)
            times += same.times
        self.failures.append(FailurePast(now, words, times))


def _words(happening: Happening, text: str) -> str:
    match happening:
        case HealthChanged(upstream, endpoint, address, before, after, reason):
            words = f"{upstream}: {endpoint} {address} was {before} and is {after}: {reason}"
        case FailedOver(upstream, before, after):
            words = f"{upstream}: events go to {after} instead of {before}"
        case PostFailed(upstream, endpoint, failure, reason, _):
            words = f"{upstream}: a POST to {endpoint} failed ({failure.replace('_', ' ')}): {reason}"
        case EventsEnded(stream, outcome, _, reason, _):
            words = f"events of stream {stream or '(none)'} ended as {outcome}: {reason}"
        case RequestRefused(status, title, detail):
            words = f"a request was answered {status}: {detail or title}"
        case ConfigRefused(file, problems, _):
            words = f"{file} was refused: {problems} problem{'' if problems == 1 else 's'}"
        case _:
            words = _words_of_spool(happening) or text
    return words if len(words) <= MAX_WORDS else words[: MAX_WORDS - 1] + "…"


def _words_of_spool(happening: Happening) -> str | None:
    match happening:
        case Replayed(upstream, _, events, reason):
            return f"{upstream}: events of the spool could not be sent ({events}): {reason}"
        case HandedOver(result, _, reason):
            return f"a hand-over to the gateway was {result}: {reason}"
        case SpoolRefused(why, reason, events):
            return f"the spool is {why} and did not take events ({events}): {reason}"
        case SpoolBroken(_, reason):
            return f"the spool cannot be used: {reason}"
        case DeadLettered(stream, cause, count):
            return f"events of stream {stream} became dead letters ({count}): {cause}"
        case _:
            return None
