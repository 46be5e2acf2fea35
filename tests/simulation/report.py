"""Writes the figures in docs/simulation.md: speed of the simulation, and findings of the seeds."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.simulation.recorded import Recorded

PAGE = Path(__file__).parent.parent.parent / "docs" / "simulation.md"
BEGIN = "<!-- figures: written by `make simulate ARGS='--report'` -->"
END = "<!-- end of figures -->"


class Figures:
    """Counts of a search."""

    def __init__(self) -> None:
        """Start at zero."""
        self.seeds = 0
        self.simulated = 0.0
        """Seconds."""
        self.found: dict[str, list[int]] = defaultdict(list)
        """The seeds that broke each promise."""
        self._begun = time.process_time()

    def count(self, seed: int, simulated: float, broken: Sequence[str]) -> None:
        """Count a seed."""
        self.seeds += 1
        self.simulated += simulated
        for name in set(broken):
            self.found[name].append(seed)

    def in_words(self, promise: Callable[[str], str], recorded: Sequence[Recorded]) -> str:
        """Return the generated part of the page."""
        hours, minutes = self.simulated / 3600, (time.process_time() - self._begun) / 60
        lines = [
            f"{self.seeds} seeds, {hours:.1f} simulated hours, {minutes:.1f} minutes of one core: "
            f"**{hours / minutes:.1f} simulated hours a minute**.",
            "",
        ]
        found = sorted(self.found.items(), key=lambda each: (-len(each[1]), each[0]))
        if found:
            lines += ["| promise | seeds that break it | first |", "| --- | ---: | ---: |"]
        else:
            lines.append("No seed broke a promise.")
        lines += [f"| {promise(name)} | {len(seeds)} | {min(seeds)} |" for name, seeds in found]
        return "\n".join([*lines, "", *_recorded_table(recorded)])


def _recorded_table(recorded: Sequence[Recorded]) -> list[str]:
    fixed = sum(each.fixed for each in recorded)
    lines = [f"{len(recorded)} faults are recorded, {fixed} of them fixed.", "", "| recorded | fault | seed | state |"]
    lines.append("| --- | --- | ---: | --- |")
    return lines + [
        f"| `{each.name}` | {each.fault} | {each.plan.seed} | {'fixed' if each.fixed else 'open'} |"
        for each in recorded
    ]


def write(figures: Figures, promise: Callable[[str], str], recorded: Sequence[Recorded]) -> None:
    """Put the figures into the page."""
    replace_part(BEGIN, END, figures.in_words(promise, recorded))


def replace_part(begin: str, end: str, text: str) -> None:
    """Put a text between two markers of the page."""
    before, _, rest = PAGE.read_text().partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}\n\n{text}\n\n{end}{after}")


def broken_by(found: Mapping[str, Sequence[int]]) -> str:
    """Return the summary of a search, a promise a line."""
    return "".join(f"{len(seeds):>6} {name}\n" for name, seeds in sorted(found.items(), key=lambda each: -len(each[1])))
