"""Carries out a plan in its world."""

from __future__ import annotations

import gc
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.simulation.hops import TwoHops
from tests.simulation.plan import Plan
from tests.simulation.world import World

MEMORY = Path("/dev/shm")
"""A disk with a free fsync; `power` simulates power losses."""


def simulate(plan: Plan, judge: Callable[[World], Any]) -> Any:
    """Carry out a plan, and return the verdict of `judge` at its end."""
    path = Path(tempfile.mkdtemp(prefix="simulation-", dir=MEMORY if MEMORY.is_dir() else None))
    gc.collect()
    gc.disable()  # what the collector finds, and when, would be chance of another kind
    world = TwoHops(plan, path) if plan.setup.get("gateway") else World(plan, path)
    try:
        world.run()
        return judge(world)
    finally:
        sys.unraisablehook = lambda _: None  # dead processes leave coroutines behind
        _end(world)
        shutil.rmtree(path, ignore_errors=True)


def _end(world: World) -> None:
    for life in (*world.lives, *world.gateways):
        life.process.alive = False
        for task in life.process.tasks:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        life.process.tasks.clear()
    world.loop.close()
    world.lives.clear()
    world.gateways.clear()
    gc.enable()
    gc.collect()
