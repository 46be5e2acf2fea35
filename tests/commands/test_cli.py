"""The command line: every command is listed and explains itself, and is loaded only when it is called."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

import sidecar.commands
from sidecar import __version__
from sidecar.commands.cli import COMMANDS, app, load
from tests.commands.conftest import run

SHARED = {"", ".commands", ".commands.cli", ".commands.terminal", ".errors"}


def loaded_by(lines: str) -> set[str]:
    """Return what is loaded, of ours and of others, once a new interpreter has run these lines."""
    script = f"from sidecar.commands.cli import app, load\n{lines}\nimport sys; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return set(run.stdout.split())


def test_the_list_is_what_the_commands_say() -> None:
    """Every module here but two is a command, and its line in the list is the first of its docstring."""
    modules = {path.stem for path in Path(sidecar.commands.__path__[0]).glob("*.py")}
    assert set(COMMANDS) == modules - {"__init__", "cli", "terminal"}
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
    """Neither `--help` nor the completion of a command's name costs more than the list itself."""
    modules = loaded_by(lines)
    assert {name for name in modules if name.startswith("sidecar")} <= {f"sidecar{name}" for name in SHARED}


def test_a_command_loads_what_it_works_with_only_when_it_runs() -> None:
    """Its `--help` and the completion of its options need click alone; `schema`, made of classes, has no options."""
    commands = COMMANDS.keys() - {"schema"}
    modules = loaded_by(f"for name in {sorted(commands)}: load(name)")
    expected = {f"sidecar{name}" for name in SHARED} | {f"sidecar.commands.{name}" for name in commands}
    assert {name for name in modules if name.startswith("sidecar")} == expected
    assert modules & {"aiohttp", "asyncio", "httpx", "msgspec", "re2", "rich", "sqlite3", "yaml"} == set()


def test_options_are_completed() -> None:
    """The options of a command, and the commands of a group within."""
    shell = ShellComplete(app, {}, "eventgate-sidecar", "_COMPLETE")
    assert "--json" in [each.value for each in shell.get_completions(["check"], "--")]
    assert "verify" in [each.value for each in shell.get_completions(["spool"], "")]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    """--help says what the command does and what its exit statuses mean."""
    result = run(command, "--help")
    assert result.exit_code == 0
    assert f"{command} [OPTIONS]" in result.stdout
    assert "Exit status: 0" in result.stdout or command == "spool"  # each of its commands says its own


@pytest.mark.parametrize("words", [(), ("--help",), ("-h",)])
def test_the_commands_are_listed(words: tuple[str, ...]) -> None:
    """Without a command, or asked for help, every command is listed."""
    listed = run(*words).output
    assert [command for command in COMMANDS if f"\n  {command} " not in listed] == []


def test_the_version_is_told() -> None:
    """--version prints name and version, and no more."""
    assert run("--version").stdout == f"eventgate-sidecar {__version__}\n"


@pytest.mark.parametrize("words", [("no-such-command",), ("check", "--no-such-option"), ("check", "a", "b")])
def test_what_nobody_understands_is_status_2(words: tuple[str, ...]) -> None:
    """A mistyped command is told from one that found something."""
    assert run(*words).exit_code == 2
