"""docs/limits.md has the code's values, and every bound of the code."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from tests.project.test_docs import ROOT

PAGE = (ROOT / "docs" / "limits.md").read_text()
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "limits_page.py"))
PACKAGE = ROOT / "sidecar"
NOT_OF_WHAT_COMES_FROM_OUTSIDE = {
    "demo.emulator.gate.MAX_BODY_BYTES",
    "routes.audit.MAX_BOXES",
    "routes.audit.MAX_SPELT",
    "routes.samples.MAX_PODS",
    "routes.samples.MAX_ROWS",
    "routes.samples.MAX_WAYS",
    "routes.texts.MAX_BRANCHES",
    "routes.ways.MAX_ALIKE",
    "serve.reload.MAX_LOOKS",
    "status.value.MAX_REASON",
}
"""These bound how far a check of `routes.yaml` looks, how much of a text is shown, and what the emulator takes."""


def constants_of(path: Path) -> set[str]:
    """Return the names of a module's constants that say how much there may be of something."""
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return {f"{module}.{name}" for name in re.findall(r"^(MAX_\w+) = ", path.read_text(), re.MULTILINE)}


def test_the_page_has_the_values_of_the_code() -> None:
    """After a change, run `make docs`."""
    assert SCRIPT["renewed"](PAGE) == PAGE


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("`intake.body.MAX_MEMBERS = 7`", "`intake.body.MAX_MEMBERS = 100`"),
        ("`intake.body.MAX_MEMBERS = 10 * 10`", "`intake.body.MAX_MEMBERS = 10 * 10`"),
        ("`intake.budget.ByteBudget.size = 1`", "`intake.budget.ByteBudget.size = 16 * 1024 * 1024`"),
        ("`events.event.MAX_EVENTS = 1`", "`events.event.MAX_EVENTS = 10_000`"),
        ("`status.cluster.LIMITS.connections = 1`", "`status.cluster.LIMITS.connections = 256`"),
        ("`status.sse.END_SECONDS = 1`", "`status.sse.END_SECONDS = 0.5`"),
    ],
)
def test_a_wrong_value_is_rewritten(before: str, after: str) -> None:
    """As the code writes it; an equal value in another form stays."""
    assert SCRIPT["renewed"](before) == after


def test_every_bound_is_on_the_page() -> None:
    """A new `MAX_…` needs a row with what happens at it, and what an operator sees."""
    constants = {name for path in PACKAGE.rglob("*.py") for name in constants_of(path)}
    named = {f"{module}{path}" for module, path, _ in SCRIPT["NAMED"].findall(PAGE)}
    assert constants - named == NOT_OF_WHAT_COMES_FROM_OUTSIDE


def test_every_metric_on_the_page_exists() -> None:
    """Those that show a bound."""
    known = set(re.findall(r"^\| `(eventgate_sidecar_\w+)`", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    assert set(re.findall(r"`(eventgate_sidecar_\w+)", PAGE)) <= known
