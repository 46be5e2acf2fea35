"""The records of a run, as values. Only reads files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.longrun.schedule import Schedule

CHUNK = 1 << 24
NUMBER = re.compile(rb'"event":\{"\$schema":"[^"]*","meta":\{"stream":"[^"]*","id":"(\d{8})-')
"""An accepted event in a line of an EventGate's output; the line has the same text once more, escaped."""
TROUBLE = re.compile(r'Traceback|"stack_trace"|"action":"Unexpected"')


@dataclass(frozen=True, slots=True)
class Request:
    """One POST and its result."""

    sent: float
    took: float
    lag: float
    """Seconds it was sent late, because the machine was busy."""
    first: int
    """Number of its first event."""
    count: int
    kind: str
    fate: str
    """An HTTP status; `cut`: the connection ended before the answer; `late`: given up after 5 s; `unreachable`:
    nothing listened."""
    words: str
    """The outcome in the answer."""
    failed: str
    """Numbers of the events that the answer lists, `*` for all of a request that was refused as a whole."""

    @property
    def ended(self) -> float:
        """When its result was known."""
        return self.sent + self.took

    @property
    def answered(self) -> bool:
        """Whether there was an answer."""
        return self.fate.isdigit()

    @property
    def events(self) -> int:
        """How many events the sidecar counts for this answer."""
        return 0 if self.kind == "garbage" or self.failed == "*" else self.count

    @property
    def promised(self) -> Iterator[int]:
        """The events that were answered 2xx."""
        if not self.fate.startswith("2"):
            return iter(())
        failed = set() if self.failed in "-*" else {int(number) for number in self.failed.split(",")}
        return (number for number in range(self.first, self.first + self.count) if number not in failed)

    @property
    def spoilt(self) -> Iterator[int]:
        """The events that EventGate does not accept: the last of these kinds."""
        return iter((self.first + self.count - 1,) if self.kind in {"mixed", "invalid"} else ())

    @property
    def is_valid(self) -> bool:
        """Whether all of its events should be accepted."""
        return self.kind in {"lone", "quick", "array"}


@dataclass
class Life:
    """A sidecar from its start to its end; times of the monotonic clock."""

    number: int
    log: Path
    pid: int
    began: float
    listened: float = 0.0
    signal: str = ""
    told: float = 0.0
    """When the signal was sent."""
    ended: float = 0.0
    status: int | None = None

    @property
    def ended_well(self) -> bool:
        """Whether it ended as expected."""
        return self.status == (-9 if self.signal == "SIGKILL" else 0)


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of the sidecar."""

    life: int
    began: float
    ended: float
    memory: int
    """Bytes, resident."""
    files: int
    """Open descriptors, without the connections of producers."""
    producers: int
    """Connections of producers."""
    processor: float
    """Its processor seconds."""
    metrics: Mapping[str, float]
    """Metrics by name with labels, as written; empty if it gave none."""

    def total(self, name: str, label: str = "") -> float:
        """Add up the samples of a metric that have a label."""
        return sum(value for key, value in self.metrics.items() if key.partition("{")[0] == name and label in key)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault as it happened, from its setup to its end."""

    name: str
    began: float
    ended: float


@dataclass(frozen=True)
class Records:
    """All records of a run."""

    schedule: Schedule
    begun: float
    """When the first event was due."""
    ended: float
    requests: list[Request]
    lives: list[Life]
    samples: list[Sample]
    troubles: list[Trouble]
    arrived: Mapping[int, int]
    """How often an EventGate accepted each event."""
    dead: frozenset[int]
    """Events that are dead letters at the end."""
    left: int
    """Events waiting in the spool at the end."""
    complaints: list[str]
    """Lines of the sidecars' logs that report a bug."""
    logged: Mapping[str, int]
    """What the logs report, and how often."""
    processor: Mapping[str, float]
    """Processor seconds of each program of the run."""
    machine_load: tuple[float, float, float]
    """Load averages over the last 1, 5 and 15 minutes of the run."""


def exposed(text: str) -> dict[str, float]:
    """Read Prometheus' text format, leaving out the buckets."""
    lines = (line.rpartition(" ") for line in text.splitlines() if line[:1] not in {"", "#"} and "_bucket" not in line)
    return {name: float(value) for name, _, value in lines}


def requests_in(path: Path) -> list[Request]:
    """Read the producers' output."""
    found = []
    for line in path.read_text().splitlines():
        sent, took, lag, first, count, *words = line.split(" ")
        found.append(Request(float(sent), float(took), float(lag), int(first), int(count), *words))
    return found


def arrivals_in(paths: Iterable[Path]) -> dict[int, int]:
    """Count how often each event is in the files of the EventGates."""
    arrived: dict[int, int] = {}
    for path in paths:
        with path.open("rb") as file:
            rest = b""
            while chunk := file.read(CHUNK):
                whole, _, rest = (rest + chunk).rpartition(b"\n")
                for number in NUMBER.findall(whole):
                    arrived[int(number)] = arrived.get(int(number), 0) + 1
    return arrived


def complaints_in(paths: Iterable[Path]) -> list[str]:
    """Return the lines of the logs that report a bug."""
    lines = ((path.name, line) for path in paths for line in path.read_text(errors="replace").splitlines())
    return [f"{name}: {line[:500]}" for name, line in lines if TROUBLE.search(line) or not line.startswith("{")]


def actions_in(paths: Iterable[Path]) -> dict[str, int]:
    """Count what the logs report, by its name."""
    counts: dict[str, int] = {}
    for path in paths:
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("{"):
                action = json.loads(line).get("event", {}).get("action", "")
                counts[action] = counts.get(action, 0) + 1
    return counts
