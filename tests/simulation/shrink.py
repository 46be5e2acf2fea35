"""Shrinks a failing plan: leaves out acts while the same promise stays broken.

The result is no longer the plan of its seed, so it is kept as data; see `recorded`.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.plan import Plan


def shrink(plan: Plan, fails: Callable[[Plan], bool], tries: int) -> Plan:
    """Return the smallest plan found in this many tries for which `fails` is true; it must be true for `plan`.

    Delta debugging (Zeller, 1999): large pieces are left out first, then smaller ones.
    """
    pieces = 2
    while len(plan.acts) > 1 and tries > 0:
        size = max(1, len(plan.acts) // pieces)
        smaller = None
        for begin in range(0, len(plan.acts), size):
            candidate = plan.without(set(range(begin, begin + size)))
            tries -= 1
            if fails(candidate):
                smaller = candidate
                break
            if tries <= 0:
                break
        if smaller is not None:
            plan, pieces = smaller, max(2, pieces - 1)
        elif size == 1:
            break
        else:
            pieces = min(len(plan.acts), pieces * 2)
    return plan
