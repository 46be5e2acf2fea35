#!/usr/bin/env python3
"""Prints docs/monitoring/alerts.yaml in the form that Wikimedia's repository operations/alerts asks for.

Redirect it to team-ml/eventgate_sidecar.yaml there. Its CI wants a team, a description, a dashboard, and a runbook that
it can fetch, so first copy docs/runbook.md to the wiki page that RUNBOOK names.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

DOCS = Path(__file__).resolve().parent.parent / "docs"
RUNBOOK = "https://wikitech.wikimedia.org/wiki/Machine_Learning/LiftWing/Alerts"
DASHBOARD = "https://grafana.wikimedia.org/d/eventgate-sidecar"


def rules() -> dict[str, Any]:
    """Return the groups of rules, with the labels and annotations that are asked for."""
    groups: dict[str, Any] = yaml.safe_load((DOCS / "monitoring" / "alerts.yaml").read_text(encoding="utf-8"))
    for rule in groups["groups"][0]["rules"]:
        rule["labels"]["team"] = "ml"
        rule["annotations"] |= {
            "description": meaning(rule["alert"]),
            "runbook": f"{RUNBOOK}#{rule['alert']}",
            "dashboard": DASHBOARD,
        }
    return groups


def meaning(alert: str) -> str:
    """Return the first paragraph of the alert's section in the runbook, as plain text."""
    runbook = (DOCS / "runbook.md").read_text(encoding="utf-8")
    text = re.split(rf"(?m)^## {alert}$", runbook, maxsplit=1)[1]
    plain = re.sub(r"\[([^]]+)\]\([^)]+\)|\*\*|`", r"\1", text.strip().split("\n")[0]).removeprefix("Means: ")
    return plain[0].upper() + plain[1:]


if __name__ == "__main__":
    sys.stdout.write("# deploy-tag: k8s-mlserve\n# deploy-site: eqiad, codfw\n\n")
    yaml.safe_dump(rules(), sys.stdout, sort_keys=False, width=120, allow_unicode=True)
