"""What happens to the configuration, as typed values, and the metrics they become; `telemetry` has the log."""

from __future__ import annotations

import logging
from typing import ClassVar

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge

MAX_TEXT = 8192
"""Characters of problems in one line of the log; `check` shows the rest."""


class ConfigLoaded(msgspec.Struct, frozen=True):
    """A configuration is in force."""

    level: ClassVar[int] = logging.INFO
    file: str
    routes: int
    upstreams: int
    labels: str
    digest: str = ""
    """The first digits of the SHA-256 of its text."""


class ConfigRefused(msgspec.Struct, frozen=True):
    """A file cannot be used; what was in force before still is."""

    level: ClassVar[int] = logging.ERROR
    file: str
    problems: int
    text: str
    """Every problem as `check` shows it."""

    @property
    def words(self) -> str:
        """The file and its problems, as much of them as fits in a line of the log."""
        text = self.text if len(self.text) <= MAX_TEXT else f"{self.text[:MAX_TEXT]}… (`check` shows the rest)"
        return f"{self.file}\n{text}"


class ConfigNotKept(msgspec.Struct, frozen=True):
    """The last good configuration could not be written down; a restart may miss it."""

    level: ClassVar[int] = logging.WARNING
    file: str
    reason: str


ConfigHappening = ConfigLoaded | ConfigRefused | ConfigNotKept


class ConfigMetrics:
    """The metrics of the configuration."""

    def __init__(self, registry: CollectorRegistry) -> None:
        """Nothing is loaded yet."""
        self._loads = Counter(
            "eventgate_sidecar_config_loads",
            "Times a routes.yaml was loaded, by result: applied or refused.",
            ("result",),
            registry=registry,
        )
        self._refused = Gauge(
            "eventgate_sidecar_config_refused",
            "1 while routes.yaml on disk is refused and an earlier configuration is in force.",
            registry=registry,
        )
        self._loaded_at = Gauge(
            "eventgate_sidecar_config_loaded_timestamp_seconds",
            "When the configuration in force was loaded, in Unix time.",
            registry=registry,
        )

    def count(self, happening: ConfigHappening) -> None:
        """Count it."""
        match happening:
            case ConfigLoaded():
                self._loads.labels("applied").inc()
                self._loaded_at.set_to_current_time()
                self._refused.set(0)
            case ConfigRefused():
                self._loads.labels("refused").inc()
                self._refused.set(1)
