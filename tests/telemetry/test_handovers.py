"""Both ends log a hand-over: events taken as info, events not taken as a warning."""

from __future__ import annotations

from logging import INFO, WARNING

import pytest

from sidecar.telemetry.handovers import HandedOver, TakenOver


@pytest.mark.parametrize(
    ("result", "reason", "level"), [("taken", "", INFO), ("refused", "full", WARNING), ("doubtful", "cut", WARNING)]
)
def test_events_not_taken_are_a_warning(result: str, reason: str, level: int) -> None:
    """They are still here, or may be in both places."""
    assert HandedOver(result, 3, reason).level == level


def test_the_gateway_names_the_origin() -> None:
    """Its log says whose events they are."""
    assert TakenOver("env=staging&isvc=enwiki", 7).words == "labels=env=staging&isvc=enwiki events=7"
