"""The output for a failing seed: what happened in order, the broken promise, and how to repeat it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence

from tests.simulation.ledger import Ledger
from tests.simulation.oracle import INVARIANTS, Broken
from tests.simulation.plan import Plan

AROUND = 12.0
"""The story is complete for this many seconds before the broken promise."""


def digest(ledger: Ledger) -> str:
    """Return the story's SHA-256, which is the same for the same seed."""
    return hashlib.sha256(repr(ledger.story).encode()).hexdigest()[:16]


def promise(name: str) -> str:
    """Return the sentence of an invariant."""
    found = next(each for each in INVARIANTS if each.__name__ == name)
    return " ".join((inspect.getdoc(found) or "").split())


def story(plan: Plan, ledger: Ledger, broken: Sequence[Broken], *, whole: bool = False) -> str:
    """Return the story; `whole`: from the beginning to the end."""
    first = broken[0]
    lines = [f"seed {plan.seed}: {', '.join(plan.setup['troubles'])}", ""]
    lines += [f"  {at:9.4f}  {who:<14} {what[:200]}" for at, who, what in _chosen(ledger, first, whole)]
    lines += ["", f"broken: {promise(first.promise)}", f"        {first.what} ({first.promise}, at {first.at:.3f} s)"]
    lines += [f"also:   {each.what} ({each.promise})" for each in broken[1:6]]
    if len(broken) > 6:
        lines.append(f"        and {len(broken) - 6} more")
    lines += ["", f"again:  make simulate ARGS='--seed {plan.seed}'", f"digest: {digest(ledger)}"]
    return "\n".join(lines)


def _chosen(ledger: Ledger, first: Broken, whole: bool) -> list[tuple[float, str, str]]:
    """Leave out lines that are long before the broken promise, or about other events."""
    if whole:
        return ledger.story
    marks = {f"event {number}" for number in first.events} | {f"gets {number}" for number in first.events}
    requests = {str(ledger.events[number].request) for number in first.events}
    chosen = []
    for line in ledger.story:
        at, who, what = line
        its_own = any(mark in what for mark in marks) or any(what.startswith(each) for each in requests)
        if who == "world" or its_own or first.at - AROUND <= at <= first.at + 2.0:
            chosen.append(line)
    return chosen
