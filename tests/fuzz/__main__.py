"""Searches for bytes that break a property: `make fuzz ARGS='--seconds 600 body'`.

Each target gets its share of the time, in its own process. The inputs that the search finds are kept in the folder, and
the next run continues with them.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.fuzz.seeds import MAX_BYTES, seeds
from tests.fuzz.targets import TARGETS

FOUND = 3
"""Exit status if something was found; it differs from that of a search that did not run."""
GRACE = 60
"""Seconds by which a search may exceed its time before it is killed."""


@dataclass(frozen=True)
class Search:
    """Result of a search."""

    target: str
    runs: int
    coverage: int
    corpus: int
    output: str
    broken: tuple[Path, ...]

    def __str__(self) -> str:
        """Return it as a line of the report."""
        found = f"{len(self.broken)} found" if self.broken else "nothing found"
        return f"{self.target:8}{self.runs:>12,} runs{self.coverage:>7} edges{self.corpus:>6} kept   {found}"


def search(target: str, seconds: int, folder: Path) -> Search:
    """Search for this time, or until the first input that breaks a property."""
    seeded, corpus, broken = (folder / target / name for name in ("seeds", "corpus", "broken"))
    for each in (seeded, corpus, broken):
        each.mkdir(parents=True, exist_ok=True)
    for path in broken.iterdir():  # it may be fixed; if not, it is found again at once
        path.rename(seeded / path.name)
    for data in seeds(target):
        (seeded / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    flags = ["-timeout=10", "-rss_limit_mb=1024", f"-max_len={MAX_BYTES}", f"-max_total_time={seconds}"]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.guided", target, *flags, f"-artifact_prefix={broken}/", corpus, seeded],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=seconds + GRACE,
        check=False,
    )
    output = ended.stdout.decode(errors="replace")
    progress = re.findall(r"^#(\d+)\s.*cov: (\d+) .*corp: (\d+)/", output, re.MULTILINE) or [("0", "0", "0")]
    runs, coverage, kept = map(int, progress[-1])
    if not any(broken.iterdir()) and (ended.returncode or not runs):
        sys.exit(f"the search of {target} did not run:\n{output}")
    return Search(target, runs, coverage, kept, output, tuple(broken.iterdir()))


def main() -> int:
    """Search each target; return FOUND if a property was broken."""
    arguments = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    arguments.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; default: all")
    arguments.add_argument("--seconds", type=int, default=60, help="for all targets together; default: %(default)s")
    arguments.add_argument("--folder", type=Path, default=Path(".fuzz"), help="default: %(default)s")
    given = arguments.parse_args()
    targets = given.targets or list(TARGETS)
    if unknown := set(targets) - set(TARGETS):
        arguments.error(f"no target is called {', '.join(sorted(unknown))}; there is {', '.join(TARGETS)}")
    if given.seconds < len(targets):
        arguments.error(f"--seconds is {given.seconds}; {len(targets)} targets need at least a second each")
    ok = True
    for target in targets:
        found = search(target, given.seconds // len(targets), given.folder)
        print(found, flush=True)
        for path in found.broken:
            ok = False
            print(re.sub(r"(?s).*(=== Uncaught.*?)\n==.*", r"\1", found.output))
            print(f"It is in {path}; copy it to tests/fuzz/found/{target}/, where every test run tries it.")
    return 0 if ok else FOUND


if __name__ == "__main__":
    sys.exit(main())
