"""What many sidecars cost one EventGate: the figures of docs/herd.md hold, here for 25 of them."""

from __future__ import annotations

import pytest

from tests import herd

pytestmark = pytest.mark.looptime

PODS = 25
PER_POD = 1 / 5
"""Checks a second of a healthy address: `health_check.interval` is 5 s."""


@pytest.mark.parametrize("how", ["refuses", "hangs"])
async def test_checks_come_spread_and_bounded(how: str) -> None:
    """One check at the start and one in 5 s then, by chance; while EventGate is away hardly more."""
    found = await herd.checks(60.0, how, posting=False, pods=PODS)
    assert found.starting <= 2 * PODS  # all start within one second: the first check of each
    assert found.running == pytest.approx(PODS * PER_POD, rel=0.15)
    assert found.running_peak <= 2.5 * PODS * PER_POD
    assert found.down_peak <= 0.8 * PODS  # the second and third failure come a second apart
    assert found.back <= 0.8 * PODS


async def test_failing_posts_ask_for_no_storm_of_checks() -> None:
    """While every POST fails, two a second from each pod, each pod checks once a second and no oftener."""
    found = await herd.checks(20.0, "refuses", posting=True, pods=PODS)
    assert found.down <= 1.1 * PODS
    assert found.down_peak <= 1.6 * PODS
    assert found.after <= 0.1 * PODS  # answered POSTs take the place of checks


async def test_spools_are_emptied_without_overrunning_eventgate() -> None:
    """After an outage every event is sent once, as fast as EventGate takes them, and no live event waits for long."""
    found = await herd.replays(100, pods=PODS)
    assert (found.waiting, found.twice) == (100 * PODS, 0)
    assert found.seconds < 8
    assert found.longest < herd.ATTEMPT_SECONDS / 2
