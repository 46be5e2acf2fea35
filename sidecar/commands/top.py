"""`eventgate-sidecar top`: the status page in a terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from sidecar.commands.terminal import Complaints, listen_option, print_json
from sidecar.errors import SettingError

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table

    from sidecar.status.value import ProblemNow, Status

INTERVAL_SECONDS = 2.0
FAILURES = 5
"""Number of last failures shown."""
STYLES = {"well": "green", "warning": "yellow", "bad": "red"}
STYLES |= {"healthy": "green", "suspected": "yellow", "probation": "yellow", "unknown": "dim"}


@click.command()
@listen_option(help="Where the sidecar listens.")
@click.option("--once", is_flag=True, help="Show it once; the default without a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON once instead of text.")
def top(listen: str, once: bool, as_json: bool) -> None:
    """Show the state of a running sidecar, refreshed until Ctrl-C.

    The state is read every 2 seconds.

    Exit status: 0; with --once or --json, 1 if something is wrong and 2 if no sidecar answers.
    """
    from rich.console import Console

    console = Console(highlight=False, markup=False, emoji=False)
    if console.is_terminal and not (once or as_json):
        _live(console, listen)
        return
    with Complaints():
        data, status = _known(listen)
    if as_json:
        print_json(data)
    else:
        console.print(_screen(status))
    if data["level"] != "well":
        sys.exit(1)


def _live(console: Console, listen: str) -> None:
    import asyncio
    import gc

    from rich.live import Live
    from rich.text import Text

    gc.enable()  # it may run for hours; see `__main__`

    async def run() -> None:
        with Live(console=console, auto_refresh=False, screen=True) as live:
            while True:
                try:
                    _, status = await asyncio.to_thread(_known, listen)
                    live.update(_screen(status), refresh=True)
                except SettingError as error:
                    live.update(Text(f"{error}; trying again", style="red"), refresh=True)
                await asyncio.sleep(INTERVAL_SECONDS)

    try:
        asyncio.run(run())
    except KeyboardInterrupt:
        return


def _known(listen: str) -> tuple[dict[str, Any], Status]:
    """Return the sidecar's status, as JSON and as a `Status`.

    Raises:
        SettingError: no sidecar of this version answers there.

    """
    import msgspec

    from sidecar.status.ask import status_of
    from sidecar.status.value import Status

    data = status_of(listen)
    try:
        return data, msgspec.convert(data, Status)
    except msgspec.ValidationError as error:
        raise SettingError(f"what answers at {listen} is not a sidecar of this version: {error}") from None


def _screen(status: Status) -> RenderableType:
    """Return the screen: sentence, next step, other problems, endpoints, streams, last failures."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    from sidecar.status.problems import age, level_of, problems_of, rate, sentence

    problems, lasts = problems_of(status), f"up {age(status.now - status.started)}"
    labels = ", ".join(f"{name}={value}" for name, value in status.labels.items()) or "no labels"
    return Group(
        Text(sentence(status, problems), style=f"bold {STYLES[level_of(problems)]}"),
        *(_step(each) for each in problems[:1]),
        *(
            Group(Padding(Text(each.words, style=STYLES[each.level]), (0, 0, 0, 2)), _step(each))
            for each in problems[1:]
        ),
        Text(f"{status.pod}; {labels}; {rate(status.events_per_second)}; {lasts}\n", style="dim"),
        _endpoints(status),
        Text(),
        _streams(status),
        *((Text(), _copies(status)) if any(each.mirror for each in status.routes) else ()),
        *((Text(), _failures(status)) if status.failures else ()),
    )


def _step(problem: ProblemNow) -> RenderableType:
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(f"{problem.step}. Runbook: {problem.runbook}"), (0, 0, 0, 4))


def _endpoints(status: Status) -> Table:
    from rich.text import Text

    from sidecar.status.problems import age

    table = _table("upstream", "", "datacenter", "address", "state", "for", "why")
    for upstream in status.upstreams:
        for endpoint in upstream.endpoints:
            mark = "→" if endpoint.name == upstream.goes_to else ""
            places = (Text(upstream.name), mark, Text(endpoint.name))
            if not endpoint.addresses:
                table.add_row(*places, "", Text("no address", style="red"), "", Text(endpoint.why))
            for each in endpoint.addresses:
                state = Text(each.health, style=STYLES.get(each.health, "red"))
                lasts = age(status.now - each.since) if each.since else ""
                table.add_row(*places, Text(each.ip), state, lasts, Text(each.reason))
    return table


def _streams(status: Status) -> Table:
    from rich.text import Text

    table = _table("stream", *status.happened)
    for each in status.streams:
        counts = (Text(str(each.outcomes.get(outcome, 0)), justify="right") for outcome in status.happened)
        table.add_row(Text(each.title), *counts)
    return table


def _copies(status: Status) -> Table:
    from rich.text import Text

    table = _table("copies of", "for", "%", "result")
    for each in status.routes:
        if each.mirror is not None:
            results = ", ".join(f"{count} {result}" for result, count in each.mirror.copies.items())
            table.add_row(Text(each.name), Text(each.mirror.to), str(each.mirror.percent), results or "none yet")
    return table


def _failures(status: Status) -> Table:
    from rich.text import Text

    from sidecar.status.problems import age

    table = _table("", "last failures")
    for each in status.failures[:FAILURES]:
        times = f" ({each.times} times)" if each.times > 1 else ""
        table.add_row(Text(f"{age(status.now - each.at)} ago", justify="right"), Text(f"{each.words}{times}"))
    return table


def _table(*titles: str) -> Table:
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in titles:
        table.add_column(title, overflow="fold")
    return table
