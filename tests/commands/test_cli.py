"""The command line: commands are listed and documented, and loaded only when called."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

import sidecar.commands
from sidecar import __version__
from sidecar.commands.cli import COMMANDS, app, load
from tests.commands.conftest import run

ROOT = Path(__file__).parent.parent.parent
SHARED = {"", ".commands", ".commands.cli", ".commands.terminal", ".errors"}


def loaded_by(lines: str) -> set[str]:
    """Return the modules loaded by a new interpreter that runs these lines."""
    script = f"from sidecar.commands.cli import app, load\n{lines}\nimport sys; print(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(run.stdout.splitlines()[-1].split())


def test_the_list_has_the_docstrings_first_lines() -> None:
    """For all modules but two; `demo` is defined beside the list."""
    modules = {path.stem for path in Path(sidecar.commands.__path__[0]).glob("*.py")}
    assert app.commands.keys() == COMMANDS.keys() | {"demo"}
    assert set(COMMANDS) == modules - {"__init__", "__main__", "cli", "terminal"}
    assert {name: (load(name).help or "").splitlines()[0] for name in COMMANDS} == COMMANDS


@pytest.mark.parametrize(
    "lines",
    [
        "app(['--help'], standalone_mode=False)",
        "from click.shell_completion import ShellComplete\nShellComplete(app, {}, 'x', 'X').get_completions([], '')",
    ],
    ids=["help", "completion"],
)
def test_the_list_loads_no_command(lines: str) -> None:
    """Neither `--help` nor the completion of command names imports one."""
    modules = loaded_by(lines)
    assert {name for name in modules if name.startswith("sidecar")} <= {f"sidecar{name}" for name in SHARED}


def test_help_and_completion_load_only_click() -> None:
    """For all commands; `schema`, which needs classes at import, has no options."""
    commands = COMMANDS.keys() - {"schema"}
    modules = loaded_by(f"for name in {sorted(commands)}: load(name)")
    expected = {f"sidecar{name}" for name in SHARED} | {f"sidecar.commands.{name}" for name in commands}
    assert {name for name in modules if name.startswith("sidecar")} == expected
    assert modules & {"aiohttp", "asyncio", "httpx", "msgspec", "re2", "rich", "sqlite3", "yaml"} == set()


def test_options_are_completed() -> None:
    """For commands and for groups."""
    shell = ShellComplete(app, {}, "eventgate-sidecar", "_COMPLETE")
    assert "--json" in [each.value for each in shell.get_completions(["check"], "--")]
    assert "verify" in [each.value for each in shell.get_completions(["spool"], "")]


@pytest.mark.parametrize("command", app.commands)
def test_every_command_has_help(command: str) -> None:
    """With its exit statuses."""
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"{command} [OPTIONS]" in result.stdout
    assert "Exit status: 0" in result.stdout or command == "spool"  # each of its commands says its own


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_commands_are_listed(words: tuple[str, ...]) -> None:
    """Without a command, and with --help."""
    listed = run(*words).output
    assert [command for command in app.commands if f"\n  {command} " not in listed] == []


def test_version() -> None:
    """Prints name and version only."""
    assert run("--version").stdout == f"eventgate-sidecar {__version__}\n"


@pytest.mark.parametrize("words", [("no-such-command",), ("check", "--no-such-option"), ("check", "a", "b")])
def test_an_unknown_command_is_status_2(words: tuple[str, ...]) -> None:
    """Unlike the findings of a command."""
    assert run(*words).exit_code == 2


@pytest.mark.parametrize("words", [("schema",), ("explain", "routes.yaml", "--stream", "a")])
def test_a_terminal_that_cannot_show_a_character_gets_another(words: tuple[str, ...]) -> None:
    """As in a locale without UTF-8; what is JSON stays JSON."""
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}
    command = [sys.executable, "-m", "sidecar", *words]
    shown = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, check=False)
    assert shown.stderr == b""
    assert b"?" in shown.stdout
    if words == ("schema",):
        json.loads(shown.stdout)
