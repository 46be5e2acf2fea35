"""Rules for every module and every test of this project."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SIDECAR = ROOT / "sidecar"
MODULES = sorted(SIDECAR.rglob("*.py"))
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))
PACKAGES = sorted(str(path.parent.relative_to(SIDECAR)) for path in SIDECAR.glob("*/**/__init__.py"))
"""Folders of `sidecar/`, and folders in these: `routes`, `routes/language`."""
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]

MOST_ENTRIES = 14
"""Maximum number of folders and files in `sidecar/`."""
SIZES_OF_PACKAGES = range(3, 13)
WITHOUT_TEST_FILE = {
    "__init__": "a docstring, and the version",
    "__main__": "two lines; the end-to-end tests start the process through it",
}
MEANINGLESS = {"base", "common", "core", "helpers", "misc", "shared", "util", "utils"}
LONGEST_FUNCTION = 60
LONGEST_MODULE = 400

Function = ast.FunctionDef | ast.AsyncFunctionDef


def place(path: Path) -> str:
    """Return a file's path, as the id of a test."""
    return str(path.relative_to(ROOT))


each_package = pytest.mark.parametrize("package", PACKAGES)
each_module = pytest.mark.parametrize("path", MODULES, ids=place)
each_test_file = pytest.mark.parametrize("path", TEST_FILES, ids=place)
each_file = pytest.mark.parametrize("path", MODULES + TEST_FILES, ids=place)


def words_of(package: str, heading: str) -> set[str]:
    """Return the modules that a package's docstring lists after `heading`, as in `Doors: client.`."""
    docstring = ast.get_docstring(ast.parse((SIDECAR / package / "__init__.py").read_text())) or ""
    listed = re.search(rf"^{heading}: ([^.]+)\.", docstring, re.MULTILINE)
    return set(re.findall(r"\w+", listed[1])) - {"none"} if listed else set()


def modules_of(package: str) -> set[str]:
    """Return the names of a package's modules; a package in it counts as one."""
    entries = (SIDECAR / package).iterdir()
    found = {path.stem for path in entries if path.suffix == ".py" or (path / "__init__.py").is_file()}
    return found - WITHOUT_TEST_FILE.keys()


def imported_from_outside(package: str) -> set[str]:
    """Return the modules of a package that others import."""
    found = set()
    prefix = f"sidecar.{package.replace('/', '.')}."
    for path in MODULES:
        if path.is_relative_to(SIDECAR / package):
            continue
        for name in imports(path):
            if f"{name}.".startswith(prefix):
                found.add(name.removeprefix(prefix).split(".")[0])
    return found


def imports(path: Path) -> Iterator[str]:
    """Yield the full names of a file's imports, such as `sidecar.routes.language.config`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            is_package = (ROOT / node.module.replace(".", "/") / "__init__.py").is_file()
            yield from (f"{node.module}.{alias.name}" for alias in node.names) if is_package else [node.module]
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def functions(path: Path) -> Iterator[Function]:
    """Yield every function and method in the file, nested ones too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, Function):
            yield node


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Yield every call in the file with the called name as written, such as `time.sleep`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def lines(function: Function) -> int:
    """Count the lines from `def` to the end."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def names_from_sidecar(path: Path) -> set[str]:
    """Return the file's names for the project's modules and their contents."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sidecar":
            names |= {alias.asname or alias.name for alias in node.names}
        if isinstance(node, ast.Import):
            names |= {alias.asname or "sidecar" for alias in node.names if alias.name.startswith("sidecar")}
    return names


def patches_inside(path: Path) -> list[int]:
    """Return the lines where the file patches something of this project."""
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
    """`routes/routing.py` is tested in `tests/routes/test_routing.py`; an inner package may share a file."""
    folder = ROOT / "tests" / path.relative_to(SIDECAR).parent
    own, shared = folder / f"test_{path.stem}.py", folder.parent / f"test_{folder.name}.py"
    assert path.stem in WITHOUT_TEST_FILE or own.is_file() or shared.is_file()


def test_the_top_folder_has_few_entries() -> None:
    """Each entry of `sidecar/` is a package or one of a few small files."""
    entries = {path.name for path in SIDECAR.iterdir()} - {"__pycache__", "__init__.py", "__main__.py"}
    assert entries - set(PACKAGES) == {"errors.py", "timers.py"}
    assert len(entries) <= MOST_ENTRIES


@each_package
def test_a_package_is_neither_too_large_nor_too_small(package: str) -> None:
    """A package has 3 to 12 modules; an inner package counts as one, and has as many."""
    assert len(modules_of(package)) in SIZES_OF_PACKAGES


@each_package
def test_a_package_exports_nothing(package: str) -> None:
    """Its `__init__` is only a docstring; every user of a module would load what it imports."""
    tree = ast.parse((SIDECAR / package / "__init__.py").read_text())
    assert [type(node).__name__ for node in tree.body] == ["Expr"]


@each_package
def test_other_packages_import_only_the_doors(package: str) -> None:
    """Exactly the modules that the docstring names as doors are imported from outside."""
    assert imported_from_outside(package) == words_of(package, "Doors")


@each_package
def test_a_package_says_which_modules_are_pure(package: str) -> None:
    """The docstring lists the same pure modules as the contract of the pure core."""
    (pure,) = [contract for contract in CONTRACTS if contract["name"].startswith("The pure core")]
    packages = (name.rpartition(".")[::2] for name in pure["source_modules"])
    held = {module for parent, module in packages if parent == f"sidecar.{package.replace('/', '.')}"}
    assert held == words_of(package, "Pure")
    assert held <= modules_of(package)


def test_a_name_means_one_thing() -> None:
    """No two classes of the sidecar have the same name, except private ones."""
    names = Counter(
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    )
    assert [name for name, times in names.items() if times > 1] == []


@each_module
def test_modules_stay_short(path: Path) -> None:
    """No module is longer than 400 lines."""
    assert len(path.read_text().splitlines()) <= LONGEST_MODULE


@each_module
def test_no_module_has_a_name_without_meaning(path: Path) -> None:
    """Such as `utils`."""
    assert path.stem not in MEANINGLESS


@each_file
def test_functions_stay_short(path: Path) -> None:
    """No function is longer than 60 lines."""
    assert [f"{f.name}: {lines(f)}" for f in functions(path) if lines(f) > LONGEST_FUNCTION] == []


@each_module
def test_every_task_belongs_to_a_group(path: Path) -> None:
    """Every started task is awaited: `create_task` is a TaskGroup's."""
    loose = re.compile(r"(asyncio\.|loop\.|^)(create_task|ensure_future)$|get_running_loop\(\)\.create_task$")
    assert [call.lineno for called, call in calls(path) if loose.search(called)] == []


@each_test_file
def test_each_test_states_its_promise(path: Path) -> None:
    """Every test has a docstring that says what it promises."""
    tests = [f for f in functions(path) if f.name.startswith("test_")]
    assert [f.name for f in tests if not ast.get_docstring(f)] == []


@each_test_file
def test_no_test_waits(path: Path) -> None:
    """Time in tests is looptime's; nothing sleeps in a thread."""
    assert [call.lineno for called, call in calls(path) if called in {"time.sleep", "sleep"}] == []


@each_test_file
def test_no_test_patches_our_modules(path: Path) -> None:
    """A test replaces a module with a fake that it passes in, not with a patch."""
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
    """Every way to write a patch is found; what only looks like one is not."""
    path = tmp_path / "test_it.py"
    path.write_text(source)
    assert patches_inside(path) == found
