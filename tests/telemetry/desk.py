"""Telemetry with all that it wrote and counted."""

from __future__ import annotations

import io
import json
import typing

from sidecar.telemetry.happenings import Happening
from sidecar.telemetry.log import make_log
from sidecar.telemetry.telemetry import Telemetry


class Desk:
    """Telemetry that knows two streams, and what it wrote."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.written = io.StringIO()
        self.telemetry = Telemetry(["known", "other-known"], make_log(self.written))

    def after(self, *happenings: Happening) -> list[dict[str, typing.Any]]:
        """Return the lines logged about `happenings`."""
        for each in happenings:
            self.telemetry.emit(each)
        return [json.loads(line) for line in self.written.getvalue().splitlines()]

    def counted(self, name: str) -> dict[str, float]:
        """Return the samples of a metric, by their labels as they are written there."""
        lines = self.telemetry.exposition().decode().splitlines()
        found = (line.rpartition(" ") for line in lines if line.startswith(f"eventgate_sidecar_{name}" + "{"))
        return {labels.partition("{")[2].rstrip("}"): float(value) for labels, _, value in found}
