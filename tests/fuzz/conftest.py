"""Leaves out tests that need a fuzzer if none is installed, and says so."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from hypothesis import settings

INSTALLED = importlib.util.find_spec("schemathesis") is not None

settings.register_profile("long")  # test_described says what this means


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Collect only tests that can run."""
    return True if collection_path.name == "test_described.py" and not INSTALLED else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was left out."""
    if not INSTALLED:
        terminalreporter.write_line("THE DESCRIPTION IS NOT TESTED: schemathesis is not installed; run `make api-test`")
