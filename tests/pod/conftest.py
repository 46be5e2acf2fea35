"""Runs these tests only when they are asked for by name: they take minutes, root and podman."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests out of a run of all tests; `make pod-test` names them."""
    asked = any("tests/pod" in argument for argument in config.args)
    return True if collection_path.parent == HERE and not asked else None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was measured."""
    for outcome in ("passed", "failed"):
        for test in terminalreporter.stats.get(outcome, []):
            for what, found in test.user_properties if test.when == "call" else []:
                terminalreporter.write_line(f"measured: {what}: {found}")
