"""Measures what the simulator finds: each fault that was fixed is put back in a copy, and seeds are tried.

`python -m tests.simulation.recall` tries all of `recall.toml`, which takes minutes; `--report` writes the table in
docs/simulation.md. A seed counts only if every promise holds under it in the code as it is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.simulation.report import replace_part

ROOT = Path(__file__).parent.parent.parent
FILE = Path(__file__).parent / "recall.toml"
BEGIN = "<!-- recall: written by `python -m tests.simulation.recall --report` -->"
END = "<!-- end of recall -->"


@dataclass(frozen=True)
class Change:
    """A piece of the code, and what was there in its place."""

    file: str
    now: str
    before: str

    def undone(self, tree: Path) -> str:
        """Return the source without it.

        Raises:
            ValueError: the piece is missing, or there twice; update `recall.toml` after the change of the code.

        """
        source = (tree / self.file).read_text()
        if source.count(self.now) != 1:
            raise ValueError(f"{self.file} does not have this once: {self.now}")
        return source.replace(self.now, self.before)


@dataclass(frozen=True)
class Fault:
    """What was wrong once."""

    name: str
    words: str
    troubles: tuple[str, ...]
    """Kinds of trouble that lead to it."""
    changes: tuple[Change, ...]


@dataclass(frozen=True)
class Found:
    """The seed that finds a fault, if one does."""

    fault: Fault
    tried: int
    seed: int | None = None
    promise: str = ""


def all_faults() -> list[Fault]:
    """Return those that are put back."""
    data: list[dict[str, Any]] = tomllib.loads(FILE.read_text())["fault"]
    return [
        Fault(
            each["name"], each["words"], tuple(each["troubles"]), tuple(Change(**change) for change in each["changes"])
        )
        for each in data
    ]


def copy_tree(to: Path) -> Path:
    """Copy what a simulation needs."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "sidecar", to / "sidecar", ignore=ignore)
    shutil.copytree(ROOT / "tests" / "simulation", to / "tests" / "simulation", ignore=ignore)
    (to / "tests" / "__init__.py").touch()
    return to


def search(fault: Fault, first: int, most: int, troubles: Sequence[str]) -> Found:
    """Put a fault back and try seeds from `first` on, `most` of them, with these troubles or with any."""
    with tempfile.TemporaryDirectory(prefix="recall-") as folder:
        tree = copy_tree(Path(folder) / "tree")
        for change in fault.changes:
            (tree / change.file).write_text(change.undone(tree))
        seed = first
        while seed < first + most:
            broken = _first_broken(tree, f"{seed}-{first + most - 1}", troubles)
            if broken is None:
                break
            seed, promise = broken
            if _first_broken(ROOT, f"{seed}-{seed}", troubles) is None:
                return Found(fault, seed - first + 1, seed, promise)
            seed += 1  # it fails without the fault as well
    return Found(fault, most)


def _first_broken(tree: Path, seeds: str, troubles: Sequence[str]) -> tuple[int, str] | None:
    words = [sys.executable, "-m", "tests.simulation", "--first", "--seeds", seeds]
    words += [word for each in troubles for word in ("--trouble", each)]
    ended = subprocess.run(words, cwd=tree, capture_output=True, text=True, check=False)
    if ended.returncode == 0:
        return None
    lines = ended.stdout.splitlines()
    if not lines:
        raise RuntimeError(f"a simulation ended with {ended.returncode}: {ended.stderr[-2000:]}")
    seed, promise, *_ = lines[-1].split()
    return int(seed), promise.rstrip(":")


def in_words(found: Sequence[Found], most: int) -> str:
    """Return the part of the page."""
    seeds = [each.tried for each in found if each.seed is not None]
    lines = [
        f"Of {len(found)} faults **{len(seeds)} are found** within {most} seeds with the troubles named, "
        f"half of them within {statistics.median_low(seeds) if seeds else 0}.",
        "",
        "| fault put back | troubles | seeds | promise |",
        "| --- | --- | ---: | --- |",
    ]
    lines += map(_row, sorted(found, key=lambda each: (each.seed is None, each.tried)))
    return "\n".join(lines)


def _row(found: Found) -> str:
    troubles = ", ".join(found.fault.troubles)
    if found.seed is None:
        return f"| {found.fault.words} | {troubles} | not found | |"
    return f"| {found.fault.words} | {troubles} | {found.tried} | `{found.promise}` |"


def main() -> int:
    """Try the faults, several at a time."""
    arguments = argparse.ArgumentParser(prog="python -m tests.simulation.recall", description=__doc__)
    arguments.add_argument("names", nargs="*", help="only these faults")
    arguments.add_argument("--first", type=int, default=1, help="the first seed; default: %(default)d")
    arguments.add_argument("--most", type=int, default=200, help="seeds to try for each; default: %(default)d")
    arguments.add_argument("--blind", action="store_true", help="try all seeds, not those with its kinds of trouble")
    arguments.add_argument("--jobs", type=int, default=1, help="faults at a time; default: %(default)d")
    arguments.add_argument("--report", action="store_true", help="write the table into docs/simulation.md")
    given = arguments.parse_args()
    faults = [each for each in all_faults() if not given.names or each.name in given.names]
    found: list[Found] = []
    with ThreadPoolExecutor(given.jobs) as pool:
        tries = [
            pool.submit(search, each, given.first, given.most, () if given.blind else each.troubles) for each in faults
        ]
        for done in as_completed(tries):
            each = done.result()
            found.append(each)
            line = {"name": each.fault.name, "tried": each.tried, "seed": each.seed, "promise": each.promise}
            print(json.dumps(line), flush=True)
    if given.report:
        replace_part(BEGIN, END, in_words(found, given.most))
    return 0


if __name__ == "__main__":
    sys.exit(main())
