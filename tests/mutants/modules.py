"""Which modules are changed, and which tests are theirs."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
ACTING = ("delivery", "eventgate", "spool", "upstreams")
"""Packages of which all modules are changed, besides the pure modules: their bugs lose events."""

BOUNDS = Path("tests/project/test_limits.py")
"""Compares every `MAX_…` with docs/limits.md."""


def eligible() -> dict[str, Path]:
    """Return the pure modules and those of `ACTING`, by their full names."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (pure,) = [contract for contract in contracts if contract["name"].startswith("The pure core")]
    names = {*pure["source_modules"], *(f"sidecar.{package}" for package in ACTING)}
    found = {}
    for path in sorted((ROOT / "sidecar").rglob("*.py")):
        name = _dotted(path)
        if path.stem != "__init__" and any(name == each or name.startswith(f"{each}.") for each in names):
            found[name] = path
    return found


def changed_since(commit: str) -> set[Path]:
    """Return the files that differ from the merge base with `commit`, uncommitted changes included."""
    base = _git("merge-base", commit, "HEAD").strip()
    listed = _git("diff", "--name-only", base) + _git("ls-files", "--others", "--exclude-standard")
    return {ROOT / line for line in listed.splitlines()}


def own_tests(module: Path) -> list[Path]:
    """Return the module's own test files, the one named after it first.

    Further files begin with its name (`test_journey_limits` of `journey`), or have the name of no module and import it
    (`test_overlap` of `audit`).
    """
    folder = ROOT / "tests" / module.relative_to(ROOT / "sidecar").parent
    named = sorted({*folder.glob(f"test_{module.stem}.py"), *folder.glob(f"test_{module.stem}_*.py")})
    neighbours = "|".join(re.escape(path.stem) for path in module.parent.glob("*.py") if path.stem != "__init__")
    of_a_module = re.compile(rf"test_(?:{neighbours})(?:_\w+)?")
    package, name = _dotted(module).rpartition(".")[::2]
    imports = re.compile(rf"^from {re.escape(package)}(?:\.{name} import| import .*\b{name}\b)", re.MULTILINE)
    return named + [
        path
        for path in sorted(folder.glob("test_*.py"))
        if not of_a_module.fullmatch(path.stem) and imports.search(path.read_text())
    ]


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _git(*arguments: str) -> str:
    command = ["git", "-c", "safe.directory=*", "-C", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
