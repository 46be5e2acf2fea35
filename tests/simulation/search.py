"""The command line: tries seeds, prints stories, shrinks failing plans."""

from __future__ import annotations

import argparse
import gc
import json
import math
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from tests.simulation import oracle_copies, oracle_hops, oracle_peers, oracle_rest  # noqa: F401  their invariants
from tests.simulation.clocks import CLOCKS, real_seconds
from tests.simulation.oracle import Broken, judge
from tests.simulation.plan import Plan
from tests.simulation.recorded import all_recorded, write
from tests.simulation.report import Figures, broken_by
from tests.simulation.report import write as write_page
from tests.simulation.shrink import shrink
from tests.simulation.simulate import simulate
from tests.simulation.story import digest, promise, story
from tests.simulation.troubles import TROUBLES, plan_of
from tests.simulation.world import World

FOUND = 3
"""Exit status if a promise was broken."""


@dataclass(frozen=True)
class Run:
    """Result of one seed."""

    plan: Plan
    broken: list[Broken]
    digest: str
    told: str
    seconds: float
    """Simulated seconds."""


def run(plan: Plan, *, whole: bool = False, promise: str | None = None) -> Run:
    """Simulate a plan, and check all promises or one."""

    def verdict(world: World) -> Run:
        broken = [each for each in judge(world) if promise in (None, each.promise)]
        told = story(plan, world.ledger, broken, whole=whole) if broken else ""
        return Run(plan, broken, digest(world.ledger), told, CLOCKS.now)

    ended: Run = simulate(plan, verdict)
    return ended


def main() -> int:
    """Search, or show one seed."""
    arguments = argparse.ArgumentParser(prog="make simulate", description=__doc__)
    arguments.add_argument("--minutes", type=float, default=1.0, help="how long to search; default: %(default)g")
    arguments.add_argument("--seed", type=int, help="show what happens under this seed")
    arguments.add_argument("--seeds", metavar="A-B", help="try these; without B from A on, for --minutes")
    arguments.add_argument("--trouble", action="append", default=[], choices=sorted(TROUBLES), help="only these kinds")
    arguments.add_argument("--whole", action="store_true", help="tell the whole story")
    arguments.add_argument("--report", action="store_true", help="write the figures into docs/simulation.md")
    arguments.add_argument("--first", action="store_true", help="end with the first seed that breaks a promise")
    arguments.add_argument("--digests", action="store_true", help="print the digest of each seed")
    arguments.add_argument("--recorded", metavar="NAME", help="show a recorded plan; all: say of each whether it fails")
    arguments.add_argument("--promise", metavar="NAME", help="look for this one only")
    arguments.add_argument("--shrink", type=int, metavar="TRIES", default=0, help="make a failing plan smaller")
    arguments.add_argument("--record", nargs=2, metavar=("NAME", "FAULT"), help="keep the failing plan as data")
    given = arguments.parse_args()
    gc.freeze()  # imported modules are no garbage
    troubles = tuple(given.trouble)
    if given.recorded == "all":
        return _try_recorded()
    if given.recorded is not None:
        (plan,) = [each.plan for each in all_recorded() if each.name == given.recorded]
        return _show(plan, given)
    if given.seed is not None:
        return _show(plan_of(given.seed, troubles), given)
    first, _, last = (given.seeds or "1-").partition("-")
    if last:
        return _search(range(int(first), int(last) + 1), math.inf, given)
    return _search(count(int(first)), given.minutes * 60, given)


def _show(plan: Plan, given: argparse.Namespace) -> int:
    """Show the story of a plan; shrink and record it if requested."""
    ended = run(plan, whole=given.whole, promise=given.promise)
    if not ended.broken:
        print(f"seed {plan.seed}: all promises hold\ndigest: {ended.digest}")
        return 0
    promise = ended.broken[0].promise
    if given.shrink:

        def fails(candidate: Plan) -> bool:
            return bool(run(candidate, promise=promise).broken)

        plan = shrink(plan, fails, given.shrink)
        ended = run(plan, whole=given.whole, promise=promise)
    if given.record:
        name, fault = given.record
        print(write(name, fault, promise, plan))
    print(ended.told)
    return FOUND


def _try_recorded() -> int:
    """Report for each recorded plan whether its promise is broken; a fixed bug must not come back."""
    back = 0
    for each in all_recorded():
        ended = run(each.plan, promise=each.promise)
        back += bool(each.fixed and ended.broken)
        state = "broken" if ended.broken else "holds"
        print(json.dumps({"name": each.name, "fixed": each.fixed, "state": state, "digest": ended.digest}), flush=True)
    return FOUND if back else 0


def _search(seeds: Iterable[int], seconds: float, given: argparse.Namespace) -> int:
    """Try seeds for at most this time."""
    begun, figures = real_seconds(), Figures()
    for seed in seeds:
        if real_seconds() - begun > seconds:
            break
        ended = run(plan_of(seed, tuple(given.trouble)))
        figures.count(seed, ended.seconds, [each.promise for each in ended.broken])
        if given.digests:
            print(json.dumps({"seed": seed, "digest": ended.digest}), flush=True)
        elif ended.broken:
            each = ended.broken[0]
            print(f"{seed:>6} {each.promise}: {each.what}  [{', '.join(ended.plan.setup['troubles'])}]", flush=True)
            if given.first:
                break
    took = real_seconds() - begun
    print(f"{figures.seeds} seeds, {figures.simulated / 3600:.1f} simulated hours in {took:.0f} s", file=sys.stderr)
    print(broken_by(figures.found), end="", file=sys.stderr)
    if given.report:
        write_page(figures, promise, all_recorded())
    return FOUND if figures.found else 0
