"""Runs these tests only if they are named: they need a browser, and the main thread's event loop."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the tests out unless they are named, as `make browser-test` does."""
    asked = any("tests/browser" in argument for argument in config.args)
    return True if collection_path.parent == HERE and not asked else None
