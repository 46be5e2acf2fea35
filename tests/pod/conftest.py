"""Runs these tests only if they are named: they need minutes, root and podman."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests out unless they are named, as `make pod-test` does."""
    asked = any("tests/pod" in argument for argument in config.args)
    return True if collection_path.parent == HERE and not asked else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the measured values."""
    for outcome in ("passed", "failed"):
        for test in terminalreporter.stats.get(outcome, []):
            for what, found in test.user_properties if test.when == "call" else []:
                terminalreporter.write_line(f"measured: {what}: {found}")
