"""Plans that broke a promise once, kept as data: tried by every test run, and expected to fail until they are fixed.

A file in `recorded/` has the seed it is from, the plan, made smaller, the promise, and `fixed`: false while the fault
is in the code. It is a plan and not a seed, so that it stays what it is when other plans are made of seeds one day.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.simulation.plan import Plan

FOLDER = Path(__file__).parent / "recorded"


@dataclass(frozen=True)
class Recorded:
    """One of them."""

    name: str
    fault: str
    """In words: what is wrong in the code."""
    promise: str
    """Name of the invariant that it breaks."""
    fixed: bool
    plan: Plan


def all_recorded() -> list[Recorded]:
    """Return all of them, by name."""
    return [_read(path) for path in sorted(FOLDER.glob("*.yaml"))]


def _read(path: Path) -> Recorded:
    data: dict[str, Any] = yaml.safe_load(path.read_text())
    plan = Plan(data["seed"], data["setup"], tuple(data["acts"]), data["heal"])
    return Recorded(path.stem, data["fault"], data["promise"], data["fixed"], plan)


def write(name: str, fault: str, promise: str, plan: Plan) -> Path:
    """Record a plan, or record it anew."""
    FOLDER.mkdir(exist_ok=True)
    data = {"fault": fault, "promise": promise, "fixed": False, **dataclasses.asdict(plan)}
    data["acts"] = list(data["acts"])
    path = FOLDER / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False, width=116, default_flow_style=None))
    return path
