"""The command line: thin, and each command imports what it needs, so that `serve` starts fast."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from sidecar import __version__
from sidecar.commands.spool import spool as spool_commands
from sidecar.commands.tap import tap
from sidecar.commands.terminal import (
    FILE,
    argument,
    json_option,
    label_option,
    labels_variable,
    listen_option,
    routes_option,
    setting,
)
from sidecar.commands.top import top
from sidecar.errors import ConfigError, RequestError, SettingError

if TYPE_CHECKING:
    from sidecar.events.event import Event


@click.group(context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, message="eventgate-sidecar %(version)s", help="Print the version and end.")
def app() -> None:
    """A local proxy for EventGate: model servers POST events to localhost, routes.yaml decides where they go."""


app.add_command(spool_commands)
app.add_command(tap)
app.add_command(top)


@app.command()
@routes_option
@listen_option(help="Where model servers POST events.")
@setting(
    "--admin", envvar="SIDECAR_ADMIN", default="0.0.0.0:9102", help="/metrics, /livez and /readyz.", metavar="HOST:PORT"
)
@label_option
@labels_variable
@setting(
    "--drain",
    envvar="SIDECAR_DRAIN",
    default="25s",
    help="After SIGTERM, take requests until there was none for 10 s, but no longer than this.",
    metavar="TIME",
)
@setting(
    "--spool",
    envvar="SIDECAR_SPOOL",
    type=FILE,
    help="Keep events that no endpoint takes in this directory, answer 202, and send them later.",
    metavar="DIR",
)
@setting(
    "--on-exit",
    envvar="SIDECAR_ON_EXIT",
    type=click.Choice(["keep", "print"]),
    default="keep",
    help="What to do with events that are left in the spool: print writes them to standard output, too.",
)
@setting(
    "--last-good",
    envvar="SIDECAR_LAST_GOOD",
    type=FILE,
    help="Keep the last good configuration here, to start with where routes.yaml is broken.",
    metavar="FILE",
)
@setting(
    "--tap", "tapped", envvar="SIDECAR_TAP", is_flag=True, help="Let `tap` show events that pass, on this machine."
)
def serve(
    routes: Path,
    listen: str,
    admin: str,
    label: Sequence[str],
    labels_variable: str,
    drain: str,
    spool: Path | None,
    on_exit: str,
    last_good: Path | None,
    tapped: bool,
) -> None:
    """Run the sidecar until SIGTERM or SIGINT; SIGHUP loads routes.yaml now.

    OpenTelemetry's variables turn traces on: OTEL_EXPORTER_OTLP_ENDPOINT, or OTEL_TRACES_EXPORTER=otlp.

    Exit status: 0 after a signal; 2 where routes.yaml or a setting is wrong, with every problem on standard error.
    """
    import asyncio

    import uvloop

    from sidecar.serve.otelsettings import traces_asked_by
    from sidecar.serve.runtime import Runtime, Settings, prepare_process

    with _Complaints():
        settings = Settings(
            routes,
            listen,
            admin,
            _labels(label, labels_variable),
            _seconds(drain),
            spool=spool,
            prints_what_is_left=on_exit == "print",
            last_good=last_good,
            traces=traces_asked_by(os.environ),
            tap=tapped,
        )
        prepare_process()
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Runtime(settings).run())


@app.command()
@argument("file", default="routes.yaml", help="The configuration to check; default: routes.yaml.")
@json_option
def check(file: Path, as_json: bool) -> None:
    """Check a routes.yaml, run the tests in it, and show which way each stream goes.

    Exit status: 0 where all is well, with or without warnings; 1 with every problem; 2 where the file cannot be read.
    """
    from sidecar.commands.check import as_data, in_text
    from sidecar.routes.file import read_text
    from sidecar.routes.inspection import inspect

    with _Complaints():
        found = inspect(read_text(file), str(file))
    if as_json:
        _print_json(as_data(found))
    else:
        print(in_text(found, str(file)), end="")
    if found.problems:
        sys.exit(1)


@app.command()
@routes_option
@label_option
@labels_variable
@click.option("--stream", help="A stream's name stands for an event of it.", metavar="S")
@click.option("--event", type=FILE, help="A file with one event as JSON; - is standard input.", metavar="FILE")
@click.option("--running", is_flag=True, help="Ask the sidecar that runs here, and show which address it would try.")
@listen_option(help="Where that sidecar listens.")
@json_option
def explain(
    routes: Path,
    label: Sequence[str],
    labels_variable: str,
    stream: str | None,
    event: Path | None,
    running: bool,
    listen: str,
    as_json: bool,
) -> None:
    """Show which route takes an event, why each earlier one does not, and what becomes of it.

    With --running it is the running sidecar's own configuration and labels that decide.

    Exit status: 0 where the event would be sent; 1 where it would be refused; 2 where a file cannot be used.
    """
    from sidecar.routes.explain import explanation, in_text, tried_in_text
    from sidecar.routes.file import read_config
    from sidecar.routes.routing import Router

    with _Complaints():
        if running and label:
            raise SettingError("a running sidecar has its own labels; leave --label or --running out")
        if running:
            from sidecar.status.ask import explained_by

            found = explained_by(listen, _event(stream, event))
        else:
            router = Router(read_config(routes), _labels(label, labels_variable))
            found = explanation(router, _event(stream, event))
    if as_json:
        _print_json(found)
    else:
        print(in_text(found) + (tried_in_text(found["tried"]) if running else ""), end="")
    if found["refused"]:
        sys.exit(1)


@app.command()
@argument("old", help="The configuration as it was.")
@argument("new", help="The configuration as it will be.")
@click.option(
    "--streams",
    type=FILE,
    help="More streams to compare: a name in each line, and after it its schema.",
    metavar="FILE",
)
@click.option("--format", "form", type=click.Choice(["text", "markdown"]), default="text", help="How to write it.")
@json_option
def diff(old: Path, new: Path, streams: Path | None, form: str, as_json: bool) -> None:
    """Show what an edit changes: which streams go another way, from which pods.

    Exit status: 0 where nothing starts writing to production and nothing stops being delivered; 1 where something
    does; 2 where a file cannot be used.
    """
    from sidecar.commands.diff import diff as compare
    from sidecar.commands.diff import streams_in
    from sidecar.commands.diffreport import as_data, in_markdown, in_text
    from sidecar.routes.file import read_config, read_text

    with _Complaints():
        more = streams_in(read_text(streams), str(streams)) if streams else []
        found = compare(read_config(old), read_config(new), more)
    if as_json:
        _print_json(as_data(found))
    else:
        print(in_markdown(found) if form == "markdown" else in_text(found), end="")
    if found.marked:
        sys.exit(1)


@app.command()
@routes_option
@json_option
def probe(routes: Path, as_json: bool) -> None:
    """Look up and check every endpoint of a routes.yaml once, now: which datacenter answers?

    Exit status: 0 where every upstream has an endpoint that answers; 1 where one has none; 2 where the file cannot
    be used.
    """
    import asyncio

    from rich.console import Console

    from sidecar.commands.probe import all_reachable, as_data, show
    from sidecar.commands.probe import probe as probe_all
    from sidecar.routes.file import read_config
    from sidecar.upstreams.resolver import Resolver

    with _Complaints():
        found = asyncio.run(probe_all(read_config(routes), Resolver()))
    if as_json:
        _print_json({"ok": all_reachable(found), "endpoints": as_data(found)})
    else:
        show(found, Console())
    if not all_reachable(found):
        sys.exit(1)


@app.command()
@argument("file", default="routes.yaml", help="The configuration to show; default: routes.yaml.")
@click.option(
    "--format", "form", type=click.Choice(["markdown", "wikitext"]), default="markdown", help="How to write it."
)
@json_option
def streams(file: Path, form: str, as_json: bool) -> None:
    """Show the streams of a routes.yaml: who writes them, and where they are found in Kafka.

    Exit status: 0 where it is shown; 2 where the file cannot be used.
    """
    from sidecar.commands.streams import as_data, in_markdown, in_wikitext, streams_of
    from sidecar.routes.file import read_config

    with _Complaints():
        found = streams_of(read_config(file))
    if as_json:
        _print_json(as_data(found))
    else:
        print(in_wikitext(found) if form == "wikitext" else in_markdown(found), end="")


@app.command()
def schema() -> None:
    """Print the JSON Schema of routes.yaml, by which an editor completes and underlines.

    Exit status: 0 always.
    """
    from sidecar.commands.schema import json_schema

    _print_json(json_schema())


@app.command()
@click.option("--keep", is_flag=True, help="Leave everything running for curl; Ctrl-C ends it.")
@json_option
def demo(keep: bool, as_json: bool) -> None:
    """Run everything on this machine: emulated EventGates, the sidecar, a model server, and what went where.

    Exit status: 0 where every event arrived where routes.yaml says; 1 otherwise.
    """
    import gc

    from sidecar.demo import main as run_demo

    gc.enable()  # with --keep it may run for hours; see `__main__`
    sys.exit(run_demo(keep=keep, as_json=as_json))


def main() -> None:
    """Run the command line."""
    app()


class _Complaints:
    """Turns what a user can mend into words on standard error and exit status 2."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if isinstance(error, ConfigError):
            _fail("\n".join(map(str, error.problems)) + f"\n{_count(len(error.problems), 'problem')}")
        if isinstance(error, (SettingError, RequestError)):
            _fail(f"eventgate-sidecar: {error}")


def _fail(words: str) -> NoReturn:
    print(words, file=sys.stderr)
    sys.exit(2)


def _labels(flags: Sequence[str], variable: str) -> Mapping[str, str]:
    labels: dict[str, str] = {}
    for word in [each for each in variable.split(",") if each.strip()] + [*flags]:
        name, equals, value = word.strip().partition("=")
        if not (name and equals and value):
            raise SettingError(f"{word!r} is no label; write it as env=staging")
        labels[name] = value
    return labels


def _seconds(text: str) -> float:
    from sidecar.routes.config import duration

    if text in ("0", "0s"):
        return 0.0
    try:
        return duration(text)
    except ValueError as error:
        raise SettingError(f"--drain {error}") from None


def _event(stream: str | None, file: Path | None) -> Event:
    from sidecar.events.event import parse

    if (stream is None) == (file is None):
        raise SettingError("explain needs either --stream or --event")
    if file is None:
        return parse(json.dumps({"meta": {"stream": stream}}).encode())[0]
    try:
        body = sys.stdin.buffer.read() if str(file) == "-" else file.read_bytes()
    except OSError as error:
        raise SettingError(f"cannot read {file}: {error.strerror}") from None
    events = parse(body)
    if len(events) != 1:
        raise SettingError(f"{file} holds {len(events)} events; explain takes one")
    return events[0]


def _print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
