"""What the terminal and docs/performance.md show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.cases import DIRECT, ENVOY, LONG_NAMES, Case
from bench.figures import DISTURBING, Change, Figures, Table, Verdict, ratio, verdicts

HEADS = ("", "events/s", "÷ direct", "÷ Envoy", "p50 ms", "p99 ms", "CPU µs", "EventGate µs", "RSS MiB", "ready s")
MISSING = "–"
NOTABLE_PERCENT = 10.0
"""Ratios of the same code differ by less than this from run to run, mostly."""


@dataclass(frozen=True)
class Run:
    """A whole run against one upstream, as results.json keeps it."""

    upstream: str
    sidecar: str
    python: str
    """The interpreter that ran the sidecar, and whose it is: how it was built matters."""
    cores: int
    repetitions: int
    seconds: int
    left_out: Mapping[str, str]
    table: Table


def disturbed(table: Table) -> str:
    """Say so where other processes took part of the machine meanwhile."""
    medians = [figures.others or 0.0 for ways in table.values() for figures in ways.values()]
    many = sum(share > DISTURBING for share in medians)
    if not many:
        return ""
    return (
        f"{many} of {len(medians)} rows were measured while other processes took more than {DISTURBING:.0%} of the "
        f"CPU, {max(medians):.0%} at worst: such rows are not reliable."
    )


def row(table: Table, case: str, way: str) -> tuple[str, ...]:
    """Show one way in one case: a cell for each of HEADS."""
    figures = table[case][way]
    name = LONG_NAMES.get(way, way)
    if figures.why:
        return (name, f"failed: {figures.why}", *[""] * (len(HEADS) - 2))
    return (
        name,
        number(figures.events_per_s, ",.0f"),
        MISSING if way == DIRECT else number(ratio(table, case, way, DIRECT), ".2f"),
        MISSING if way == ENVOY else number(ratio(table, case, way, ENVOY), ".2f"),
        number(figures.p50_ms, ".2f"),
        number(figures.p99_ms, ".2f"),
        number(figures.cpu_us, ".0f"),
        number(figures.upstream_cpu_us, ".0f"),
        number(figures.rss_mib, ".0f"),
        number(figures.ready_s, ".2f"),
    )


def number(value: float | None, form: str) -> str:
    """Format a figure; a dash where there is none."""
    return MISSING if value is None else format(value, form)


def terminal(run: Run) -> str:
    """Draw the table with spaces, then what was left out, then the bars."""
    cells = {case: [row(run.table, case, way) for way in run.table[case]] for case in run.table}
    every = [HEADS, *(line for lines in cells.values() for line in lines if not line[1].startswith("failed"))]
    widths = [max(len(line[column]) for line in every) for column in range(len(HEADS))]
    out = [f"upstream: {run.upstream}; {run.repetitions} × {run.seconds} s each, medians", ""]
    for case, lines in cells.items():
        out += [f"{case}", _aligned(HEADS, widths), *(_aligned(line, widths) for line in lines), ""]
    out += [f"LEFT OUT  {LONG_NAMES.get(name, name)}: {why}" for name, why in run.left_out.items()]
    out += [f"DISTURBED  {words}" for words in [disturbed(run.table)] if words]
    return "\n".join([*out, *_bars(verdicts(run.table))])


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    if line[1].startswith("failed"):
        return f"  {line[0].ljust(widths[0])}  {line[1]}"
    return "  " + "  ".join(
        cell.rjust(width) if column else cell.ljust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    )


def _bars(found: Iterable[Verdict]) -> list[str]:
    return [f"{each.words:12}  {each.bar.what}: {_measured(each)} (bar {_limit(each)})" for each in found]


def _measured(verdict: Verdict) -> str:
    return number(verdict.value, ".2f")


def _limit(verdict: Verdict) -> str:
    return f"{'≥' if verdict.bar.at_least else '≤'} {verdict.bar.limit:g}{verdict.bar.unit}"


def changed(changes: Sequence[Change]) -> str:
    """List what became of the ratios, those that moved notably marked."""
    if not changes:
        return "no earlier results of such a run exist, so there is nothing to compare with"
    lines = ["change of the sidecar's ratios since results were last written:"]
    for each in changes:
        mark = "" if abs(each.percent) < NOTABLE_PERCENT else "  WORSE" if each.percent < 0 else "  better"
        over = LONG_NAMES.get(each.over, each.over)
        lines.append(f"  {each.case}, ÷ {over}: {each.was:.2f} → {each.now:.2f} ({each.percent:+.0f} %){mark}")
    return "\n".join(lines)


_TOP = """# Performance

<!-- Written by `python -m bench --write`; do not edit. -->

EventGate processes an array almost as cheaply as one event, so the sidecar combines concurrent POSTs into arrays.
Each caller still gets its own answer. This page shows the gain and the cost.

![events per second, by connections](performance.png)

**How.** One machine runs the load generator (wrk, one thread), one setup and the upstream, which share its cores. The
events are valid revision scores, each with its own `meta.id`. wrk posts, waits for the answer, and posts
again, over the number of connections in the table. *Direct* posts to EventGate itself. The sidecar and nginx
rename `meta.stream`: the sidecar as `routes.yaml` says, nginx with Lua and a regular expression over the body.
Envoy and HAProxy pass the body on unchanged. Every proxy has one worker, keeps its connections, writes no log, and
is restarted for each run, which begins with a warm-up of one second. *Sidecar, spooled* is a route with
`acknowledge: spooled`: each event is answered 202 once it is fsynced, in the folder for temporary files, and
sent to EventGate in the background. Each repetition runs all setups in turn; the tables show medians. The case *1 kB,
1 at once* is measured five times per repetition. There, the time of a POST depends on which cores the scheduler
assigns to client, proxy and upstream. It varies more between runs than between the setups, so treat two setups whose
ratio is within a tenth of 1 as equal. A run with an answer that is not 2xx counts as failed. A run during which other
processes took more than 8 % of the CPU is repeated, at most twice, and the least disturbed one counts.

**Which cases flatter.** Most cases repeat the same header lines and body length on each connection. That favours a
proxy that remembers what it has read, as the sidecar does. *Realistic headers* shows what a client sends: a user
agent, a new `x-request-id` in each POST, and bodies of changing lengths. Read those rows for what a model server gets.
Under constant load arrays are full; a pod that sends one event at a time gets the figures of *1 at once*. *Sidecar,
spooled* counts an event once it is stored; what is still unsent when the run ends costs nothing, see *EventGate µs*.
*1,000 routes*, *5,000 streams* and *1,900 idle connections* are measured with the sidecar alone: compare them with
*1 kB, 64 at once*. *order_by* gives each event its own key, which hides the cost of a busy key.

**Columns.** *CPU µs* is the proxy's CPU time per event, *EventGate µs* the upstream's. *RSS MiB* is the
proxy's memory right after the load. *ready s* is the time from exec until the proxy accepts connections; for the
sidecar, until `/readyz` answers 200 after its first round of health checks, with its bytecode on disk as in an image.
*TLS* is between proxy and upstream.

The sidecar's start time and its time per event depend on how its Python was built. Debian's Python, which the image
uses, is built with profile-guided and link-time optimisation; it measured a fifth to a quarter faster than a local
build without them. Each table says which one it used; `make clean bench PYTHON=/usr/bin/python3` uses Debian's.

**To run it again:** `make bench`, or `make bench UPSTREAM=http://127.0.0.1:8192` for an EventGate that runs
here; `ARGS=--quick` for a short run, `ARGS=--write` to write this page. The results are in
[bench/results.json](../bench/results.json), and each run prints the changes since then.
"""


def markdown(runs: Iterable[Run]) -> str:
    """Render docs/performance.md."""
    return "\n".join([_TOP, *("\n".join(_section(run)) for run in runs)])


def _section(run: Run) -> list[str]:
    out = [f"## Against {run.upstream}", ""]
    out += [
        f"{run.repetitions} repetitions of {run.seconds} s, {run.cores} cores, "
        f"eventgate-sidecar {run.sidecar} on {run.python}.",
        "",
    ]
    out += [line for words in [disturbed(run.table)] if words for line in (words, "")]
    if run.left_out:
        out += [*(f"Left out: {LONG_NAMES.get(name, name)} ({why})." for name, why in run.left_out.items()), ""]
    if run.upstream == "the emulator":
        out += [
            "The limits are meant for the real EventGate; the emulator has different costs per request and per event.",
            "",
        ]
    out += ["| requirement | limit | measured | |", "| --- | ---: | ---: | --- |"]
    for each in verdicts(run.table):
        out.append(f"| {each.bar.what} | {_limit(each)} | {_measured(each)} | {_bold(each)} |")
    out += ["", "| " + " | ".join(HEADS) + " |", "| --- |" + " ---: |" * (len(HEADS) - 1)]
    for case in run.table:
        out.append(f"| **{case}** |" + " |" * (len(HEADS) - 1))
        for way in run.table[case]:
            out.append("| " + " | ".join(row(run.table, case, way)) + " |")
    return [*out, ""]


def _bold(verdict: Verdict) -> str:
    return f"**{verdict.words}**" if verdict.held is False else verdict.words


def progress(case: str, way: str, figures: Figures, *, done: int, of: int) -> str:
    """Say in one line what a run gave."""
    gave = figures.why or f"{number(figures.events_per_s, ',.0f')} events/s, p50 {number(figures.p50_ms, '.2f')} ms"
    noisy = f"; other processes took {figures.others:.0%} of the CPU" if (figures.others or 0) > DISTURBING else ""
    return f"[{done}/{of}] {case}: {LONG_NAMES.get(way, way)}: {'FAILED: ' if figures.why else ''}{gave}{noisy}"


def drawing(runs: Iterable[Run]) -> list[dict[str, object]]:
    """Choose what the picture shows: events/s of single 1 kB events over plain HTTP, by connections."""
    panels: list[dict[str, object]] = []
    shown = {Case(connections).name: str(connections) for connections in (1, 16, 64, 256)}
    for run in runs:
        lines: dict[str, dict[str, float]] = {}
        for case, ways in run.table.items():
            for way, figures in ways.items():
                if case in shown and figures.events_per_s is not None:
                    lines.setdefault(way, {})[shown[case]] = figures.events_per_s
        panels.append({"title": run.upstream, "lines": {LONG_NAMES.get(way, way): line for way, line in lines.items()}})
    return panels
