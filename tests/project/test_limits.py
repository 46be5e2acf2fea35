"""What docs/limits.md says of bounds is what the code has, and no bound of the code is missing there."""

from __future__ import annotations

import importlib
import inspect
import math
import re
from pathlib import Path
from typing import Any

import pytest

from tests.project.test_docs import ROOT

PAGE = (ROOT / "docs" / "limits.md").read_text()
NAMED = re.findall(r"`((?:[a-z]\w*\.)*[a-z]\w*)\.([A-Z][A-Za-z_.]+) = ([\d_.* ]+)`", PAGE)
PACKAGE = ROOT / "sidecar"
NOT_OF_WHAT_COMES_FROM_OUTSIDE = {
    "demo.emulator.gate.MAX_BODY_BYTES",
    "routes.audit.MAX_BOXES",
    "routes.samples.MAX_PODS",
    "serve.reload.MAX_LOOKS",
    "status.value.MAX_REASON",
}
"""These bound how far a check of `routes.yaml` looks, how much of a text is shown, and what the emulator takes."""


def value_of(module: str, path: str) -> float:
    """Return the constant, or the default of a field."""
    found: Any = importlib.import_module(f"sidecar.{module}")
    for name in path.split("."):
        parameters = inspect.signature(found).parameters if inspect.isclass(found) else {}
        found = parameters[name].default if name in parameters else getattr(found, name)
    return float(found)


def constants_of(path: Path) -> set[str]:
    """Return the names of a module's constants that say how much there may be of something."""
    module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return {f"{module}.{name}" for name in re.findall(r"^(MAX_\w+) = ", path.read_text(), re.MULTILINE)}


@pytest.mark.parametrize(("module", "path", "value"), NAMED, ids=[f"{module}.{path}" for module, path, _ in NAMED])
def test_a_bound_is_what_the_page_says(module: str, path: str, value: str) -> None:
    """A constant that is changed is changed on the page."""
    assert value_of(module, path) == math.prod(float(factor) for factor in value.split(" * "))


def test_every_bound_is_on_the_page() -> None:
    """A new `MAX_…` has to say there what happens at it, and what an operator sees."""
    constants = {name for path in PACKAGE.rglob("*.py") for name in constants_of(path)}
    assert constants - {f"{module}.{name}" for module, name, _ in NAMED} == NOT_OF_WHAT_COMES_FROM_OUTSIDE


def test_every_metric_on_the_page_exists() -> None:
    """What is said to show a bound is among the metrics."""
    known = set(re.findall(r"^\| `(eventgate_sidecar_\w+)`", (ROOT / "docs" / "metrics.md").read_text(), re.MULTILINE))
    assert set(re.findall(r"`(eventgate_sidecar_\w+)", PAGE)) <= known
