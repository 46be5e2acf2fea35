"""Promises of `history`: it remembers the last hour in bounded memory, and events cost nothing."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass

import pytest

from sidecar.telemetry.counts import Counts
from sidecar.telemetry.happenings import (
    Checked,
    ConfigNotKept,
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
from sidecar.telemetry.history import MAX_CHANGES, MAX_PLACES, MAX_WORDS, History
from sidecar.telemetry.telemetry import Telemetry
from tests.scripted import now


@dataclass
class Clock:
    """A manual clock."""

    time: float = 600.0

    def __call__(self) -> float:
        """Return the time."""
        return self.time


def remembered(*happenings: Happening) -> History:
    """Return the history of these, emitted by `telemetry`."""
    log = logging.Logger("nobody reads it")  # noqa: LOG001
    log.addHandler(logging.NullHandler())
    telemetry, history = Telemetry(("s",), log), History(Clock())
    telemetry.observer = history.observe
    for each in happenings:
        telemetry.emit(each)
    return history


def change(after: str, address: str = "10.2.2.45") -> HealthChanged:
    """Return a change of health."""
    return HealthChanged("staging", "eqiad", address, "healthy", after, "it hangs")


def test_changes_are_remembered_by_address() -> None:
    """Each with time and reason."""
    history = remembered(change("unhealthy"), change("ejected", "10.2.2.46"))
    (first,) = history.health["staging", "eqiad", "10.2.2.45"]
    assert (first.at, first.before, first.after, first.reason) == (600.0, "healthy", "unhealthy", "it hangs")
    assert len(history.health) == 2


def test_failovers_are_remembered() -> None:
    """With source and target; a failover is among the failures, too."""
    history = remembered(FailedOver("staging", "eqiad", "codfw"))
    assert [(each.upstream, each.before, each.after) for each in history.failovers] == [("staging", "eqiad", "codfw")]
    assert [each.words for each in history.failures] == ["staging: events go to codfw instead of eqiad"]


def test_checks_are_counted_by_the_minute() -> None:
    """Passed and failed ones; a failed check is not a failure of its own."""
    checks = [Checked("staging", "eqiad", passed, 0.01) for passed in (True, False, True)]
    history = remembered(*checks)
    assert [each.checks for each in history.minutes] == [
        Counter({("staging", "eqiad", True): 2, ("staging", "eqiad", False): 1})
    ]
    assert not history.failures


@pytest.mark.parametrize(
    ("happening", "words"),
    [
        (change("unhealthy"), "staging: eqiad 10.2.2.45 was healthy and is unhealthy: it hangs"),
        (
            PostFailed("staging", "eqiad", "ambiguous", "no answer", 1.5),
            "staging: a POST to eqiad failed (ambiguous): no answer",
        ),
        (EventsEnded("s", "refused", 3, "no route"), "events of stream s ended as refused: no route"),
        (EventsEnded("", "refused", 3, "no route"), "events of stream (none) ended as refused: no route"),
        (RequestRefused(413, "Too large", ""), "a request was answered 413: Too large"),
        (
            Replayed("staging", "failed", 5, "no answer"),
            "staging: events of the spool could not be sent (5): no answer",
        ),
        (SpoolRefused("full", "256 MiB", 2), "the spool is full and did not take events (2): 256 MiB"),
        (SpoolBroken("/d", "no space left"), "the spool cannot be used: no space left"),
        (DeadLettered("s", "age", 4), "events of stream s became dead letters (4): age"),
        (ConfigRefused("routes.yaml", 2, "line 1"), "routes.yaml was refused: 2 problems"),
        (ConfigNotKept("/f", "read-only"), "config not kept: file=/f reason=read-only"),
    ],
    ids=[
        "health",
        "post",
        "events",
        "no stream",
        "request",
        "replay",
        "full",
        "broken",
        "dead",
        "refused",
        "as the log says it",
    ],
)
def test_failures_are_in_words(happening: Happening, words: str) -> None:
    """An operator reads them without a table of codes."""
    assert [each.words for each in remembered(happening).failures] == [words]


def test_success_is_no_failure() -> None:
    """Neither is an address that came back."""
    assert not remembered(EventsEnded("s", "delivered", 3), change("healthy")).failures


def test_the_same_failure_is_one_line() -> None:
    """With its count, including those that the log suppressed, and the time of the last."""
    history = remembered()
    for at, times in ((600.0, 1), (610.0, 7)):
        history.observe(logging.WARNING, RequestRefused(413, "t", "d"), "", times)
        history.observe(logging.WARNING, RequestRefused(400, "t", f"at {at}"), "", 1)
    assert [(each.words[-3:], each.times) for each in history.failures] == [("0.0", 1), (": d", 8), ("0.0", 1)]


def test_everything_is_bounded() -> None:
    """Flapping, many addresses, many failures, long texts, and hours."""
    clock = Clock()
    history = History(clock)
    for number in range(3 * MAX_PLACES):
        history.observe(logging.WARNING, change("unhealthy", str(number)), "", 1)
        clock.time += 60.0
        history.measure(Counts())
    for _ in range(3 * MAX_CHANGES):
        history.observe(logging.WARNING, change("unhealthy", "last"), "", 1)
        history.observe(logging.WARNING, FailedOver("u", "a", "b"), "", 1)
    history.observe(logging.ERROR, RequestRefused(400, "t", "x" * 10_000), "", 1)
    assert (len(history.health), len(history.health["staging", "eqiad", "last"])) == (MAX_PLACES, MAX_CHANGES)
    assert ("staging", "eqiad", "0") not in history.health
    assert (len(history.minutes), len(history.failovers), len(history.failures)) == (60, 100, 30)
    assert len(history.failures[-1].words) == MAX_WORDS


def test_rates_come_from_the_counters() -> None:
    """Per second over ten seconds, per minute over one, for any stream."""
    clock = Clock()
    history, counts = History(clock), Counts()
    events = counts.events
    assert (history.events_per_second, history.last_minute) == (0.0, Counter())
    for second in range(90):
        history.measure(counts)
        events["s", "delivered"] += 50 if second < 70 else 20
        events["_other", "failed"] += 1 if second == 70 else 0
        clock.time += 1.0
    assert history.events_per_second == 20.0
    assert history.last_minute == Counter(delivered=41 * 50 + 19 * 20, failed=1)
    assert [dict(each.events) for each in history.minutes] == [
        {"delivered": 59 * 50},
        {"delivered": 11 * 50 + 19 * 20, "failed": 1},
    ]


def test_flows_cover_the_last_minute() -> None:
    """Events by route and stream, where they arrived, and those of hand-overs, scaled to a minute."""
    clock = Clock()
    history, counts = History(clock), Counts()
    for second in range(125):
        history.measure(counts)
        counts.flow("s", "early" if second < 60 else "late", "delivered", 2)
        counts.arrived["main", "eqiad"] += 2
        counts.handed_over["taken"] += 1
        counts.take_over("env=staging", "main", 3)
        clock.time += 1.0
    recent = history.flows_of_last_minute(counts)
    assert recent.flows == {("s", "early", "delivered"): 0, ("s", "late", "delivered"): 120}
    assert recent.arrived == {("main", "eqiad"): 120}
    assert (recent.handed_over["taken"], recent.taken_over) == (60, {("env=staging", "main"): 180})


@pytest.mark.looptime
async def test_it_measures_once_a_second() -> None:
    """However many events there are."""
    history, counts = History(now), Counts()
    counts.events["s", "delivered"] += 1_000_000
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(history.run(counts))
        await asyncio.sleep(10.5)
        task.cancel()
    assert sum(each.events.total() for each in history.minutes) == 1_000_000
    assert len(history._samples) == 11
