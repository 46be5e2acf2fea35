"""What 400 sidecars cost one EventGate: the figures of docs/herd.md hold."""

from __future__ import annotations

import pytest

from tests import herd

pytestmark = pytest.mark.looptime


async def test_x() -> None:
    """X."""
    herd.PODS = 20
    print(await herd.checks(10.0, "refuses", posting=False))
    
async def test_y() -> None:
    """X."""
    herd.PODS = 20
    print(await herd.replays(100))
