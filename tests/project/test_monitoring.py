"""Metrics page, dashboard, alert rules and runbook name existing metrics and labels, and all of them."""

from __future__ import annotations

import copy
import json
import re
import runpy
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

ROOT = Path(__file__).parent.parent.parent
MONITORING = ROOT / "docs" / "monitoring"
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text(encoding="utf-8")
LIFTWING_ALERTS = runpy.run_path(str(ROOT / "scripts" / "liftwing_alerts.py"))
METRICS_PAGE = runpy.run_path(str(ROOT / "scripts" / "metrics_page.py"))
METRICS = list(METRICS_PAGE["full_registry"]().collect())
LABELS = {
    sample.name: set(METRICS_PAGE["labels_of"](metric)) | {"le"} for metric in METRICS for sample in metric.samples
}
"""The metrics that a query may use, with their labels."""
OF_THE_TARGET = {"job", "instance"}
PROMTOOL = ROOT / ".tools" / "prometheus" / "usr" / "bin" / "promtool"

RULES: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts.yaml").read_text())["groups"][0]["rules"]
RULE_TESTS: list[dict[str, Any]] = yaml.safe_load((MONITORING / "alerts_test.yaml").read_text())["tests"]
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "dashboard.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]

register_default_plugins()  # Grafana's kinds of panels and of data sources

each_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])


def problems(query: str) -> Iterator[str]:
    """Yield each metric that no sidecar has, and each label that the metric lacks."""
    for name, matchers in re.findall(r"\b(eventgate_sidecar_\w+)(?:\{([^}]*)\})?", query):
        if name not in LABELS:
            yield f"there is no {name}"
            continue
        labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', "", matchers)))
        yield from (f"{name} has no label {label}" for label in labels - LABELS[name] - OF_THE_TARGET)
    grouped = {
        label
        for labels in re.findall(r"\b(?:by|without|on|ignoring) \(([^)]*)\)", query)
        for label in labels.split(", ")
    }
    known = set().union(*(LABELS.get(name, set()) for name in re.findall(r"\beventgate_sidecar_\w+", query)))
    yield from (f"nothing here has a label {label}" for label in grouped - known - OF_THE_TARGET)


def left_out(dashboard: dict[str, Any]) -> Iterator[str]:
    """Yield the places in the dashboard that do not fit Grafana's types."""
    kept = json.loads(JSONEncoder().encode(Dashboard.from_json(copy.deepcopy(dashboard))))
    yield from _missing_from(kept, dashboard, ())


def _missing_from(kept: Any, given: Any, place: tuple[str, ...]) -> Iterator[str]:
    if isinstance(given, dict | list) and type(kept) is type(given):
        for key, value in given.items() if isinstance(given, dict) else enumerate(given):
            inside = key in kept if isinstance(kept, dict) else key < len(kept)
            yield from _missing_from(kept[key] if inside else None, value, (*place, str(key)))
    elif kept != given:
        yield "/".join(place)


def promtool(*words: str) -> None:
    """Run it on files of `docs/monitoring`."""
    if not PROMTOOL.exists():
        pytest.skip("THE ALERTS ARE NOT TESTED: there is no promtool; scripts/promtool gets it on Debian")
    ended = subprocess.run([PROMTOOL, *words], cwd=MONITORING, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_the_page_of_metrics_is_what_a_sidecar_registers() -> None:
    """`docs/metrics.md` is up to date with the metrics (`make docs`)."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == METRICS_PAGE["renewed"](page)


def test_every_metric_has_the_prefix_and_a_help_text() -> None:
    """Names are `eventgate_sidecar_…`, even those of the process."""
    for metric in METRICS:
        assert metric.name.startswith("eventgate_sidecar_")
        assert metric.documentation.endswith(".")


# --- alerts ---


@each_rule
def test_an_alert_uses_existing_metrics_and_labels(rule: dict[str, Any]) -> None:
    """A rule with another metric or label would never fire."""
    assert list(problems(rule["expr"])) == []


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("eventgate_sidecar_evnts_total > 0", "there is no eventgate_sidecar_evnts_total"),
        ("eventgate_sidecar_events > 0", "there is no eventgate_sidecar_events"),
        ('eventgate_sidecar_events_total{result="x"} > 0', "eventgate_sidecar_events_total has no label result"),
        ("sum by (job, stram) (eventgate_sidecar_events_total)", "nothing here has a label stram"),
    ],
)
def test_a_misspelt_query_is_found(query: str, problem: str) -> None:
    """Whether the metric or a label is misspelt."""
    assert list(problems(query)) == [problem]


@each_rule
def test_an_alert_says_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    """It has a severity, a sentence, and a section in the runbook: what it means, where to look, what to do."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
    section = RUNBOOK.partition(f"\n## {rule['alert']}\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\*\*(.*?):\*\*", section, re.MULTILINE) == ["Means", "Look first", "Do"]


@each_rule
def test_an_alert_for_lift_wing_has_what_wikimedia_asks_for(rule: dict[str, Any]) -> None:
    """The CI of operations/alerts requires a team and four annotations, two of them URLs."""
    rules = LIFTWING_ALERTS["rules"]()["groups"][0]["rules"]
    (alert,) = (each for each in rules if each["alert"] == rule["alert"])
    assert alert["labels"] == {**rule["labels"], "team": "ml"}
    assert len(alert["annotations"]["description"]) > len("Means:")
    assert alert["annotations"]["summary"] == rule["annotations"]["summary"]
    assert alert["annotations"]["runbook"].startswith("https://")
    assert alert["annotations"]["dashboard"].endswith(DASHBOARD["uid"])


def test_the_runbook_has_sections_for_existing_alerts_only() -> None:
    """Its sections are the alerts in their order, then the problems that only the status page shows."""
    headings = re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)
    assert headings == [rule["alert"] for rule in RULES]


def test_the_runbook_names_existing_metrics() -> None:
    """Every metric in it exists."""
    named = set(re.findall(r"`(eventgate_sidecar_\w+)`", RUNBOOK))
    assert named - {METRICS_PAGE["name_of"](metric) for metric in METRICS} == set()


@each_rule
def test_an_alert_is_tested_both_ways(rule: dict[str, Any]) -> None:
    """Each alert has a case in which it fires, and one in which it does not."""
    cases = [case for test in RULE_TESTS for case in test["alert_rule_test"] if case["alertname"] == rule["alert"]]
    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


def test_the_alerts_fire_when_they_should() -> None:
    """Prometheus loads the rules, and they behave as alerts_test.yaml says."""
    promtool("check", "rules", "alerts.yaml")
    promtool("test", "rules", "alerts_test.yaml")


# --- dashboard ---


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_uses_existing_metrics_and_labels(panel: dict[str, Any]) -> None:
    """A panel with another metric or label would stay empty. Each describes what it shows."""
    assert [problem for target in panel["targets"] for problem in problems(target["expr"])] == []
    assert panel["description"].endswith(".")


def test_the_dashboard_shows_every_metric() -> None:
    """Except those that another panel shows better."""
    shown = set(re.findall(r"eventgate_sidecar_\w+", " ".join(QUERIES)))
    hidden = {METRICS_PAGE["name_of"](metric) for metric in METRICS} - {name.removesuffix("_bucket") for name in shown}
    assert hidden == {
        "eventgate_sidecar_config_loads_total",
        "eventgate_sidecar_process_max_fds",
        "eventgate_sidecar_process_virtual_memory_bytes",
        "eventgate_sidecar_spans_total",  # exist only if traces are on
    }


def test_the_dashboard_fits_grafanas_types() -> None:
    """Down to each kind of panel and its options; Grafana would ignore anything else."""
    assert list(left_out(DASHBOARD)) == []


def test_a_key_that_grafana_does_not_know_is_found() -> None:
    """Also in the options of a kind of panel or of data source."""
    wrong = copy.deepcopy(DASHBOARD)
    panel = next(each for each in wrong["panels"] if each["type"] == "timeseries")
    panel["titel"] = panel["options"]["legnd"] = panel["targets"][0]["exprr"] = "x"
    place = f"panels/{wrong['panels'].index(panel)}"
    assert set(left_out(wrong)) == {f"{place}/titel", f"{place}/options/legnd", f"{place}/targets/0/exprr"}


def test_panels_do_not_overlap() -> None:
    """Grafana imports the file unchanged, so each panel needs its own id and place."""
    panels = DASHBOARD["panels"]
    cells = [
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["w"])
        for y in range(place["h"])
    ]
    assert (len(cells), max(x for x, _ in cells)) == (len(set(cells)), 23)
    assert len({panel["id"] for panel in panels}) == len(panels)
