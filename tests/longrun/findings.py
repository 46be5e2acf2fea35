"""Checks the records of a run. Pure: records in, findings out."""

from __future__ import annotations

import bisect
import itertools
import math
import statistics
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field

from tests.longrun.records import Life, Records, Request, Sample
from tests.longrun.schedule import RATES

AFTER_FAULT_SECONDS = 9.0
"""How long a fault has effects after its end: a DNS answer is valid for 5 s, and failback takes 3 s."""
AFTER_START_SECONDS = 3.0
"""How long a new sidecar warms up, and its clients reconnect."""
MEMORY_GROWTH, MEMORY_SLACK = 0.25, 8 << 20
"""By how much memory may grow from the first to the last third of the last life."""
FILES_SLACK = 8
"""By how much the number of open files may grow."""
HURT_SHARE = 0.02
"""Share of requests that may be answered late or with a 503: a machine may be too slow for 2,000 a second."""
P50_FACTOR, P50_SLACK = 3.0, 0.010
P99_FACTOR, P99_SLACK = 10.0, 1.0
"""How much slower the last third of the run may be than the first at the same load, since the machine may be busy."""
FEWEST = 100
"""The fewest answers from which latency is computed."""
COMPARED_RATES = tuple(rate for rate in RATES if 0 < rate <= 800)

OUTCOMES = ("delivered", "invalid", "refused", "spooled", "failed")

Spans = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Thirds:
    """A number in the first and in the last third of something."""

    first: float
    last: float


@dataclass(frozen=True)
class Latency:
    """Latency of single events answered 201 while nothing was wrong; seconds."""

    count: int
    p50: float
    p99: float


@dataclass(frozen=True)
class Sums:
    """How often the sums of outcomes were compared with the producers' records."""

    checked: int
    exact: int
    """Of these, comparisons while nothing was in flight, so that both must be equal."""
    wrong: Sequence[str]


@dataclass(frozen=True)
class Findings:
    """A run in numbers."""

    posted: int
    """Events."""
    promised: int
    """Answered 2xx."""
    lost: Sequence[int]
    doubled: int
    dead: int
    dead_valid: Sequence[int]
    """Dead letters that EventGate should have accepted."""
    left: int
    fates: Mapping[str, int]
    """Requests by kind and result."""
    hurt: Mapping[str, int]
    """Requests of valid events answered with anything but a 2xx, and those not answered though no sidecar ended."""
    killed: Mapping[str, int]
    """Requests without an answer because a sidecar had ended, by result."""
    sums: Sums
    memory: Thirds
    files: Thirds
    latency: Mapping[int, tuple[Latency | None, Latency | None]]
    """By events a second, in the first third of the run and in the last."""
    minutes: Sequence[Latency | None]
    complaints: Sequence[str]
    ill_ends: Sequence[str]


def found(records: Records) -> Findings:
    """Check a run."""
    calm, timings = calm_spans(records), Timings.of(records.requests)
    promised = [number for each in records.requests for number in each.promised]
    spoilt = {number for each in records.requests for number in each.spoilt}
    away = [(life.told, following) for life, following in _ends(records)]
    unhappy = [each for each in records.requests if not each.fate.startswith("2")]
    killed = [each for each in unhappy if not each.answered and _while_away(each, away)]
    accounted_for = records.arrived.keys() | (records.dead & spoilt)
    return Findings(
        posted=sum(each.count for each in records.requests),
        promised=len(promised),
        lost=[number for number in promised if number not in accounted_for],
        doubled=sum(times > 1 for times in records.arrived.values()),
        dead=len(records.dead),
        dead_valid=sorted(records.dead - spoilt),
        left=records.left,
        fates=Counter(f"{each.kind} {each.fate}" for each in records.requests),
        hurt=Counter(
            f"{each.fate} {each.words}" if each.answered else each.fate
            for each in unhappy
            if (each.is_valid or not each.answered) and not (not each.answered and _while_away(each, away))
        ),
        killed=Counter(each.fate for each in killed),
        sums=sums(records),
        memory=thirds_of_last_life(records, lambda sample: sample.memory),
        files=thirds_of_last_life(records, lambda sample: sample.files),
        latency={rate: _by_thirds(records, timings, calm, rate) for rate in COMPARED_RATES},
        minutes=[timings.latency(_both(calm, [minute])) for minute in _minutes(records)],
        complaints=records.complaints,
        ill_ends=[_end_words(life) for life in records.lives if not life.ended_well],
    )


def misses(findings: Findings) -> list[str]:
    """Return the checks that failed, each with the measured value."""
    memory, files = findings.memory, findings.files
    told = [
        _unless(not findings.lost, f"answered 2xx and lost: {len(findings.lost)}, such as {findings.lost[:5]}"),
        _unless(findings.promised > 0, "nothing was answered 2xx, so nothing is shown"),
        _unless(not findings.left, f"still in the spool at the end: {findings.left}"),
        _unless(not findings.dead_valid, f"valid events among the dead letters: {findings.dead_valid[:5]}"),
        _unless(
            sum(findings.hurt.values()) <= HURT_SHARE * sum(findings.fates.values()),
            f"not answered as they should be: {_counted(findings.hurt)}",
        ),
        _unless(findings.sums.exact > 0, "the sums of outcomes were never checked while nothing was in flight"),
        *(f"sums of outcomes: {each}" for each in findings.sums.wrong[:5]),
        _unless(
            memory.last <= memory.first * (1 + MEMORY_GROWTH) + MEMORY_SLACK,
            f"memory grew from {memory.first / 1e6:.1f} to {memory.last / 1e6:.1f} MB",
        ),
        _unless(
            files.last <= files.first + FILES_SLACK,
            f"open files grew from {files.first:g} to {files.last:g}",
        ),
        *(_slower(rate, *pair) for rate, pair in findings.latency.items()),
        *(f"the log speaks of a bug: {each}" for each in findings.complaints[:5]),
        *findings.ill_ends,
    ]
    return [each for each in told if each]


def calm_spans(records: Records) -> Spans:
    """Return the spans without a fault and without its after-effects; seconds of the monotonic clock."""
    rough = [(each.began, each.ended + AFTER_FAULT_SECONDS) for each in records.troubles]
    rough += [(life.told, following + AFTER_START_SECONDS) for life, following in _ends(records)]
    at, spans = records.begun, []
    for began, ended in sorted(rough):
        if began > at:
            spans.append((at, began))
        at = max(at, ended)
    return [*spans, (at, records.ended)] if at < records.ended else spans


def sums(records: Records) -> Sums:
    """Compare each sample of the metrics with the producers' records of that life.

    Everything answered by then must be counted, and nothing that was not sent yet.
    """
    checked, exact, wrong = 0, 0, list[str]()
    reached = [each for each in records.requests if each.fate != "unreachable"]
    for life in records.lives:
        until = life.ended or math.inf
        ledger = Ledger([each for each in reached if life.began <= each.sent < until])
        for sample in (each for each in records.samples if each.life == life.number and each.metrics):
            known = ledger.at(sample.began, sample.ended)
            checked += 1
            exact += known.sent == known.told
            wrong += [f"life {life.number}: {words}" for words in known.disagreements(sample)]
    return Sums(checked, exact, wrong)


@dataclass
class Ledger:
    """The producers' records of one life at a time and at a later one; times must be requested in order."""

    requests: InitVar[Sequence[Request]]
    sent: int = 0
    told: int = 0
    sent_events: int = 0
    told_events: Counter[str] = field(default_factory=Counter)
    """Counts by the outcome in the answer."""

    def __post_init__(self, requests: Sequence[Request]) -> None:
        """Sort the requests."""
        self._by_sending = deque(sorted(requests, key=lambda each: each.sent))
        self._by_end = deque(sorted((each for each in requests if each.answered), key=lambda each: each.ended))

    def at(self, began: float, ended: float) -> Ledger:
        """Advance to what was answered when a sample began, and what was sent when it ended."""
        while self._by_sending and self._by_sending[0].sent < ended:
            self.sent += 1
            self.sent_events += self._by_sending.popleft().events
        while self._by_end and self._by_end[0].ended <= began:
            request = self._by_end.popleft()
            self.told += 1
            self.told_events[request.words] += request.events
        return self

    def disagreements(self, sample: Sample) -> Iterator[str]:
        """Return where the metrics cannot be right."""
        name = "eventgate_sidecar_events_total"
        told = self.told_events.total()
        yield from _outside("events", sample.total(name), told, self.sent_events)
        yield from _outside("requests", sample.total("eventgate_sidecar_requests_total"), self.told, self.sent)
        for outcome in OUTCOMES:
            least = self.told_events[outcome]
            most = self.sent_events - told + least + self.told_events["mixed"]
            yield from _outside(outcome, sample.total(name, f'outcome="{outcome}"'), least, most)


def _outside(what: str, counted: float, least: int, most: int) -> Iterator[str]:
    if not least <= counted <= most:
        yield f"{counted:.0f} {what} counted, and the producers know of {least} to {most}"


def thirds_of_last_life(records: Records, value: Callable[[Sample], float]) -> Thirds:
    """Return the median of a value in the first third of the last sidecar's life and in the last."""
    last = [each for each in records.samples if each.life == records.lives[-1].number and each.began < records.ended]
    third = len(last) // 3
    if not third:
        return Thirds(0.0, 0.0)
    return Thirds(statistics.median(map(value, last[:third])), statistics.median(map(value, last[-third:])))


def percentile(values: Sequence[float], share: float) -> float:
    """Return this quantile of the sorted values."""
    return values[min(len(values) - 1, int(len(values) * share))]


def _by_thirds(records: Records, timings: Timings, calm: Spans, rate: int) -> tuple[Latency | None, Latency | None]:
    third = (records.ended - records.begun) / 3
    phases = records.schedule.phases
    ends = [*(each.at for each in phases[1:]), records.schedule.seconds]
    at_rate = [
        (each.at + records.begun, end + records.begun)
        for each, end in zip(phases, ends, strict=True)
        if each.rate == rate
    ]
    quiet = _both(calm, at_rate)
    first, last = (records.begun, records.begun + third), (records.ended - third, records.ended)
    return timings.latency(_both(quiet, [first])), timings.latency(_both(quiet, [last]))


@dataclass(frozen=True)
class Timings:
    """Latencies of single events answered 201, in the order of sending."""

    sent: Sequence[float]
    took: Sequence[float]

    @classmethod
    def of(cls, requests: Sequence[Request]) -> Timings:
        """Select them."""
        pairs = sorted((each.sent, each.took) for each in requests if each.kind == "lone" and each.fate == "201")
        return cls([sent for sent, _ in pairs], [took for _, took in pairs])

    def latency(self, spans: Spans) -> Latency | None:
        """Return the latency of those sent within the spans; None if there are too few."""
        places = (
            (bisect.bisect_left(self.sent, began), bisect.bisect_left(self.sent, ended)) for began, ended in spans
        )
        took = sorted(each for first, after in places for each in self.took[first:after])
        return Latency(len(took), percentile(took, 0.5), percentile(took, 0.99)) if len(took) >= FEWEST else None


def _both(some: Spans, others: Spans) -> Spans:
    pairs = ((max(a[0], b[0]), min(a[1], b[1])) for a in some for b in others)
    return [pair for pair in pairs if pair[0] < pair[1]]


def _minutes(records: Records) -> Iterator[tuple[float, float]]:
    at = records.begun
    while at < records.ended:
        yield at, at + 60.0
        at += 60.0


def _ends(records: Records) -> Iterator[tuple[Life, float]]:
    """Yield each life that ended during the run, with the time at which the next one listened."""
    for life, following in itertools.pairwise(records.lives):
        yield life, following.listened


def _while_away(request: Request, away: Spans) -> bool:
    """Whether a sidecar ended while this was in flight, or none was running."""
    return any(request.sent < back and request.ended >= told for told, back in away)


def _slower(rate: int, first: Latency | None, last: Latency | None) -> str:
    if first is None or last is None:
        return ""
    words = f"at {rate} events a second"
    if last.p99 > first.p99 * P99_FACTOR + P99_SLACK:
        return f"{words} p99 went from {first.p99 * 1000:.1f} to {last.p99 * 1000:.1f} ms"
    if last.p50 > first.p50 * P50_FACTOR + P50_SLACK:
        return f"{words} p50 went from {first.p50 * 1000:.1f} to {last.p50 * 1000:.1f} ms"
    return ""


def _end_words(life: Life) -> str:
    return f"life {life.number}, sent {life.signal or 'nothing'}, ended with status {life.status}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} x {words}" for words, count in counts.items())


def _unless(holds: bool, words: str) -> str:
    return "" if holds else words
