"""Metrics' page, dashboard, alert rules and runbook are true: each names what there is, and is there for it."""

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
"""What a query can ask for, and by which labels."""
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
    """Yield each metric that no sidecar has, and each label that its metric has not."""
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
    """Yield where something stands in the dashboard that Grafana's types have no place for."""
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
    """`docs/metrics.md` was written anew after the last change of a metric (`make docs`)."""
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert page == METRICS_PAGE["renewed"](page)


def test_every_metric_has_the_prefix_and_a_help_text() -> None:
    """Names are `eventgate_sidecar_…`, even those of the process."""
    for metric in METRICS:
        assert metric.name.startswith("eventgate_sidecar_")
        assert metric.documentation.endswith(".")


# --- alerts ---


@each_rule
def test_an_alert_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    """A rule on a metric or label that nobody has would be silent for ever."""
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
def test_a_query_for_nothing_is_found(query: str, problem: str) -> None:
    """Whatever is misspelt in it."""
    assert list(problems(query)) == [problem]


@each_rule
def test_an_alert_says_what_it_means_and_what_to_do(rule: dict[str, Any]) -> None:
    """Severity, a sentence, and its place in the runbook, with what it means, where to look, and what to do."""
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"].endswith(".")
    assert rule["annotations"]["runbook"] == f"docs/runbook.md#{rule['alert'].lower()}"
    section = RUNBOOK.partition(f"\n## {rule['alert']}\n")[2].partition("\n## ")[0]
    assert re.findall(r"^\*\*(.*?):\*\*", section, re.MULTILINE) == ["Means", "Look first", "Do"]


@each_rule
def test_an_alert_for_lift_wing_has_what_wikimedia_asks_for(rule: dict[str, Any]) -> None:
    """The CI of operations/alerts wants a team and four annotations, two of them addresses."""
    rules = LIFTWING_ALERTS["rules"]()["groups"][0]["rules"]
    (alert,) = (each for each in rules if each["alert"] == rule["alert"])
    assert alert["labels"] == {**rule["labels"], "team": "ml"}
    assert len(alert["annotations"]["description"]) > len("Means:")
    assert alert["annotations"]["summary"] == rule["annotations"]["summary"]
    assert alert["annotations"]["runbook"].startswith("https://")
    assert alert["annotations"]["dashboard"].endswith(DASHBOARD["uid"])


def test_the_runbook_has_no_alert_that_is_gone() -> None:
    """Its sections are the alerts, in their order, and then what only the status page shows."""
    headings = re.findall(r"^## (\w+)$", RUNBOOK, re.MULTILINE)
    assert headings == [rule["alert"] for rule in RULES]


def test_the_runbook_asks_for_what_there_is() -> None:
    """Every metric that it tells to look at is there."""
    named = set(re.findall(r"`(eventgate_sidecar_\w+)`", RUNBOOK))
    assert named - {METRICS_PAGE["name_of"](metric) for metric in METRICS} == set()


@each_rule
def test_an_alert_is_tested_both_ways(rule: dict[str, Any]) -> None:
    """For each alert there is a time when it comes, and one when it does not."""
    cases = [case for test in RULE_TESTS for case in test["alert_rule_test"] if case["alertname"] == rule["alert"]]
    assert {bool(case["exp_alerts"]) for case in cases} == {True, False}


def test_the_alerts_come_when_they_should() -> None:
    """Prometheus reads the rules, and they do what alerts_test.yaml says."""
    promtool("check", "rules", "alerts.yaml")
    promtool("test", "rules", "alerts_test.yaml")


# --- dashboard ---


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: panel["title"])
def test_a_panel_asks_for_what_there_is(panel: dict[str, Any]) -> None:
    """A panel on a metric or label that nobody has would be empty for ever; each says what it shows."""
    assert [problem for target in panel["targets"] for problem in problems(target["expr"])] == []
    assert panel["description"].endswith(".")


def test_the_dashboard_shows_every_metric() -> None:
    """What is measured can be seen, but for what another panel says better."""
    shown = set(re.findall(r"eventgate_sidecar_\w+", " ".join(QUERIES)))
    hidden = {METRICS_PAGE["name_of"](metric) for metric in METRICS} - {name.removesuffix("_bucket") for name in shown}
    assert hidden == {
        "eventgate_sidecar_config_loads_total",
        "eventgate_sidecar_process_max_fds",
        "eventgate_sidecar_process_virtual_memory_bytes",
        "eventgate_sidecar_spans_total",  # only there where traces are asked for
    }


def test_grafana_knows_every_word_of_the_dashboard() -> None:
    """By its own types, down to each kind of panel and its options; what Grafana does not know it would leave out."""
    assert list(left_out(DASHBOARD)) == []


def test_a_word_that_grafana_does_not_know_is_found() -> None:
    """Also in the options of one kind of panel, or in those of one kind of data source."""
    wrong = copy.deepcopy(DASHBOARD)
    panel = next(each for each in wrong["panels"] if each["type"] == "timeseries")
    panel["titel"] = panel["options"]["legnd"] = panel["targets"][0]["exprr"] = "x"
    place = f"panels/{wrong['panels'].index(panel)}"
    assert set(left_out(wrong)) == {f"{place}/titel", f"{place}/options/legnd", f"{place}/targets/0/exprr"}


def test_panels_lie_beside_each_other() -> None:
    """Grafana takes the file as it is: each panel has an id of its own and a place that no other has."""
    panels = DASHBOARD["panels"]
    cells = [
        (place["x"] + x, place["y"] + y)
        for place in (panel["gridPos"] for panel in panels)
        for x in range(place["w"])
        for y in range(place["h"])
    ]
    assert (len(cells), max(x for x, _ in cells)) == (len(set(cells)), 23)
    assert len({panel["id"] for panel in panels}) == len(panels)
