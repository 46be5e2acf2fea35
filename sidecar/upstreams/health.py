"""The health of one address of an endpoint: its states, the signals, and the transitions between them.

Rule 1: everything that changes an address's health is in this file.
Rule 2: nothing here reads a clock, the network or a random number; `now` and `jitter` are arguments.

There are two sources. Active: health checks, decided by a streak (HAProxy's rise and fall). Passive: real POSTs, where
failures in a row or a failure rate eject (Envoy's outlier detection, sized for two datacenters instead of many hosts).
An address that was out comes back through one real POST, the trial, and not through passing checks alone (Linkerd): an
EventGate that cannot produce still answers `/_info`.

Doubt is a third signal, and a cheap one: after a late answer or one failed POST, new events go elsewhere until a health
check, sent at once, decides.
"""

from __future__ import annotations

import bisect
import enum
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sidecar.routes.language.config import HealthCheck, Outlier


class Health(enum.StrEnum):
    """The state of an address."""

    UNKNOWN = "unknown"
    """Not checked yet; used if nothing better is known."""
    HEALTHY = "healthy"
    SUSPECTED = "suspected"
    """An answer is late, or a POST failed; new events go elsewhere until a check or an answer decides."""
    UNHEALTHY = "unhealthy"
    """Health checks fail."""
    EJECTED = "ejected"
    """POSTs fail, whatever the checks say; out for a time that doubles."""
    PROBATION = "probation"
    """Gets one POST at a time, which decides."""


class Signal(enum.StrEnum):
    """An observation, past its threshold."""

    CHECK_PASSED = "a health check passed"
    CHECKS_PASSED = "health checks passed in a row"
    CHECK_FAILED = "a health check failed"
    CHECKS_FAILED = "health checks failed in a row"
    ANSWERED = "a POST was answered"
    DOUBT = "a POST failed or its answer is late"
    OUTLIER = "too many POSTs failed"
    EJECTION_OVER = "its ejection is over"
    TRIAL_ANSWERED = "the trial POST was answered"
    TRIAL_FAILED = "the trial POST failed"


TRANSITIONS: dict[Health, dict[Signal, Health]] = {
    Health.UNKNOWN: {
        Signal.CHECK_PASSED: Health.HEALTHY,
        Signal.ANSWERED: Health.HEALTHY,
        Signal.TRIAL_ANSWERED: Health.HEALTHY,
        Signal.CHECK_FAILED: Health.UNHEALTHY,
        Signal.DOUBT: Health.SUSPECTED,
        Signal.OUTLIER: Health.EJECTED,
    },
    Health.HEALTHY: {
        Signal.DOUBT: Health.SUSPECTED,
        Signal.CHECKS_FAILED: Health.UNHEALTHY,
        Signal.OUTLIER: Health.EJECTED,
    },
    Health.SUSPECTED: {
        Signal.ANSWERED: Health.HEALTHY,
        Signal.TRIAL_ANSWERED: Health.HEALTHY,
        Signal.CHECK_PASSED: Health.HEALTHY,
        Signal.CHECK_FAILED: Health.UNHEALTHY,
        Signal.OUTLIER: Health.EJECTED,
    },
    Health.UNHEALTHY: {
        Signal.CHECKS_PASSED: Health.PROBATION,
        Signal.TRIAL_ANSWERED: Health.HEALTHY,
    },
    Health.EJECTED: {
        Signal.CHECKS_FAILED: Health.UNHEALTHY,
        Signal.EJECTION_OVER: Health.PROBATION,
        Signal.TRIAL_ANSWERED: Health.HEALTHY,
    },
    Health.PROBATION: {
        Signal.TRIAL_ANSWERED: Health.HEALTHY,
        Signal.TRIAL_FAILED: Health.EJECTED,
        Signal.CHECKS_FAILED: Health.UNHEALTHY,
        Signal.OUTLIER: Health.EJECTED,
    },
}
"""A signal that a state does not list changes nothing."""

DOWN = frozenset({Health.UNHEALTHY, Health.EJECTED})
"""States in which an address fails now. Not probation: it lasts until the next event, which after an outage at night
may take hours."""
OUT = DOWN | {Health.PROBATION}
"""States in which an address gets trial POSTs at most."""
MAX_ENDS = 1000
"""Finished POSTs remembered per address; more would not change the failure rate noticeably."""
DOUBLINGS = 30
"""Of an ejection's duration, whatever `max_ejection` is; a float overflows at 1,024."""
MIN_SAMPLES = 20
MIN_SUSPECT_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of health."""

    before: Health
    after: Health
    signal: Signal
    reason: str
    """What the check or the POST said, in words."""


@dataclass
class Standing:
    """The health of one address and what it is based on; only this module changes it."""

    health: Health = Health.UNKNOWN
    since: float = 0.0
    back_since: float = float("-inf")
    """When it last became healthy after being out, not merely suspected."""
    reason: str = "not checked yet"
    passed_in_a_row: int = 0
    failed_in_a_row: int = 0
    posts_failed_in_a_row: int = 0
    produces: bool = False
    """Whether the last POST that was accepted or got errors was accepted, at least in part."""
    ejections: int = 0
    """In a row; each makes the next one longer."""
    ejected_until: float = 0.0
    last_answer: float = float("-inf")
    """When a POST was last answered: checks are skipped for a while after."""
    ended_at: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_ENDS))
    """When the last POSTs ended."""
    failed_at: deque[float] = field(default_factory=lambda: deque(maxlen=MAX_ENDS))
    """When the failed ones among them ended."""
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    """How long the last answers took."""
    seconds_in_order: list[float] = field(default_factory=list)
    """The same, sorted."""

    def __str__(self) -> str:
        """Show health and reason, for log, status page and tests."""
        return f"{self.health} ({self.reason})"


class Judge:
    """Applies the thresholds of one upstream to the standings of its addresses."""

    def __init__(self, check: HealthCheck, outlier: Outlier) -> None:
        """Both arguments are sections of `routes.yaml`."""
        self._check = check
        self._outlier = outlier

    def check_passed(self, standing: Standing, now: float) -> list[Transition]:
        """Record a health check that passed."""
        standing.passed_in_a_row += 1
        standing.failed_in_a_row = 0
        signals = [Signal.CHECK_PASSED]
        if standing.passed_in_a_row >= self._check.rise:
            signals.append(Signal.CHECKS_PASSED)
        return self._apply(standing, signals, "its health check passed", now)

    def check_failed(self, standing: Standing, reason: str, now: float) -> list[Transition]:
        """Record a health check that failed; `reason` says how, in words."""
        standing.failed_in_a_row += 1
        standing.passed_in_a_row = 0
        signals = [Signal.CHECK_FAILED]
        if standing.failed_in_a_row >= self._check.fall:
            signals.append(Signal.CHECKS_FAILED)
        return self._apply(standing, signals, reason, now)

    def accepted(self, standing: Standing) -> None:
        """Record that EventGate wrote an event to Kafka."""
        standing.produces = True

    def answered(self, standing: Standing, seconds: float, now: float, *, trial: bool = False) -> list[Transition]:
        """Record a POST that got EventGate's verdict after `seconds`."""
        standing.posts_failed_in_a_row = 0
        standing.last_answer = now
        standing.ended_at.append(now)
        _keep(standing, seconds)
        if standing.health is Health.HEALTHY and now - standing.back_since >= self._outlier.max_ejection:
            standing.ejections = 0
        signal = Signal.TRIAL_ANSWERED if trial else Signal.ANSWERED
        if signal not in TRANSITIONS[standing.health]:
            return []
        return self._apply(standing, [signal], "it answered a POST", now)

    def failed(
        self, standing: Standing, reason: str, now: float, jitter: float, *, trial: bool = False
    ) -> list[Transition]:
        """Record a POST that ended without a verdict because of the address.

        `jitter`, between 0 and 1, spreads the end of an ejection by ±25 %.
        """
        standing.posts_failed_in_a_row += 1
        standing.passed_in_a_row = 0
        standing.ended_at.append(now)
        standing.failed_at.append(now)
        signals = [Signal.TRIAL_FAILED] if trial else []
        if self._is_outlier(standing, now):
            signals.append(Signal.OUTLIER)
        changes = self._apply(standing, [*signals, Signal.DOUBT], reason, now)
        if any(change.after is Health.EJECTED for change in changes):
            self._eject(standing, now, jitter)
        return changes

    def erred(self, standing: Standing, now: float, *, trial: bool = False) -> list[Transition]:
        """Record a POST that EventGate answered with errors, and of which it accepted nothing.

        The events may be at fault. It counts against the address only if another endpoint takes them (`failed`).
        """
        standing.produces = False
        signal = Signal.TRIAL_ANSWERED if trial else Signal.ANSWERED
        return self._apply(standing, [signal], "it answered a POST", now)

    def late(self, standing: Standing, seconds: float, now: float) -> list[Transition]:
        """Record a POST that is unanswered after `seconds`, longer than usual."""
        return self._apply(standing, [Signal.DOUBT], f"no answer after {seconds * 1000:.0f} ms", now)

    def time_passed(self, standing: Standing, now: float) -> list[Transition]:
        """End an ejection whose time is up."""
        if standing.health is Health.EJECTED and now >= standing.ejected_until:
            return self._apply(standing, [Signal.EJECTION_OVER], "its ejection is over", now)
        return []

    def awaits_trial(self, standing: Standing) -> bool:
        """Whether checks pass again and only a POST can bring the address back.

        An ejection lasts up to a minute longer than its cause. Passing checks since the last failed POST suggest that
        the cause is gone; if no other address is left, the next event tells.
        """
        if standing.health is Health.EJECTED:
            return standing.passed_in_a_row >= self._check.rise
        return standing.health is Health.PROBATION and standing.failed_in_a_row == 0

    def wants_check(self, standing: Standing, now: float) -> bool:
        """Whether a health check is needed; recently answered POSTs make it redundant."""
        return standing.health is not Health.HEALTHY or now - standing.last_answer >= self._check.interval

    def interval(self, standing: Standing, jitter: float) -> float:
        """Return the seconds to the next check, jittered by ±20 % (`jitter` is 0 to 1); shorter during a streak."""
        awaited = TRANSITIONS[standing.health]
        deciding = standing.health is Health.SUSPECTED
        deciding |= Signal.CHECKS_PASSED in awaited and 0 < standing.passed_in_a_row < self._check.rise
        deciding |= Signal.CHECKS_FAILED in awaited and 0 < standing.failed_in_a_row < self._check.fall
        base = min(1.0, self._check.interval) if deciding else self._check.interval
        return base * (0.8 + 0.4 * jitter)

    def suspect_after(self, standing: Standing, attempt: float) -> float:
        """Return the seconds after which an unanswered POST is late: 3 × the recent p95, at least 100 ms.

        Not the p99: that is the third slowest of 200 answers, so one busy moment would delay suspicion for long.
        """
        if len(standing.seconds) < MIN_SAMPLES:
            return min(MIN_SUSPECT_SECONDS, attempt)
        return min(max(MIN_SUSPECT_SECONDS, 3 * _p95(standing.seconds_in_order)), attempt)

    def _is_outlier(self, standing: Standing, now: float) -> bool:
        if standing.posts_failed_in_a_row >= self._outlier.consecutive:
            return True
        _forget(standing.ended_at, before=now - self._outlier.window)
        _forget(standing.failed_at, before=standing.ended_at[0])  # both contain the failure just recorded
        ends, failures = len(standing.ended_at), len(standing.failed_at)
        return ends >= self._outlier.requests and failures * 100 >= self._outlier.percent * ends

    def _eject(self, standing: Standing, now: float, jitter: float) -> None:
        doublings = min(standing.ejections, DOUBLINGS)
        seconds = min(self._outlier.ejection * 2**doublings, self._outlier.max_ejection)
        standing.ejected_until = now + seconds * (0.75 + 0.5 * jitter)
        standing.ejections += 1
        standing.posts_failed_in_a_row = 0
        standing.ended_at.clear()
        standing.failed_at.clear()

    def _apply(self, standing: Standing, signals: Iterable[Signal], reason: str, now: float) -> list[Transition]:
        changes: list[Transition] = []
        for signal in signals:
            after = TRANSITIONS[standing.health].get(signal)
            if after is None:
                continue
            changes.append(Transition(standing.health, after, signal, reason))
            if after is Health.HEALTHY and standing.health in OUT:
                standing.back_since = now
            standing.health, standing.since, standing.reason = after, now, reason
            standing.passed_in_a_row = standing.failed_in_a_row = 0
        return changes


def is_dead(standing: Standing) -> bool:
    """Whether an address is ejected, or its last health checks failed."""
    return standing.health is Health.EJECTED or (standing.health is Health.UNHEALTHY and standing.passed_in_a_row == 0)


def returning(standing: Standing) -> Standing:
    """Return the standing of a removed address that comes back: still out if it was out, else unknown."""
    if standing.health in OUT:
        return standing
    return replace(standing, health=Health.UNKNOWN, reason="not checked since it came back")


def _forget(times: deque[float], *, before: float) -> None:
    while times[0] < before:
        times.popleft()


def _keep(standing: Standing, seconds: float) -> None:
    """Keep how long an answer took, and drop the oldest if there are too many."""
    ordered = standing.seconds_in_order
    if len(standing.seconds) == standing.seconds.maxlen:
        del ordered[bisect.bisect_left(ordered, standing.seconds[0])]
    standing.seconds.append(seconds)
    bisect.insort(ordered, seconds)


def _p95(ordered: Sequence[float]) -> float:
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
