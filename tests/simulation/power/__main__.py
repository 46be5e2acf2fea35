"""Samples states in which a power loss may leave the spool, and opens each: `python -m tests.simulation.power`.

They are taken from each kind of history in turn. A state that breaks a promise is told as a story, and its
recording is kept, for a recording is the one thing that a seed alone does not bring back: `--replay FILE`.
"""

from __future__ import annotations

import argparse
import pickle
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic  # noqa: TID251 - how long it really took

from tests.simulation.power.disk import Op
from tests.simulation.power.history import HISTORIES, record
from tests.simulation.power.states import Failure, Tally, failures
from tests.simulation.power.trace import NotHere

BROKEN, NOT_RUN = 3, 2
TOLD = 3
"""Stories told of each recording; a fault that shows in one state shows in many."""
STATES_OF_A_RECORDING = 2_000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.power", description=__doc__)
    parser.add_argument("--states", type=int, default=1_000, help="how many; default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the first recording; default: %(default)s")
    parser.add_argument("--history", choices=[*HISTORIES], help="of this kind only")
    parser.add_argument("--folder", type=Path, default=Path(".power"), help="for recordings; default: %(default)s")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="a recording kept before, in place of new ones")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no recording after so many")
    return parser.parse_args()


def _told(found: Sequence[Failure], kept: Path) -> None:
    for each in found[:TOLD]:
        print(f"=== {each.recording}, state {each.number}\n{each.story}")
    print(f"these again, and the others: --replay {kept}\n", flush=True)


def main() -> int:
    """Sample, judge, tell; return whether a promise was broken, or nothing could be traced here."""
    given = _arguments()
    given.folder.mkdir(exist_ok=True)
    memory = Path("/dev/shm")  # where nothing has to be durable and everything is fast
    tally, broken, began, seed = Tally(), 0, monotonic(), given.seed
    kinds = [given.history] if given.history else [*HISTORIES]
    with tempfile.TemporaryDirectory(prefix="power-", dir=memory if memory.is_dir() else None) as name:
        while tally.states < given.states and monotonic() - began < 60 * given.minutes:
            kind = kinds[(seed - given.seed) % len(kinds)]
            recording = f"{kind}-{seed}"
            ops: list[Op]
            if given.replay:
                recording, ops = given.replay.stem, pickle.loads(given.replay.read_bytes())
            else:
                try:
                    ops = record(kind, str(seed), Path(name, "recorded"))
                except NotHere as why:
                    print(f"NOT RUN: {why}", file=sys.stderr)
                    return NOT_RUN
            count = min(STATES_OF_A_RECORDING, max(1, given.states // len(kinds)), given.states - tally.states)
            found = list(failures(recording, ops, count, Path(name, "state"), tally))
            print(f"{recording}: {count} states, {len(found)} of them break a promise", flush=True)
            if found:
                broken += len(found)
                kept = given.folder / f"{recording}.recording"
                kept.write_bytes(pickle.dumps(ops))
                _told(found, kept)
            seed += 1
    took = monotonic() - began
    print(f"{tally.states} states, {tally.different} of them different, in {took:.0f} s; {broken} break a promise")
    return BROKEN if broken else 0


if __name__ == "__main__":
    sys.exit(main())
