"""Promises of `configtelemetry`: a refused file can be alerted on, and the log shows it as `check` does."""

from __future__ import annotations

import io
import json

from sidecar.telemetry.configtelemetry import MAX_TEXT, ConfigLoaded, ConfigNotKept, ConfigRefused
from sidecar.telemetry.log import make_log
from sidecar.telemetry.telemetry import Telemetry

LOADED = ConfigLoaded("routes.yaml", 4, 2, "env=staging", "0123456789ab")
PROBLEMS = "routes.yaml:7:5: routes[0].to is 'prodcution'\n        to: prodcution\n        ^"


def after(*happenings: ConfigLoaded | ConfigRefused | ConfigNotKept) -> tuple[str, str]:
    """Return the log and the metrics after these."""
    written = io.StringIO()
    telemetry = Telemetry((), make_log(written))
    for each in happenings:
        telemetry.emit(each)
    return written.getvalue(), telemetry.exposition().decode()


def test_a_refused_file_can_be_alerted_on() -> None:
    """One gauge says that the file on disk is not what is in force, until it is again."""
    _, metrics = after(LOADED, ConfigRefused("routes.yaml", 1, PROBLEMS))
    assert "\neventgate_sidecar_config_refused 1.0\n" in metrics
    assert 'config_loads_total{result="refused"} 1.0' in metrics
    _, metrics = after(LOADED, ConfigRefused("routes.yaml", 1, PROBLEMS), LOADED)
    assert "\neventgate_sidecar_config_refused 0.0\n" in metrics
    assert 'config_loads_total{result="applied"} 2.0' in metrics


def test_the_log_shows_problems_as_check_does() -> None:
    """Line for line, with the caret; however many there are, the line stays bounded."""
    line = json.loads(after(ConfigRefused("routes.yaml", 1, PROBLEMS))[0])
    assert line["message"] == f"config refused: routes.yaml\n{PROBLEMS}"
    assert (line["log.level"], line["event"]["action"]) == ("error", "ConfigRefused")
    line = json.loads(after(ConfigRefused("routes.yaml", 999, "x" * 2 * MAX_TEXT))[0])
    assert line["message"].endswith("x… (`check` shows the rest)")
    assert len(line["message"]) < MAX_TEXT + 100


def test_what_cannot_be_kept_is_a_warning() -> None:
    """It costs nothing now, and a restart perhaps."""
    line = json.loads(after(ConfigNotKept("/state/last-good.yaml", "Read-only file system"))[0])
    assert (line["log.level"], line["message"]) == (
        "warning",
        "config not kept: file=/state/last-good.yaml reason=Read-only file system",
    )
