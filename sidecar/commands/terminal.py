"""Code shared by commands: options, output and error messages."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TypeVar

import click

from sidecar.errors import ConfigError, Problem, RequestError, SettingError

P = ParamSpec("P")
T = TypeVar("T")

MANY = 500
"""Number of items from which a progress bar is shown."""
FILE = click.Path(path_type=Path)
argument = functools.partial(click.argument, type=FILE)
setting = functools.partial(click.option, show_envvar=True)
"""An option that can also be set by a variable."""


class Variable(click.Option):
    """A variable without an option: neither taken nor suggested on the command line."""

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Add nothing."""


def routes_option(command: Callable[..., None]) -> Callable[..., None]:
    """Add FILE, `--routes` and SIDECAR_ROUTES, and call `command` with the one that is given as `routes`."""

    @functools.wraps(command)
    def called(file: Path | None, routes: Path, **rest: Any) -> None:
        if file is not None and _is_flag("routes"):
            fail("the configuration is given twice, as FILE and with --routes; leave one of them out")
        command(routes=file or routes, **rest)

    called = argument("file", required=False, help="The configuration; the same as --routes.")(called)
    described = "The configuration."
    return setting(
        "--routes", envvar="SIDECAR_ROUTES", type=FILE, default="routes.yaml", help=described, metavar="FILE"
    )(called)


def _is_flag(name: str) -> bool:
    return click.get_current_context().get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


listen_option = functools.partial(
    setting, "--listen", envvar="SIDECAR_LISTEN", default="127.0.0.1:8888", metavar="HOST:PORT"
)
label_option = click.option(
    "--label",
    multiple=True,
    help="A label of the pod, as k=v; may be repeated. Also SIDECAR_LABELS=k=v,k=v; flags override it.",
    metavar="K=V",
)
labels_variable = click.option("--labels-variable", cls=Variable, envvar="SIDECAR_LABELS", default="", hidden=True)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")


def labels_of(flags: Sequence[str], variable: str) -> Mapping[str, str]:
    """Return the pod's labels from `--label` flags and the value of SIDECAR_LABELS; flags take precedence.

    Raises:
        SettingError: one is not KEY=VALUE, or the variable gives a key two values.

    """
    labels: dict[str, str] = {}
    for word in filter(str.strip, variable.split(",")):
        name, value = _label("SIDECAR_LABELS", word)
        if labels.setdefault(name, value) != value:
            raise SettingError(f"SIDECAR_LABELS gives {name} twice, as {labels[name]} and as {value}; keep one of them")
    return {**labels, **dict(_label("--label", word) for word in flags)}


def _label(setting: str, word: str) -> tuple[str, str]:
    name, equals, value = word.strip().partition("=")
    if not (name and equals and value):
        raise SettingError(f"{setting} has {word!r}, which is not KEY=VALUE; write a label such as env=staging")
    return name, value


class Complaints:
    """Prints errors that a user can fix on standard error, and exits with status 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, ConfigError):
            print(*error.problems, counted(len(error.problems), "problem"), sep="\n", file=sys.stderr)
            sys.exit(2)
        if isinstance(error, (SettingError, RequestError)):
            fail(str(error))


class Wrong:
    """Collects what is wrong with settings, so that all of it is shown at once, with exit status 2."""

    def __init__(self) -> None:
        """Start with nothing wrong."""
        self.words: list[str] = []
        self._problems: list[Problem] = []

    def unless(self, otherwise: T, read: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        """Return the result of `read`; if it raises, record why and return `otherwise`."""
        try:
            return read(*args, **named)
        except SettingError as error:
            self.words.append(str(error))
        except ConfigError as error:
            self._problems += error.problems
        return otherwise

    def __enter__(self) -> Wrong:
        """Start collecting."""
        return self

    def __exit__(self, kind: object, _error: object, _traceback: object) -> None:
        """Exit if anything is wrong."""
        if kind is None and self.words:
            lines = [f"eventgate-sidecar: {each}" for each in self.words]
            print(*self._problems, *lines, sep="\n", file=sys.stderr)
            sys.exit(2)


def fail(words: str, status: int = 2) -> NoReturn:
    """Print an error on standard error, and exit."""
    print(f"eventgate-sidecar: {words}", file=sys.stderr)
    sys.exit(status)


def print_json(value: object) -> None:
    """Print indented JSON."""
    print(json.dumps(value, indent=2, ensure_ascii=False))


def counted(number: int, noun: str) -> str:
    """Return `1 test`, `2 tests`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def aligned(table: Iterable[Sequence[str]]) -> list[str]:
    """Format the rows of a table with aligned columns."""
    rows = [tuple(row) for row in table]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    yield f"| {' | '.join(headings)} |"
    yield f"|{' --- |' * len(headings)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |"


def watched(items: Iterable[T], total: int, words: str) -> Iterator[T]:
    """Yield the items, with a progress bar on a terminal."""
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    shown = console.is_terminal and total >= MANY
    yield from track(items, words, total=total, console=console, transient=True) if shown else items
