"""Leaves these tests out where the Helm engine is not installed, and says so."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

INSTALLED = all(importlib.util.find_spec(name) for name in ("helm_python", "kubernetes_validate"))
NEEDS_NO_ENGINE = {"test_edits.py", "test_rules.py"}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Collect only what can run."""
    is_test = collection_path.name.startswith("test_") and collection_path.name not in NEEDS_NO_ENGINE
    return True if is_test and not INSTALLED else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out."""
    if not INSTALLED:
        terminalreporter.write_line(
            "HELM CHARTS ARE NOT TESTED: the Helm engine is not installed; run `make helm-test`"
        )
