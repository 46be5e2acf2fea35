"""Each rule finds what breaks it, and nothing in what the chart renders."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helm.release import Object, isvcs
from tests.helm.rules import RULES, problems

HERE = Path(__file__).parent
BREAKS: list[dict[str, Any]] = yaml.safe_load((HERE / "data" / "breaks.yaml").read_text())
SNAPSHOTS = {path.stem: list(yaml.safe_load_all(path.read_text())) for path in (HERE / "snapshots").glob("*.yaml")}


def changed(release: list[Object], name: str, change: dict[str, Any]) -> None:
    """Make one change of breaks.yaml."""
    kind = change.get("kind", "")
    place: Any = next(each.object for each in isvcs(release) if each.name == name)
    if kind not in {"", "InferenceService"}:
        place = next(each for each in release if each["kind"] == kind)
    *way, last = change.get("at") or change["drop"]
    for step in way if kind else ["spec", "predictor", *way]:
        place = place[step]
    if "put" in change:
        place[last] = change["put"]
    else:
        del place[last]


@pytest.mark.parametrize("case", BREAKS, ids=lambda case: f"{case['rule']}: {case['says'][:40]}")
def test_a_rule_finds_what_breaks_it(case: dict[str, Any]) -> None:
    """What a cluster would reject, drop or fail on is named, with the fix."""
    snapshot, name = case["of"]
    release = copy.deepcopy(SNAPSHOTS[snapshot])
    for change in case["changes"]:
        changed(release, name, change)
    isvc = next(each for each in isvcs(release) if each.name == name)
    assert case["says"] in list(RULES[case["rule"]](isvc))


def test_every_rule_is_broken_once() -> None:
    """No rule is there that never found anything."""
    assert {case["rule"] for case in BREAKS} == set(RULES)


@pytest.mark.parametrize("name", sorted(SNAPSHOTS))
def test_what_the_chart_renders_breaks_no_rule(name: str) -> None:
    """A cluster takes every fixture."""
    assert problems(SNAPSHOTS[name]) == []
