"""The table, for the terminal and for docs/failover.md."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import yaml

from tests.netns import needs
from tests.netns.measure import Measured
from tests.netns.nameserver import TTL
from tests.netns.pod import RATE, SETTINGS
from tests.netns.scenarios import Bars, Scenario, misses

NUMBERS = ("events", "2xx", "not 2xx", "worst ms", "> 250 ms", "lost", "twice", "to codfw", "back after s")
HEADS = ("what happens to eqiad", *NUMBERS)
BAR_HEAD = "limits"
Results = Sequence[tuple[Scenario, Measured]]

INTRODUCTION = """\
# Failover, measured between real hosts

<!-- Written by `python -m tests.netns --write docs/failover.md`; do not edit. -->

A model server must not notice that a datacenter hangs, and no event that was answered 2xx may be lost. The table
below shows what happened under one fault after another.

**How.** On one machine, Linux network namespaces on a bridge act as hosts, with addresses from 198.18.0.0/15: a pod
with the sidecar and a client, a DNS server (dnsmasq), an emulated EventGate in eqiad, a second one there for moves,
and one in codfw. They use TLS, with certificates that carry the real names. `staging.svc.eqiad.wmnet` and
`staging.svc.codfw.wmnet` are CNAMEs to workers with a TTL of {ttl} s. The client posts {rate:g} revision scores a
second at fixed times, whether or not the earlier ones were answered. After two seconds, a fault starts in eqiad, the
preferred datacenter. It ends some seconds later, and the traffic continues until it is back in eqiad.

Each row has its own sidecar, with default settings except for these, which shorten the run:
{settings}.

**What is counted.** Every event sent during the whole run. *Lost*: answered 2xx, but in no datacenter's file.
*Twice*: in the files more than once, which is possible only if an answer was late or missing. *To codfw*: in the
file of the other datacenter. *Back after*: the time until the last event that did not go to eqiad, counted from the
end of the fault (or from its start, if it does not end).

**To run it again:** `python -m tests.netns`, as root on Linux with iproute2, nftables, dnsmasq and
openssl; it takes about {minutes:.0f} minutes. `make test` runs half of it and fails if a limit is exceeded.
"""


def cells(scenario: Scenario, measured: Measured) -> tuple[str, ...]:
    """Return a row of the table, without the bars."""
    back = "never" if measured.back_after is None else f"{measured.back_after:.1f}"
    numbers = (measured.sent, measured.good, sum(measured.failures.values()))
    more = (measured.slow, measured.lost, measured.doubled, measured.hosts.get("codfw", 0))
    return (scenario.title, *map(str, numbers), f"{measured.worst_ms:.0f}", *map(str, more), back)


def bar_words(bars: Bars) -> str:
    """Describe the bars of this scenario, beyond those of every scenario."""
    words = []
    if bars.worst_ms is not None:
        words.append(f"worst ≤ {bars.worst_ms:g} ms")
    if bars.slow is not None:
        words.append(f"≤ {bars.slow} over 250 ms")
    if bars.idled is not None:
        words.append("listens at once")
    if bars.outage is None:
        words.append("all 2xx")
    else:
        words.append(f"refusals: 503 with Retry-After, ≤ {bars.outage.answer_seconds:g} s")
        words.append(f"serves {bars.outage.recovered_after:g} s after the fault ends")
    if not bars.doubles:
        words.append("none twice")
    return ", ".join(words)


def in_text(results: Results) -> str:
    """Return the table for a terminal, followed by each bar that was not held."""
    table = [(*HEADS, "s"), *((*cells(*each), f"{each[1].seconds:.1f}") for each in results)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    lines = [_aligned(row, widths) for row in table]
    for scenario, measured in results:
        lines += [f"NOT HELD  {scenario.name}: {each}" for each in misses(scenario, measured)]
    held = sum(not misses(scenario, measured) for scenario, measured in results)
    total = sum(measured.seconds for _, measured in results)
    lines.append(f"{held} of {len(results)} held; {total:.0f} s")
    return "\n".join(lines) + "\n"


def in_markdown(results: Results) -> str:
    """Return docs/failover.md."""
    total = sum(measured.seconds for _, measured in results)
    lines = [_introduction(total), _row((*HEADS, BAR_HEAD))]
    lines.append("| --- |" + " ---: |" * (len(HEADS) - 1) + " --- |")
    for scenario, measured in results:
        held = not misses(scenario, measured)
        bar = bar_words(scenario.bars) if held else f"**not held:** {bar_words(scenario.bars)}"
        lines.append(_row((*cells(scenario, measured), bar)))
    lines += ["", "In every row: no event is lost, and traffic returns to eqiad.", *_notes(results), ""]
    return "\n".join(lines)


def in_json(results: Results) -> Mapping[str, object]:
    """Return everything measured."""
    return {
        scenario.name: {**dataclasses.asdict(measured), "misses": misses(scenario, measured)}
        for scenario, measured in results
    }


def _introduction(seconds: float) -> str:
    lines = [yaml.safe_dump({key: value}, default_flow_style=True).strip() for key, value in SETTINGS.items()]
    words = " and ".join(f"`{line[1:-1]}`" for line in lines)
    return INTRODUCTION.format(ttl=TTL, rate=RATE, settings=words, minutes=max(1.0, seconds / 60))


def _notes(results: Results) -> list[str]:
    by_name = {scenario.name: measured for scenario, measured in results}
    notes = []
    if "late" in by_name and not needs.has_netem():
        notes.append("A relay simulated the slow network, because this kernel has no netem.")
    if start := by_name.get("dns-silent-at-start"):
        words = f"after {start.listened_after:.1f} s; {start.idled:.1f} s of that was waiting for anything but the CPU"
        notes.append(f"When DNS did not answer at the start, the sidecar listened {words}.")
    return notes


def _row(row: Sequence[str]) -> str:
    return "| " + " | ".join(row) + " |"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *numbers = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
    return "  ".join([first.strip().ljust(widths[0]), *numbers])
