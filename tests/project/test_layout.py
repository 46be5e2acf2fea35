"""What every module and every test of this project looks like, kept so by looking."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import sidecar

ROOT = Path(__file__).parent.parent.parent
MODULES = sorted((ROOT / "sidecar").rglob("*.py"))
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))

WITHOUT_TEST_FILE = {
    "__init__": "a docstring and a version",
    "__main__": "two lines; the end-to-end tests start the process through it",
}
JUNK_ROOMS = {"base", "common", "core", "helpers", "misc", "shared", "util", "utils"}
# Everything else at the top of the package is the pure core.
ACTING = {
    "__init__", "__main__", "app", "ask", "cli", "coalescer", "configtelemetry", "connection", "counts",
    "delivery", "endpoints", "eventgate", "generation", "groupcommit", "handshake", "healthcheck", "history",
    "inquiry", "intake", "journey", "keeping", "listener", "logform", "monitor", "openapi", "options", "parts",
    "probe", "reload", "replay", "resolver", "routesfile", "runtime", "salvage", "server", "spanexport", "spool",
    "spoolcli", "spooldir", "spoolfile", "spooling", "spoolrows", "spoolschema", "spooltelemetry",
    "sse", "statuspage", "tapcli", "telemetry", "timers", "topcli", "tracing", "vitals", "writeahead",
}  # fmt: skip
LONGEST_FUNCTION = 60
LONGEST_MODULE = 400

Function = ast.FunctionDef | ast.AsyncFunctionDef

each_module = pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
each_test_file = pytest.mark.parametrize("path", TEST_FILES, ids=lambda path: path.stem)
each_file = pytest.mark.parametrize("path", MODULES + TEST_FILES, ids=lambda path: path.stem)


def pure_core() -> set[str]:
    """Name the modules that decide and do not act."""
    return {path.stem for path in (ROOT / "sidecar").glob("*.py")} - ACTING


def functions(path: Path) -> Iterator[Function]:
    """Yield every function and method in the file, nested ones too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call in the file with what is called, as it is written there: `time.sleep`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def lines(function: Function) -> int:
    """Count the lines from `def` to the end."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def names_from_sidecar(path: Path) -> set[str]:
    """Collect the names by which the file knows our modules, and what is in them."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sidecar":
            names |= {alias.asname or alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {alias.asname or "sidecar" for alias in node.names if alias.name.startswith("sidecar")}
    return names


def patches_inside(path: Path) -> list[int]:
    """List the lines where the file patches something of ours."""
    ours = names_from_sidecar(path)
    found = []
    for called, call in calls(path):
        target = ast.unparse(call.args[0]) if call.args else ""
        into_ours = target.strip("'\"").split(".")[0] in ours | {"sidecar"}
        if re.search(r"(^|\.)patch(\.|$)", called) or (called == "monkeypatch.setattr" and into_ours):
            found.append(call.lineno)
    return found


@each_module
def test_each_module_has_its_test_file(path: Path) -> None:
    """A reader who looks for the promises of `routing.py` finds them in `test_routing.py`; a folder may share one."""
    names = {path.stem} if path.parent.name == "sidecar" else {path.stem, path.parent.name}
    written = {test_file.stem for test_file in TEST_FILES}
    assert path.stem in WITHOUT_TEST_FILE or written & {f"test_{name}" for name in names}


@each_module
def test_a_module_stays_readable_in_one_sitting(path: Path) -> None:
    """No module is longer than 400 lines."""
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


@each_module
def test_a_module_is_named_after_what_is_in_it(path: Path) -> None:
    """There is no junk room."""
    assert path.stem not in JUNK_ROOMS


@each_file
def test_functions_stay_short(path: Path) -> None:
    """No function is longer than 60 lines."""
    assert [f"{f.name}: {lines(f)}" for f in functions(path) if lines(f) > LONGEST_FUNCTION] == []


@each_module
def test_every_task_belongs_to_a_group(path: Path) -> None:
    """No task is started that nobody awaits; what looks like `group.create_task` is a TaskGroup's."""
    loose = re.compile(r"(asyncio\.|loop\.|^)(create_task|ensure_future)$|get_running_loop\(\)\.create_task$")
    assert [call.lineno for called, call in calls(path) if loose.search(called)] == []


def test_the_contract_covers_the_whole_pure_core() -> None:
    """A new module is held to the pure core's contract unless it is listed here as one that acts."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (pure,) = [contract for contract in contracts if contract["name"].startswith("The pure core")]
    assert set(pure["source_modules"]) == {f"sidecar.{name}" for name in pure_core()}


def test_the_package_says_which_modules_are_pure() -> None:
    """The docstring of the package names every module of the pure core and no other."""
    core = (sidecar.__doc__ or "").partition("The pure core")[2].partition("know no ")[0]
    assert set(re.findall(r"`(\w+)`", core)) == pure_core()


@each_test_file
def test_each_test_states_its_promise(path: Path) -> None:
    """Every test has a docstring that says what it holds us to."""
    tests = [f for f in functions(path) if f.name.startswith("test_")]
    assert [f.name for f in tests if not ast.get_docstring(f)] == []


@each_test_file
def test_no_test_waits(path: Path) -> None:
    """Time in tests is looptime's, so nothing sleeps in a thread."""
    assert [call.lineno for called, call in calls(path) if called in {"time.sleep", "sleep"}] == []


@each_test_file
def test_no_test_patches_our_modules(path: Path) -> None:
    """A test replaces a neighbour with a fake that is passed in, not by reaching inside."""
    assert patches_inside(path) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from sidecar import retry\nmonkeypatch.setattr(retry, 'x', 1)", [2]),
        ("from sidecar.delivery.retry import policy as p\nmonkeypatch.setattr(p, 'x', 1)", [2]),
        ("import sidecar.retry\nmonkeypatch.setattr(sidecar.retry, 'x', 1)", [2]),
        ("monkeypatch.setattr('sidecar.retry.x', 1)", [1]),
        ("mock.patch('os.getcwd')", [1]),
        ("with patch.object(os, 'getcwd'): ...", [1]),
        ("import os\nmonkeypatch.setattr(os, 'environ', {})", []),
        ("client.patch_all()", []),
    ],
)
def test_a_patch_is_recognised(tmp_path: Path, source: str, found: list[int]) -> None:
    """Whichever way a patch is written, it is found; what only looks like one is not."""
    path = tmp_path / "test_it.py"
    path.write_text(source)
    assert patches_inside(path) == found
