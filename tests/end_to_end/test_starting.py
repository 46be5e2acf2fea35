"""What a command imports: imports take nearly all of the time from exec to ready, and most of the memory."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import written
from tests.end_to_end.load import an_event
from tests.end_to_end.processes import ROOT, Emulator, ask, sidecar
from tests.fakes import PATIENCE
from tests.running import to_one

TELLING = {"PYTHONPROFILEIMPORTTIME": "1"}
"""Has Python write a line for each module that it loads."""
FOR_CHECK = {"click", "msgspec", "re2", "typing_extensions", "yaml"}
FOR_SERVE = FOR_CHECK | {
    *("anyio", "dns", "ecs_logging", "h11", "httptools", "idna", "prometheus_client", "starlette", "uvicorn", "uvloop"),
}


def inside(package: str) -> set[str]:
    """Return the modules of one of our packages, those in folders of it too."""
    paths = (path.relative_to(ROOT).with_suffix("") for path in (ROOT / "sidecar" / package).rglob("*.py"))
    return {".".join(path.parts).removesuffix(".__init__") for path in paths}


SPOOL = inside("spool")
FOR_OTHERS = inside("commands") - {f"sidecar.commands{name}" for name in ("", ".cli", ".serve", ".terminal")}
FOR_OTHERS |= inside("demo") | {"sidecar.status.ask", "sidecar.routes.ways"}
FOR_OTHERS |= {"sidecar.intake.tap"}  # where nobody may listen


def loaded(lines: Iterable[object]) -> set[str]:
    """Return the modules that a process said it loaded."""
    told = (re.fullmatch(r"import time: +\d+ \| +\d+ \| +(\S+)\n?", str(line)) for line in lines)
    return {found[1] for found in told if found}


def packages(modules: Iterable[str]) -> set[str]:
    """Return whose they are, where they are neither Python's own nor ours; what begins with _ comes with others.

    Python also lists modules that it looked for and did not find; those are left out.
    """
    found = {module.partition(".")[0] for module in modules if not module.startswith("_")}
    others = found - sys.stdlib_module_names - {"sidecar", "sitecustomize"}
    return {name for name in others if importlib.util.find_spec(name)}


def loaded_by_serve(folder: Path, eventgate: Emulator, *words: str) -> set[str]:
    """Return what a sidecar has loaded that took and delivered an event."""
    with sidecar(written(to_one(eventgate.address), folder), *words, env=TELLING) as running:
        answer = ask(running.address, "POST", "/v1/events", an_event("a"), {"content-type": "application/json"})
        assert answer.status == 201
        return loaded(running.process.lines)


def test_serve_loads_only_what_it_uses(tmp_path: Path, eventgate: Emulator) -> None:
    """Modules that serve does not need, or only with a spool, are not loaded."""
    modules = loaded_by_serve(tmp_path, eventgate)
    assert packages(modules) - FOR_SERVE == set()
    assert modules & (SPOOL | FOR_OTHERS) == set()
    assert "sqlite3" not in modules


def test_the_status_page_is_loaded_at_its_first_view(tmp_path: Path, eventgate: Emulator) -> None:
    """Without a view the template engine takes no time or memory."""
    with sidecar(written(to_one(eventgate.address), tmp_path), env=TELLING) as running:
        before = loaded(running.process.lines)
        assert ask(running.address, "GET", "/_sidecar/status").status == 200
        running.process.line(lambda line: loaded([line]) == {"jinja2"})
    assert "jinja2" not in before


def test_serve_with_a_spool_loads_that_too(tmp_path: Path, eventgate: Emulator) -> None:
    """Those modules are what the spool needs."""
    modules = loaded_by_serve(tmp_path, eventgate, "--spool", str(tmp_path / "spool"))
    assert packages(modules) - FOR_SERVE == set()
    assert (SPOOL - modules, "sqlite3" in modules) == (set(), True)


@pytest.mark.parametrize("words", [("check",), ("explain", "--stream", "s"), ("schema",), ("--help",)], ids=" ".join)
def test_a_command_for_editing_loads_no_network_code(words: tuple[str, ...]) -> None:
    """It answers at once, without an event loop, a server or a resolver."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIDECAR_")} | TELLING
    command = [sys.executable, "-m", "sidecar", *words]
    told = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    modules = loaded(told.stderr.splitlines())
    assert packages(modules) - FOR_CHECK == set()
    assert modules & {"asyncio", "sqlite3", "ssl"} == set()
