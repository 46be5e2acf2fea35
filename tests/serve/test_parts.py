"""Without traces the parts are the plain ones."""

from __future__ import annotations

import subprocess
import sys

from sidecar.delivery.sender import Delivery
from sidecar.intake.endpoint import EventsEndpoint
from sidecar.serve.parts import PLAIN, Parts
from sidecar.telemetry.telemetry import Telemetry


def test_without_traces_nothing_stands_between() -> None:
    """The parts are made by their own classes, so an event meets no line of code that traces are for."""
    assert Parts(Telemetry, Delivery, EventsEndpoint) == PLAIN


def test_without_traces_nothing_of_them_is_loaded() -> None:
    """What `serve` imports knows no OpenTelemetry, nor what only its exporter needs."""
    ours = "import sidecar.commands.cli, sidecar.serve.otelsettings, sidecar.serve.runtime, sys"
    shown = "print(*{name.partition('.')[0] for name in sys.modules} & {'opentelemetry', 'requests', 'google'})"
    run = subprocess.run([sys.executable, "-c", f"{ours}\n{shown}"], check=True, capture_output=True, text=True)
    assert run.stdout.split() == []
