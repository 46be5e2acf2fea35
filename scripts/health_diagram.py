#!/usr/bin/env python3
"""Writes the parts of docs/health.md that come from the code: the diagram, the table and the numbers."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the package of this folder, installed or not

from sidecar.routes.language.config import HealthCheck, Outlier, Upstream  # noqa: E402
from sidecar.routes.language.section import fields  # noqa: E402
from sidecar.upstreams.health import TRANSITIONS, Health, Signal  # noqa: E402

PAGE = ROOT / "docs" / "health.md"


def diagram() -> Iterator[str]:
    """Yield the lines of a mermaid state diagram: an arrow for each pair of states, its signals on it."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    yield f"    [*] --> {Health.UNKNOWN}"
    for before, signals in TRANSITIONS.items():
        for after in dict.fromkeys(signals.values()):
            words = [str(signal) for signal, to in signals.items() if to is after]
            yield f"    {before} --> {after}: {'<br/>'.join(words)}"
    yield "```"


def table() -> Iterator[str]:
    """Yield the lines of a table: a row for each signal, a column for each state."""
    yield f"| signal | {' | '.join(Health)} |"
    yield f"| --- {'| --- ' * len(Health)}|"
    for signal in Signal:
        cells = (TRANSITIONS[health].get(signal, "") for health in Health)
        yield f"| {signal} | {' | '.join(cells)} |"


def numbers() -> Iterator[str]:
    """Yield the lines of a table: every setting of an upstream that the text speaks of, and its default."""
    sections = (("health_check", HealthCheck), ("outlier", Outlier))
    yield "| setting of an upstream | default |"
    yield "| --- | --- |"
    for name, section in sections:
        for field in fields(section):
            yield f"| `{name}.{field.encode_name}` | {_shown(field.default)} |"
    yield f"| `failback` | {_shown(Upstream(url='').failback)} |"


def _shown(value: object) -> str:
    return f"{value:g}s" if isinstance(value, float) else f"{value}"


PARTS = {"diagram": diagram, "table": table, "numbers": numbers}


def renewed(page: str) -> str:
    """Return the page with each part between its two marks regenerated."""
    for name, lines in PARTS.items():
        start, end = f"<!-- {name}: written by scripts/docs -->", f"<!-- end of {name} -->"
        part = "\n".join((start, *lines(), end))
        place = re.compile(f"{re.escape(start)}.*?{re.escape(end)}", re.DOTALL)
        times = len(place.findall(page))
        if times != 1:
            raise SystemExit(f"{PAGE.name} should have one place for the {name}, and has {times}")
        page = page.replace(place.findall(page)[0], part)
    return page


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
