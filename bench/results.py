"""What is kept of the last written runs, one for each kind of upstream: bench/results.json, docs/performance.md."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from bench.figures import from_json, to_json
from bench.report import Run, markdown

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).parent.parent / "docs/performance.md"
KINDS = ("eventgate", "emulator")
"""In the order in which the page shows them."""


def load_runs() -> dict[str, Run]:
    """Read the runs that were last written."""
    if not RESULTS.exists():
        return {}
    return {
        kind: Run(**{**run, "table": from_json(run["table"])}) for kind, run in json.loads(RESULTS.read_text()).items()
    }


def write_runs(runs: Mapping[str, Run]) -> list[Run]:
    """Write them, and the page that shows them; return them in its order."""
    ordered = {kind: runs[kind] for kind in KINDS if kind in runs}
    data = {kind: {**asdict(run), "table": to_json(run.table)} for kind, run in ordered.items()}
    RESULTS.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(markdown(ordered.values()))
    return list(ordered.values())
