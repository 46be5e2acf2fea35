"""`eventgate-sidecar tap`: shows events as they pass through the sidecar that runs here."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from sidecar.commands.terminal import Complaints, listen_option

if TYPE_CHECKING:
    from rich.text import Text

STYLES = {"delivered": "green", "spooled": "yellow", "invalid": "yellow", "refused": "yellow", "failed": "red"}
WIDEST = max(map(len, STYLES))
INDENT = " " * 9
"""As wide as the time before it."""


@click.command()
@click.option("--stream", help="Only events of these streams, before or after renaming.", metavar="GLOB")
@click.option(
    "--outcome",
    multiple=True,
    help="Only events with this outcome: delivered, invalid, refused, spooled or failed; may be repeated.",
    metavar="WORD",
)
@listen_option(help="Where the sidecar listens.")
@click.option("--json", "as_json", is_flag=True, help="Print a line of JSON for each event instead.")
def tap(stream: str | None, outcome: Sequence[str], listen: str, as_json: bool) -> None:
    """Show events as they pass through a running sidecar.

    The sidecar must have been started with --tap. At most 50 events a second and 8 KiB of each are shown,
    until Ctrl-C; a note says what is left out.

    Exit status: 0 after Ctrl-C, and when the sidecar stops; 2 if no sidecar answers, or its tap is off.
    """
    import gc

    gc.enable()  # it may run for hours; see `__main__`
    with Complaints(), contextlib.suppress(KeyboardInterrupt):
        _show(listen, stream, outcome, as_json)


def _show(listen: str, stream: str | None, outcomes: Sequence[str], as_json: bool) -> None:
    from rich.console import Console

    from sidecar.status.ask import tapped

    console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True)
    passing = tapped(listen, stream, outcomes)
    if console.is_terminal and not as_json:
        console.print(f"listening at {listen}; Ctrl-C ends it", style="dim")
    for each in passing:
        if as_json:
            print(json.dumps(each), flush=True)
        else:
            for line in _lines(each):
                console.print(line)
    click.echo(f"the sidecar at {listen} stopped", err=True)


def _lines(passed: dict[str, Any]) -> Iterator[Text]:
    """Yield the lines for an event, or for missed events."""
    from rich.text import Text

    if "event" not in passed:
        yield Text(_missed(passed), style="dim")
        return
    at, style = f"{_clock(passed['at'])} ", STYLES.get(passed["outcome"], "")
    yield Text.assemble(at, (f"{passed['outcome']:<{WIDEST}}", style), " ", (_names(passed), "bold"))
    yield Text(INDENT + _way(passed))
    if passed["said"]:
        yield Text(INDENT + _printable(passed["said"]), style=style)
    size = f" … cut; the event has {passed['event_bytes']} bytes" if passed["cut"] else ""
    yield Text.assemble(INDENT, (_printable(passed["event"]), "dim"), size)


def _missed(missed: dict[str, Any]) -> str:
    words = []
    if missed["left_out"]:
        words.append(f"{missed['left_out']} more passed, too many to show")
    if missed["lost"]:
        words.append(f"{missed['lost']} were lost, as this command did not read fast enough")
    return f"{INDENT}… {'; '.join(words)}"


def _names(passed: dict[str, Any]) -> str:
    name, sent_as = passed["stream"] or "(no stream)", passed["sent_as"]
    return _printable(name if sent_as in ("", name) else f"{name} → {sent_as}")


def _way(passed: dict[str, Any]) -> str:
    """Describe where an event went, its route and its id."""
    words = [f"to {passed['upstream']}" if passed["upstream"] else "to no upstream"]
    if passed["endpoint"]:
        words.append(f"endpoint {passed['endpoint']}")
    words.append(f"route {passed['route']}" if passed["route"] else "no route")
    if passed["id"]:
        words.append(f"id {passed['id']}")
    return _printable(", ".join(words))


def _clock(at: float) -> str:
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"


def _printable(text: str) -> str:
    """Put text on one line and escape control characters, since events are untrusted."""
    line = re.sub(r"[ \t\r\n]+", " ", text)
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in line)
