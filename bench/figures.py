"""Medians, ratios, verdicts and changes; nothing here runs anything."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from bench.cases import BARS, DIRECT, ENVOY, SIDECAR, Bar

NUMBERS = ("events_per_s", "p50_ms", "p99_ms", "cpu_us", "upstream_cpu_us", "rss_mib", "ready_s", "others")
DISTURBING = 0.08
"""A larger share of the processors in others' hands is worth saying, and measuring again."""
HALF = 0.5
"""The check fails only under this share of a ratio."""


@dataclass(frozen=True)
class Figures:
    """What one run gave, or the medians of several; None is what there is not."""

    events_per_s: float | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: float | None = None
    """Processor time per event, of the proxy."""
    upstream_cpu_us: float | None = None
    rss_mib: float | None = None
    ready_s: float | None = None
    others: float | None = None
    """Share of the processors that went to processes which are no part of the bench."""
    why: str = ""
    """What failed; a failed run has no figures to speak of."""


Table = Mapping[str, Mapping[str, Figures]]
"""Case name → way → figures."""


def median(runs: Sequence[Figures]) -> Figures:
    """Take the median of each figure; one failed run makes the whole failed."""
    for run in runs:
        if run.why:
            return Figures(why=run.why)
    numbers: dict[str, Any] = {}
    for name in NUMBERS:
        found = [value for run in runs if (value := getattr(run, name)) is not None]
        numbers[name] = statistics.median(found) if found else None
    return Figures(**numbers)


def ratio(table: Table, case: str, way: str, over: str, figure: str = "events_per_s") -> float | None:
    """Divide a figure of one way by that of another; None where one of them is missing."""
    upper, lower = _value(table, case, way, figure), _value(table, case, over, figure)
    return upper / lower if upper is not None and lower else None


def _value(table: Table, case: str, way: str, figure: str) -> float | None:
    value: float | None = getattr(table.get(case, {}).get(way, Figures()), figure)
    return value


@dataclass(frozen=True)
class Verdict:
    """A bar, and what was measured."""

    bar: Bar
    value: float | None

    @property
    def held(self) -> bool | None:
        """Tell whether the bar holds; None where it was not measured."""
        if self.value is None:
            return None
        return self.value >= self.bar.limit if self.bar.at_least else self.value <= self.bar.limit

    @property
    def words(self) -> str:
        """Say it in one or two words."""
        return {None: "not measured", True: "held", False: "not held"}[self.held]


def verdicts(table: Table, bars: Iterable[Bar] = BARS) -> list[Verdict]:
    """Hold a table against the bars."""
    found = []
    for bar in bars:
        if bar.over is None:
            value = _value(table, bar.case.name, bar.way, bar.figure)
        else:
            value = ratio(table, bar.case.name, bar.way, bar.over, bar.figure)
        found.append(Verdict(bar, value))
    return found


def gross_regressions(table: Table, written: Table) -> list[str]:
    """Say what a short run has to fail for: failed runs, and ratios of events/s under half of what was written last.

    `written` is of a run against the same upstream; a ratio that it does not have is held against its bar, which is
    meant for the real EventGate.
    """
    said = [
        f"{case}, {way}: {figures.why}"
        for case, row in table.items()
        for way, figures in row.items()
        if figures.why and way in {DIRECT, SIDECAR}
    ]
    for bar in BARS:
        if bar.figure != "events_per_s" or bar.over is None or bar.way != SIDECAR or bar.case.name not in table:
            continue
        now, was = (ratio(each, bar.case.name, SIDECAR, bar.over) for each in (table, written))
        least, what = (bar.limit, "the bar") if was is None else (was, "what was written last")
        if now is None and bar.over == DIRECT:
            said.append(f"{bar.what}: not measured")
        elif now is not None and now < HALF * least:
            said.append(f"{bar.what}: {now:.2f}, and half of {what} is {HALF * least:.2f}")
    return said


@dataclass(frozen=True)
class Change:
    """What became of the sidecar's ratio since the results that were last written."""

    case: str
    over: str
    was: float
    now: float

    @property
    def percent(self) -> float:
        """By how much it went up; negative is worse."""
        return 100 * (self.now / self.was - 1)


def changes(now: Table, was: Table) -> list[Change]:
    """Compare ratios of events/s, which a slower machine hardly moves."""
    found = []
    for case in now:
        for over in (DIRECT, ENVOY):
            new, old = ratio(now, case, SIDECAR, over), ratio(was, case, SIDECAR, over)
            if new is not None and old is not None and old > 0:
                found.append(Change(case, over, old, new))
    return found


def to_json(table: Table) -> dict[str, Any]:
    """Turn a table into what results.json holds, with three digits that count."""
    return {
        case: {
            way: {name: _rounded(value) for name, value in asdict(figures).items() if value not in {None, ""}}
            for way, figures in row.items()
        }
        for case, row in table.items()
    }


def from_json(data: Mapping[str, Any]) -> dict[str, dict[str, Figures]]:
    """Read what `to_json` wrote."""
    return {case: {way: Figures(**figures) for way, figures in row.items()} for case, row in data.items()}


def _rounded(value: float | str) -> float | str:
    return value if isinstance(value, str) else float(f"{value:.4g}")
