"""What the tests of this folder run against."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.processes import Emulator, Sidecar, emulator, sidecar
from tests.running import to_one

QUICK_CHECKS: dict[str, Any] = {"health_check": {"interval": "500ms", "timeout": "500ms"}, "failback": "1s"}
"""For an upstream whose endpoints go away and come back within a test."""


@pytest.fixture(scope="session", autouse=True)
def interruptible() -> None:
    """Let Ctrl-C end processes: what a shell starts in the background ignores it, and so does all that it starts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def eventgate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """Run one emulated EventGate."""
    with emulator(tmp_path_factory.mktemp("eventgate")) as running:
        yield running


@pytest.fixture(scope="module")
def before(eventgate: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    """Run a sidecar before it that sends everything there, under the name it came with."""
    patient = to_one(eventgate.address, timeouts={"attempt": "4s"})  # for 10 MB on a busy machine
    with sidecar(written(patient, tmp_path_factory.mktemp("routes"))) as running:
        yield running


def written(config: object, folder: Path) -> Path:
    """Write a configuration down; JSON is YAML."""
    path = folder / "routes.yaml"
    path.write_text(json.dumps(config))
    return path
