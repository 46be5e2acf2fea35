"""Makes one change at a time and lists those that no test of the module notices: `make mutants ARGS=sidecar.timers`.

By default it changes the modules that differ from `main`. tests/mutants/accepted.toml lists accepted survivors.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from time import monotonic  # noqa: TID251 - trials take real time

from tests.mutants import modules, trial
from tests.mutants.mutation import Key, Mutant, mutants

ACCEPTED = Path(__file__).with_name("accepted.toml")
TIMES_AS_LONG = 3
"""How much longer than unchanged the tests may take, plus `GRACE` seconds; a change may cause an endless loop."""
GRACE = 10.0
FIRST_LIMIT = 300.0
"""Seconds that a module's tests may take without a change."""


def accepted() -> dict[Key, str]:
    """Return the reason for each accepted survivor, by its key."""
    listed = tomllib.loads(ACCEPTED.read_text())["accepted"]
    return {(each["module"], each["function"], each["original"], each["changed"]): each["reason"] for each in listed}


def sample(module: str, path: Path, each: int, seed: int) -> list[Mutant]:
    """Return this many of the module's changes, all for 0; a seed always gives the same ones."""
    known = accepted()
    found = [mutant for mutant in mutants(module, path.read_text()) if mutant.key not in known]
    return found if each == 0 or len(found) <= each else random.Random(f"{seed} {module}").sample(found, each)


def _stale() -> set[Key]:
    """Return the accepted survivors that no longer exist in the code."""
    known = accepted()
    named = {module: path for module, path in modules.eligible().items() if module in {key[0] for key in known}}
    return set(known) - {each.key for module, path in named.items() for each in mutants(module, path.read_text())}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="such as sidecar.routes.routing")
    parser.add_argument("--all", action="store_true", help="every module that may be changed")
    parser.add_argument("--since", default="main", help="what the modules have to differ from; default: %(default)s")
    parser.add_argument("--each", type=int, default=40, help="changes of each module, 0 for all; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="which changes those are; default: %(default)s")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="tests run at once; default: %(default)s")
    given = parser.parse_args()
    if unknown := set(given.modules) - set(modules.eligible()):
        parser.error(f"not a module that is changed: {', '.join(sorted(unknown))}")
    return given


def _chosen(given: argparse.Namespace) -> dict[str, Path]:
    eligible = modules.eligible()
    if given.modules:
        return {name: eligible[name] for name in given.modules}
    if given.all:
        return eligible
    changed = modules.changed_since(given.since)
    return {name: path for name, path in eligible.items() if changed & {path, *modules.own_tests(path)}}


def _unchanged(chosen: dict[str, Path], folder: Path, jobs: int) -> dict[str, float]:
    """Return how long each module's tests take, without modules whose tests fail unchanged."""
    names = {path.relative_to(modules.ROOT): name for name, path in chosen.items()}
    trials = [
        trial.Trial(file, (modules.ROOT / file).read_text(), _tests(name, chosen), FIRST_LIMIT)
        for file, name in names.items()
    ]
    seconds = {}
    for tried, ended in trial.run(trials, folder, jobs, monotonic):
        if ended.survived:
            seconds[names[tried.file]] = ended.seconds
        else:
            print(f"NOT TRIED: the tests of {names[tried.file]} fail without a change\n{ended.output}", file=sys.stderr)
    return seconds


def _tests(name: str, chosen: dict[str, Path]) -> tuple[Path, ...]:
    """Return the module's own tests, and the test of the page that has its limits."""
    own = [path.relative_to(modules.ROOT) for path in modules.own_tests(chosen[name])]
    source = chosen[name].read_text()
    return (*own, *([modules.BOUNDS] if "\nMAX_" in source or "\nclass Limits:" in source else []))


def _try(
    mutated: list[Mutant], chosen: dict[str, Path], seconds: dict[str, float], folder: Path, jobs: int
) -> Iterator[tuple[Mutant, bool]]:
    """Yield each change, and whether it survived."""
    running: dict[trial.Trial, Mutant] = {}

    def trials() -> Iterator[trial.Trial]:
        for mutant in mutated:
            path = chosen[mutant.module]
            limit = TIMES_AS_LONG * seconds[mutant.module] + GRACE
            each = trial.Trial(path.relative_to(modules.ROOT), mutant.source, _tests(mutant.module, chosen), limit)
            running[each] = mutant
            yield each

    for tried, ended in trial.run(trials(), folder, jobs, monotonic):
        yield running.pop(tried), ended.survived


def main() -> int:
    """Try the changes and print the survivors; return 2 if tests fail without a change."""
    given = _arguments()
    chosen = _chosen(given)
    trial.preload()
    began = monotonic()
    tried: Counter[str] = Counter()
    survivors: list[Mutant] = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as name:
        seconds = _unchanged(chosen, Path(name), given.jobs)
        mutated = [each for module in seconds for each in sample(module, chosen[module], given.each, given.seed)]
        print(f"{len(mutated)} changes in {len(seconds)} modules", flush=True)
        for mutant, survived in _try(mutated, chosen, seconds, Path(name), given.jobs):
            tried[mutant.module] += 1
            if survived:
                survivors.append(mutant)
                print(f"survived  {mutant}", flush=True)
    by_module = Counter(mutant.module for mutant in survivors)
    for module in sorted(tried):
        print(f"{module:36}{tried[module] - by_module[module]:>5} of {tried[module]} killed")
    for key in sorted(_stale()):
        print(f"in accepted.toml, but no longer in the code: {key}")
    total = sum(tried.values())
    killed = total - len(survivors)
    print(f"{killed} of {total} killed ({killed / max(1, total):.1%}) in {monotonic() - began:.0f} s")
    return 0 if len(seconds) == len(chosen) else 2


if __name__ == "__main__":
    sys.exit(main())
