"""The demo's output, in 80 columns; with colours and a live table only on a terminal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from sidecar.demo.proof import Json

Show = Callable[[Callable[[], Sequence[Json]]], None]
"""Called after each answer with a function that returns the rows, since not every answer is shown."""
ANSWERS = {"201": "accepted", "400": "invalid", "500": "failed", "503": "failed", "0": "(no answer)"}


def _console() -> Console:
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True)


def show_json(summary: Json) -> None:
    """Print the summary for a program."""
    _console().print(json.dumps(summary, indent=2))


def show_complaint(words: str) -> None:
    """Print an error on standard error."""
    Console(highlight=False, markup=False, emoji=False, soft_wrap=True, stderr=True).print(words)


def show_services(services: dict[str, Json], seconds: float) -> None:
    """Show what was started."""
    console = _console()
    console.print("Started, each as a separate process: three EventGates and the sidecar", style="bold")
    for name, service in services.items():
        if "upstream" in service:
            more = f"upstream {service['upstream']}, topics {service['topics']}"
        else:
            more = "labels " + ", ".join(f"{key}={value}" for key, value in service["labels"].items())
        console.print(f"  {name:<11}{service['url']:<23}{more}")
    console.print(f"\nA staging model server posts scores to the sidecar for {seconds:g} s …\n")


def show_hang(name: str, seconds: float) -> None:
    """Announce that a datacenter hangs."""
    _console().print(f"Now {name} hangs for {seconds:g} s: it accepts connections but never answers.\n", style="yellow")


@contextmanager
def progress(*, quiet: bool) -> Iterator[Show]:
    """Show a growing table on a terminal; nothing elsewhere, or if `quiet`."""
    console = _console()
    if quiet or not console.is_terminal:
        yield lambda _: None
        return
    calls = 0
    with Live(console=console, auto_refresh=False, transient=True) as live:

        def show(ways: Callable[[], Sequence[Json]]) -> None:
            nonlocal calls
            calls += 1
            if calls % 5 == 1:
                live.update(_table(ways()), refresh=True)

        yield show


def show_summary(summary: Json) -> None:
    """Show where events went, the answers, the latency, and the verdict."""
    console, latency = _console(), summary["latency_ms"]
    console.print(_table(summary["ways"]))
    arrived = [f"{gate} {count}" for gate, count in summary["arrived"].items()]
    answers = [
        f"{status} {ANSWERS.get(status, '')}".rstrip() + f" {count}" for status, count in summary["answers"].items()
    ]
    console.print(f"\nArrived   {', '.join(arrived)}")
    console.print(f"Answers   {', '.join(answers)}")
    console.print(f"Latency   p50 {latency['p50']} ms, p99 {latency['p99']} ms, as the model server saw it\n")
    hang = summary["hang"]
    console.print(
        f"{hang['datacenter']} hung for {hang['seconds']} s. The {hang['events']} events accepted meanwhile were "
        f"answered\nwithin {hang['worst_ms']:.0f} ms; {hang['elsewhere']} went to codfw instead.\n"
    )
    for words in summary["problems"][:10]:
        console.print(f"! {words}", style="red")
    console.print(_verdict(summary), style="bold green" if summary["ok"] else "bold red")
    console.print(f"{summary['seconds']} s in all.", style="dim")


def _verdict(summary: Json) -> str:
    events = summary["events"]
    outcomes = ", ".join(f"{events[outcome]} {outcome}" for outcome in ("delivered", "invalid", "failed"))
    first = f"{events['sent']} events sent: {outcomes}."
    if not summary["ok"]:
        return f"{first} {len(summary['problems'])} problems."
    words = (
        f"{first}\nEvery delivered event arrived where routes.yaml says, its bytes unchanged but\n"
        f"for meta.stream. {events['lost']} lost; nothing was written to a production stream."
    )
    if events["repeated"]:
        words += f"\n{events['repeated']} went to a second endpoint too, the first being late: at least once."
    return words


def show_commands(commands: Sequence[tuple[str, str]]) -> None:
    """Show commands to try while everything keeps running."""
    console = _console()
    console.print("\nEverything keeps running; Ctrl-C ends it. Try:", style="bold")
    for words, command in commands:
        console.print(f"\n  # {words}", style="dim")
        console.print(f"  {command}")


def _table(ways: Sequence[Json]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    table.add_column("sent", justify="right")
    table.add_column(
        "stream, as the model server names it\n→ upstream   Kafka topic it was found in: prefix and stream"
    )
    for way in ways:
        table.add_row(str(way["sent"]), Text("\n").join([_title(way), *_places(way)]))
    return table


def _title(way: Json) -> Text:
    return Text.assemble(way["stream"], (f" ({way['wrong']})" if way["wrong"] else "", "yellow"))


def _places(way: Json) -> Iterator[Text]:
    for upstream, topic, stream in dict.fromkeys((at["upstream"], at["topic"], at["stream"]) for at in way["arrived"]):
        renamed = "bold" if stream != way["stream"] else ""
        yield Text.assemble((f"→ {upstream:<11}", "green"), (topic.removesuffix(stream), "dim"), (stream, renamed))
    if way["sent"] and not way["arrived"]:
        for outcome, answer in zip(way["outcomes"], way["answers"], strict=False):
            yield Text(f"→ {outcome:<11}{answer.partition('. ')[0].rstrip('.')}", "yellow")
