"""Plans that once broke a promise, kept as data. Every test run tries them; they must fail until the bug is fixed.

A file in `recorded/` has its seed, the shrunk plan, the promise, and `fixed`: false while the bug is in the code. It
has the plan, since a later version may make another plan of the seed.
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
    """A recorded plan."""

    name: str
    fault: str
    """Description of the bug."""
    promise: str
    """Name of the broken invariant."""
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
    """Record a plan; overwrite an earlier record."""
    FOLDER.mkdir(exist_ok=True)
    data = {"fault": fault, "promise": promise, "fixed": False, **dataclasses.asdict(plan)}
    data["acts"] = list(data["acts"])
    path = FOLDER / f"{name}.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False, width=116, default_flow_style=None))
    return path
