"""The command line: the list of commands, whose modules are loaded on demand, and `demo`, which needs none."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys

import click

from sidecar import __version__
from sidecar.commands.terminal import fail, json_option

NOT_READ = 128 + signal.SIGPIPE
"""The exit status when the reader of the output has gone, as a shell reports for SIGPIPE."""

COMMANDS = {
    "check": "Check a routes.yaml, run its tests, and show where streams go.",
    "diff": "Show what an edit changes: which streams, from which pods.",
    "explain": "Show which route takes an event, and why no earlier one does.",
    "probe": "Check every endpoint once, now: which datacenter answers?",
    "schema": "Print the JSON Schema of routes.yaml, for editors.",
    "serve": "Run the sidecar until SIGTERM; SIGHUP reloads routes.yaml.",
    "spool": "Inspect and repair the spool; the sidecar may keep running.",
    "streams": "List the streams of a routes.yaml with their Kafka topics.",
    "tap": "Show events as they pass through a running sidecar.",
    "top": "Show the state of a running sidecar, refreshed until Ctrl-C.",
}
"""Each module with the first line of its command's help, so that neither `--help` nor completion loads it."""


def load(name: str) -> click.Command:
    """Return `demo`, or a command from the module of the same name."""
    if name not in COMMANDS:
        return app.commands[name]
    command = getattr(importlib.import_module(f"sidecar.commands.{name}"), name)
    assert isinstance(command, click.Command)  # noqa: S101
    return command


class LazyGroup(click.Group):
    """Lists placeholders for the commands, and loads the one that is called."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Return the command that the first argument names, and the arguments after it."""
        name, stand_in, rest = super().resolve_command(ctx, args)
        return name, load(name) if name else stand_in, rest


@click.group(
    cls=LazyGroup,
    commands={name: click.Command(name, help=line) for name, line in COMMANDS.items()},
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(__version__, message="eventgate-sidecar %(version)s", help="Print the version and exit.")
def app() -> None:
    """A local proxy for EventGate: model servers POST events to localhost, routes.yaml decides where they go."""


@app.command()
@click.option("--keep", is_flag=True, help="Leave everything running for curl; Ctrl-C ends it.")
@json_option
def demo(keep: bool, as_json: bool) -> None:
    """Run it all on this machine, with emulated datacenters.

    Starts emulated EventGates, the sidecar and a model server, and shows where each event went.

    Exit status: 0 if every event arrived where routes.yaml says; 1 otherwise.
    """
    import gc

    from sidecar.demo.stage import run

    gc.enable()  # with --keep it may run for hours; see `__main__`
    sys.exit(run(keep=keep, as_json=as_json))


def main() -> None:
    """Run the command line.

    If the output cannot be written, it exits with `NOT_READ` if the reader has gone, as in `| head -1`, and with an
    error message if the disk is full.
    """
    try:
        _run()
    except OSError as error:
        if error.filename is not None or error.errno not in (errno.EPIPE, errno.ENOSPC):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter flushes the rest at exit
        if error.errno == errno.EPIPE:
            sys.exit(NOT_READ)
        fail(f"cannot write to standard output: {error.strerror}")


def _run() -> None:
    out = sys.stdout
    try:
        app()
    except SystemExit:
        if sys.stdout is not out:  # click replaces it after EPIPE, and exits with 1
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
        out.flush()
        raise
