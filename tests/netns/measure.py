"""Counts the results of an experiment. Pure: records in, numbers out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SLOW_SECONDS = 0.25
"""An answer that takes longer delays the score noticeably."""


@dataclass(frozen=True)
class Answer:
    """The result of one event as the model server saw it; times in seconds of one clock."""

    id: str
    sent: float
    took: float
    status: int | None
    """None: there was no answer."""
    words: str
    """The outcome in the sidecar's header, or the client's error."""
    retry_after: str = ""
    lag: float = 0.0
    """Seconds it was sent late, because the machine was busy."""

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> Answer:
        """Read a line of the traffic's output."""
        words = str(record.get("error") or record.get("outcome", ""))
        retry_after = str(record.get("retry_after", ""))
        times = (record["sent"], record["took"])
        return cls(record["id"], *times, record.get("status"), words, retry_after, record["lag"])

    @property
    def good(self) -> bool:
        """Whether it is a 2xx."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(frozen=True)
class Timeline:
    """Times of the experiment, in seconds of the same clock."""

    begun: float
    injected: float
    healed: float
    """The same as `injected` if the fault does not end."""
    ended: float


@dataclass(frozen=True)
class Measured:
    """One experiment in numbers."""

    sent: int
    good: int
    failures: Mapping[str, int]
    """Answers other than 2xx and errors, counted by their text."""
    worst_ms: float
    slow: int
    """Answers over 250 ms."""
    lost: int
    """Answered 2xx, but in no datacenter's file."""
    doubled: int
    """In the files more than once."""
    back_after: float | None
    """Seconds from the end of the fault until every event went to the preferred datacenter; None: never."""
    stray_failures: int
    """Failures while at least one datacenter could be reached."""
    unhelpful_failures: int
    """Failures other than 503 with Retry-After."""
    worst_failure: float
    """Seconds that the slowest answer other than 2xx took."""
    recovered_after: float
    """Seconds from the end of the fault until the last failure was answered; 0 if there was none."""
    hosts: Mapping[str, int]
    """Events in each host's file."""
    lag_ms: float
    """The most by which an event was sent late."""
    seconds: float
    listened_after: float = 0.0
    idled: float = 0.0
    exit_status: int | None = 0


@dataclass
class Book:
    """All records: the answers, and which hosts have which event."""

    answers: list[Answer] = field(default_factory=list)
    hosts: dict[str, list[str]] = field(default_factory=dict)
    """For each event id the hosts that have it, with repetitions."""

    def note_written(self, host: str, identifiers: Collection[str]) -> None:
        """Add the new events in a host's file."""
        for identifier in identifiers:
            self.hosts.setdefault(identifier, []).append(host)

    def at_home(self, answer: Answer, home: Collection[str]) -> bool:
        """Whether one of the preferred hosts accepted the event."""
        return answer.good and not set(home).isdisjoint(self.hosts.get(answer.id, ()))

    def is_back(self, home: Collection[str], since: float, count: int) -> bool:
        """Whether the last `count` answered events sent after `since` went to the preferred hosts."""
        answers = [each for each in self.answers if each.sent >= since]
        last = sorted(answers, key=lambda each: each.sent)[-count:]
        return len(last) == count and all(self.at_home(each, home) for each in last)


def measure(
    book: Book, timeline: Timeline, home: Collection[str], *, grace: float = 0.0, back: bool = True
) -> Measured:
    """Count; failures up to `grace` seconds after the end of the fault still belong to the outage."""
    answers = book.answers
    bad = [each for each in answers if not each.good]
    since_healed = [each for each in answers if each.sent >= timeline.healed]
    away = [each.sent - timeline.healed for each in since_healed if not book.at_home(each, home)]
    outage = (timeline.injected, timeline.healed + grace)
    sent = {each.id for each in answers}
    return Measured(
        sent=len(answers),
        good=len(answers) - len(bad),
        failures=dict(Counter(_words(each) for each in bad)),
        worst_ms=max((each.took for each in answers), default=0.0) * 1000,
        slow=sum(each.took > SLOW_SECONDS for each in answers),
        lost=sum(each.good and each.id not in book.hosts for each in answers),
        doubled=sum(len(hosts) > 1 for identifier, hosts in book.hosts.items() if identifier in sent),
        back_after=max(away, default=0.0) if back else None,
        stray_failures=sum(not outage[0] <= each.sent + each.took or each.sent > outage[1] for each in bad),
        unhelpful_failures=sum(each.status != 503 or not each.retry_after for each in bad),
        worst_failure=max((each.took for each in bad), default=0.0),
        recovered_after=max((each.sent + each.took - timeline.healed for each in bad), default=0.0),
        hosts=_per_host(book, sent),
        lag_ms=max((each.lag for each in answers), default=0.0) * 1000,
        seconds=timeline.ended - timeline.begun,
    )


def _words(answer: Answer) -> str:
    return f"{answer.status} {answer.words}".strip() if answer.status is not None else answer.words


def _per_host(book: Book, sent: Collection[str]) -> Mapping[str, int]:
    lists: Sequence[list[str]] = [hosts for identifier, hosts in book.hosts.items() if identifier in sent]
    return dict(sorted(Counter(host for hosts in lists for host in hosts).items()))
