"""Metrics' page, dashboard, alert rules and runbook are true: each names what there is, and is there for it."""

from __future__ import annotations

import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent
METRICS_PAGE = runpy.run_path(str(ROOT / "scripts" / "metrics_page.py"))


def test_the_page_of_metrics_is_what_a_sidecar_registers() -> None:
    """`docs/metrics.md` was written anew after the last change of a metric (`make docs`)."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == METRICS_PAGE["renewed"](page)


def test_every_metric_begins_with_our_name_and_explains_itself() -> None:
    """Names are `eventgate_sidecar_…`, those of the process too, and each has words beside it."""
    for metric in METRICS_PAGE["full_registry"]().collect():
        assert metric.name.startswith("eventgate_sidecar_")
        assert metric.documentation.endswith(".")
